"""JSON files: every element becomes a record or a reject, and damage fails the job when the rest is imported."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import InvalidSpec, SourceUnreadable
from ladingd.core.job import Level
from ladingd.core.plan import ImportPlan
from ladingd.core.spec import CsvFormat, ImportSpec, Table
from ladingd.data.formats.lines import RECORD_LIMIT
from tests.unit.data.imports.test_import import rejects_of

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard

ROWS = [{"id": number, "name": f"näme {number}", "more": {"tags": ["a", {"b": "]},"}]}} for number in range(500)]


def planned(yard: Yard, text: str | bytes, name: str = "in.json", **spec: object) -> ImportPlan:
    plan = yard.transfer.plan(ImportSpec(files=(yard.write(text, name),), target=Table(table="t"), **spec))  # type: ignore[arg-type]
    assert isinstance(plan, ImportPlan)
    return plan


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("chunk_bytes", [1000, 8 << 20])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_an_array_is_imported(yard: Yard, indent: int | None, chunk_bytes: int, encoding: str) -> None:
    text = json.dumps(ROWS, indent=indent, ensure_ascii=False).encode(encoding)
    plan = planned(yard, text, chunk_bytes=chunk_bytes)
    assert yard.run(plan) == Counts(read=500, inserted=500)
    stored = yard.sql("SELECT id, name, more FROM t ORDER BY id")
    assert [(number, name, json.loads(str(more))) for number, name, more in stored] == [
        (row["id"], row["name"], row["more"]) for row in ROWS
    ]


def test_an_array_under_a_key_is_imported_and_the_rest_is_named(yard: Yard) -> None:
    text = json.dumps({"count": 500, "links": ["x"], "rows": ROWS, "next": None}, indent=1)
    plan = planned(yard, text)
    assert yard.run(plan).inserted == 500
    assert "'rows'" in plan.detected
    assert any("'count', 'links'" in note for note in plan.notes)


def test_an_envelope_in_one_line_is_read_as_its_name_says(yard: Yard) -> None:
    for rows in (ROWS, ROWS[:2]):
        text = json.dumps({"rows": rows, "next": None})
        assert yard.run(planned(yard, text), f"{len(rows)}").inserted == len(rows)
        yard.sql("DROP TABLE t")
        assert yard.run(planned(yard, text, "in.jsonl"), f"{len(rows)}-lines").inserted == 1
        yard.sql("DROP TABLE t")


@pytest.mark.parametrize("lines", [1, 2])
def test_objects_in_lines_are_json_lines_whatever_the_name(yard: Yard, lines: int) -> None:
    rows = ['{"id": 1}'] if lines == 1 else ['{"in": [{"id": 1}]}', '{"in": [{"id": 2}]}']
    plan = planned(yard, "\n".join(rows))
    assert plan.file.layout.format == "json_lines"
    assert yard.run(plan).inserted == lines


def test_a_file_without_a_name_of_its_own_is_known_by_its_content(yard: Yard) -> None:
    plan = planned(yard, json.dumps(ROWS), "in.csv")
    assert plan.file.layout.format == "json"
    assert any("in.csv is JSON" in note for note in plan.notes)


def test_a_compressed_array_is_imported(yard: Yard) -> None:
    plan = planned(yard, gzip.compress(json.dumps(ROWS, indent=1).encode()), "in.json.gz")
    assert yard.run(plan).inserted == 500


FAULTS = ["[1]", "1", "null", '"x"', '{"id": }', '{"id": 1}{"id": 2}', '{"id": NaN}', '{"id": [1}', '{"id": "1\n"}']


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_rejects_its_element_and_no_other(yard: Yard, fault: str) -> None:
    plan = planned(yard, f'[\n{{"id": 1}},\n{{"id": 2}},\n\n  {fault},\n{{"id": 3}}]')
    counts = yard.run(plan)
    assert (counts.read, counts.inserted, counts.rejected) == (4, 3, 1)
    (reject,) = rejects_of(yard, plan)
    assert (reject.line, reject.code, reject.raw) == (5, "NOT_JSON", fault)


def test_an_array_without_elements_is_an_empty_file(yard: Yard) -> None:
    plan = planned(yard, " [ ]\n")
    assert any("is empty" in note for note in plan.notes)


ENDS = [
    ('[{"id": 1},\n{"id": 2}', 2, 0, "not closed.* byte 21"),
    ('[{"id": 1},\n{"id": 2},', 2, 0, "not closed"),
    ('[{"id": 1},\n{"id": 2', 1, 1, "not closed"),
    ('[{"id": 1},\n{"id": 2}][{"id": 3}]', 2, 0, "behind|follows the array at byte 23"),
    ('{\n"rows": [{"id": 1}, {"id": 2}]', 2, 0, "follows the array"),
    ('{\n"rows": [{"id": 1}, {"id": 2}]}{}', 2, 0, "follows the array"),
    ('[{"id": 1},\n{"id": 2}]' + " " * 100_000 + "x", 2, 0, "follows the array at byte 23"),
]


@pytest.mark.parametrize(("text", "inserted", "rejected", "message"), ENDS)
def test_damage_fails_the_job_after_the_records_before_it(
    yard: Yard, text: str, inserted: int, rejected: int, message: str
) -> None:
    plan = planned(yard, text)
    yard.transfer.begin("job", 1, plan)
    chunks = yard.chunks(plan)
    counts = sum((yard.transfer.process("job", 1, plan, chunk) for chunk in chunks), Counts())
    assert (counts.inserted, counts.rejected) == (inserted, rejected)
    assert chunks[-1].end == len(text)
    for _ in range(2):
        with pytest.raises(SourceUnreadable, match=message):
            yard.transfer.finish("job", plan, chunks)


def test_much_behind_the_array_is_no_record(yard: Yard) -> None:
    text = json.dumps({"rows": ROWS, "log": ["x" * 100] * 1000}, indent=1)
    plan = planned(yard, text)
    assert yard.run(plan) == Counts(read=500, inserted=500)


def test_an_element_over_the_limit_is_rejected_alone(yard: Yard) -> None:
    long = json.dumps({"id": 2, "more": "\\" * (RECORD_LIMIT // 2)})
    plan = planned(yard, f'[{{"id": 1, "more": "x"}},\n{long},\n{{"id": 3, "more": "y"}}]')
    counts = yard.run(plan)
    assert (counts.inserted, counts.rejected) == (2, 1)
    (reject,) = rejects_of(yard, plan)
    assert (reject.line, reject.code) == (2, "RECORD_TOO_LONG")


def test_a_large_file_is_surveyed_between_elements(yard: Yard) -> None:
    rows = [
        {"id": number, "when": "2026-01-01" if number < 200_000 else "never", "in": [{"id": "a"}]}
        for number in range(220_000)
    ]
    plan = planned(yard, json.dumps(rows))
    assert {column.source: column.type for column in plan.columns}["when"] == "text"


@pytest.mark.parametrize("text", ['{"a": 1}', "[1, 2]", "{\n", "[", '[{"a": 1,\n'])
def test_what_is_no_array_of_objects_is_refused(yard: Yard, text: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        planned(yard, text, file_format="json")
    assert caught.value.field == "files[0].path"


def test_options_of_csv_are_refused(yard: Yard) -> None:
    with pytest.raises(InvalidSpec, match="JSON"):
        planned(yard, "[]", csv=CsvFormat(delimiter=";"))


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_an_export_is_an_array(yard: Yard, rows: int) -> None:
    yard.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
    for number in range(rows):
        yard.sql(f"INSERT INTO t VALUES ({number}, 'a\n\"{number}')")
    yard.run(yard.plan_export(path="out.json", chunk_keys=400))
    written = json.loads((yard.directory / "out.json").read_bytes())
    assert written == [{"id": number, "name": f'a\n"{number}'} for number in range(rows)]


@pytest.mark.parametrize("rows", [ROWS[:1], ROWS * 40])
def test_what_follows_the_array_is_named(yard: Yard, rows: list[object]) -> None:
    plan = planned(yard, json.dumps({"rows": rows, "items": [{"x": 1}], "total": 5}, indent=1))
    yard.transfer.begin("job", 1, plan)
    chunks = yard.chunks(plan)
    for chunk in chunks:
        yard.transfer.process("job", 1, plan, chunk)
    before = [note for note in plan.notes if "'items', 'total'" in note]
    after = [note for note in yard.transfer.finish("job", plan, chunks) if "'items', 'total'" in note.text]
    assert (len(before), len(after)) == ((1, 0) if len(rows) == 1 else (0, 1))
    assert all(note.level is Level.WARNING for note in after)


def test_a_fault_in_the_first_element_rejects_it_alone(yard: Yard) -> None:
    plan = planned(yard, '[\n\n{"id": 1, "id": 2},\nnull,\n{"id": 3}]')
    counts = yard.run(plan)
    assert (counts.read, counts.inserted, counts.rejected) == (3, 1, 2)
    assert [reject.line for reject in rejects_of(yard, plan)] == [3, 4]
