"""The output of exports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ladingd.core.bill import Counts
from ladingd.core.spec import File, ImportSpec, Table

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard


def test_an_export_is_read_again(yard: Yard) -> None:
    columns = "(id INTEGER PRIMARY KEY, name TEXT, score REAL, flag BOOLEAN, price DECIMAL(8,2), born DATE)"
    yard.sql(f"CREATE TABLE t {columns}")
    yard.sql(
        "INSERT INTO t VALUES (1, 'a\"b\\c' || char(10, 9, 1), 1.5, 1, 12.5, '2024-02-29'),"
        "(2, '', -0.0, 0, -0.01, NULL), (3, NULL, 1e22, NULL, NULL, NULL), (4, 'é☃𝄞', 0.1, 1, 3, '0001-01-01'),"
        "(5, 'null', 9e999, 1, 1, NULL)"
    )
    yard.run(yard.plan_export(path="out.jsonl"), job_id="out")
    written = (yard.directory / "out.jsonl").read_text().splitlines()
    first, second = json.loads(written[0]), json.loads(written[1])
    assert first == {"id": 1, "name": 'a"b\\c\n\t\x01', "score": 1.5, "flag": True, "price": 12.5, "born": "2024-02-29"}
    assert (second["name"], second["born"]) == ("", None)
    yard.sql(f"CREATE TABLE again {columns}")
    plan = yard.transfer.plan(ImportSpec(files=(File(path="out.jsonl"),), target=Table(table="again")))
    assert yard.run(plan, job_id="in") == Counts(read=5, inserted=5)
    assert yard.sql("SELECT * FROM t EXCEPT SELECT * FROM again") == []


def test_a_column_alone_keeps_null_and_empty_text_apart(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (v TEXT)")
    yard.sql("INSERT INTO t VALUES (NULL), (''), ('x')")
    yard.run(yard.plan_export(path="out.jsonl"), job_id="out")
    assert (yard.directory / "out.jsonl").read_text() == '{"v":null}\n{"v":""}\n{"v":"x"}\n'
