"""What an export writes as XML is read as it was, by Lading and by others."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import hypothesis.strategies as st
import pandas
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

from ladingd.core.bill import Counts
from ladingd.core.errors import SourceUnreadable
from ladingd.core.plan import Column
from ladingd.core.spec import ExportSpec, File, Table
from ladingd.data.formats.xml.format import Xml
from tests.contract.files import written
from tests.unit.data.formats.xml.test_format import imported, named, planned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.unit.data.conftest import Yard

NAMES = [
    "id",
    "first name",
    "näme",
    "a.b",
    "a:b",
    "2nd",
    "record",
    "field",
    "XmlId",
    "<&\"'>",
    "a\tb",
    "@id",
]
ROW = ["1", "", None, "x\ny", "\r", " ", "]]>", "<a>&amp;", "\"'", "\t", "é𝄞", "null"]


def exported(names: Sequence[str], rows: Sequence[Sequence[str | None]]) -> bytes:
    columns = [Column(source=name, target=name, type="text") for name in names]
    form = Xml()
    writer = form.writer(form.layout(ExportSpec(source=Table(table="t"), file=File(path="out.xml")), columns), columns)
    return written(writer, [pa.array(list(values), pa.string()) for values in zip(*rows, strict=True)])


def test_every_name_and_value_comes_back(yard: Yard) -> None:
    data = exported(NAMES, [ROW, ROW[::-1]])
    assert named(planned(yard, data)) == NAMES
    assert imported(yard, data) == [tuple(ROW), tuple(ROW[::-1])]


def test_the_file_is_plain(yard: Yard) -> None:
    assert exported(["id", "first name"], [("1", None), (None, "")]).decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n<records xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
        '<record><id>1</id><field name="first name" xsi:nil="true"/></record>\n'
        '<record><id xsi:nil="true"/><field name="first name"></field></record>\n</records>\n'
    )


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\ufffe\uffff")).filter(
    lambda text: not any(char < " " and char not in "\t\r\n" for char in text)
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(TEXTS.filter(bool), min_size=1, max_size=5, unique_by=str.lower),
    data=st.data(),
)
def test_any_table_comes_back(
    make_yard: Callable[[Path], Yard], tmp_path_factory: pytest.TempPathFactory, names: list[str], data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.tuples(*(st.none() | TEXTS for _ in names)), min_size=1, max_size=5))
    yard = make_yard(tmp_path_factory.mktemp("yard"))
    document = exported(names, rows)
    assert [[child.text or "" for child in row] for row in ElementTree.fromstring(document)] == [
        [value or "" for value in row] for row in rows
    ]
    plan = planned(yard, document)
    assert named(plan) == names
    assert imported(yard, document) == rows


@pytest.mark.parametrize("char", ["\x01", "\x0b", "\x1f", "\ufffe", "\uffff"])
def test_a_character_that_xml_cannot_hold_fails_the_export(yard: Yard, char: str) -> None:
    yard.sql("CREATE TABLE t (id INTEGER, name TEXT)")
    yard.sql(f"INSERT INTO t VALUES (1, 'good'), (2, 'b{char}d')")
    plan = yard.plan_export(path="out.xml")
    with pytest.raises(SourceUnreadable, match=f"the character U\\+{ord(char):04X}, which XML cannot hold"):
        yard.run(plan)
    with pytest.raises(SourceUnreadable, match="name of the column"):
        exported([f"a{char}"], [])
    assert not (yard.directory / "out.xml").exists()


def table(yard: Yard, rows: int) -> None:
    yard.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, [first name] TEXT)")
    for number in range(rows):
        yard.sql(f"INSERT INTO t VALUES ({number}, 'é <&>\n{number}', NULL)")


@pytest.mark.parametrize(("path", "differ"), [("out.xml", True), ("out.json", True), ("out.csv", False)])
def test_only_a_delimited_file_of_one_column_confuses_null_and_empty_text(yard: Yard, path: str, differ: bool) -> None:
    yard.sql("CREATE TABLE t (name TEXT)")
    yard.sql("INSERT INTO t VALUES (NULL), ('')")
    plan = yard.plan_export(path=path)
    assert any("a NULL is written as" in note for note in plan.notes) is not differ
    yard.run(plan, "out")
    yard.sql("DROP TABLE t")
    yard.run(planned(yard, (yard.directory / path).read_bytes(), path, types={"name": "text"}), "in")
    assert yard.sql("SELECT name FROM t") == [(None if differ else "",), ("",)]


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_an_export_in_chunks_is_one_document(yard: Yard, rows: int) -> None:
    table(yard, rows)
    yard.run(yard.plan_export(path="out.xml", chunk_keys=300), "out")
    root = ElementTree.parse(yard.directory / "out.xml").getroot()
    assert [[child.text for child in record] for record in root] == [
        [str(number), f"é <&>\n{number}", None] for number in range(rows)
    ]
    if rows:
        yard.sql("DROP TABLE t")
        plan = planned(yard, (yard.directory / "out.xml").read_bytes())
        assert yard.run(plan, "in") == Counts(read=rows, inserted=rows)


def test_xmllint_finds_no_fault(yard: Yard) -> None:
    if shutil.which("xmllint") is None and not os.environ.get("CI"):
        pytest.skip("xmllint is missing (Debian: apt-get install libxml2-utils)")
    table(yard, 20)
    yard.run(yard.plan_export(path="out.xml"))
    counted = subprocess.run(
        ["xmllint", "--xpath", "count(/records/record/field[@name='first name'])", "out.xml"],
        check=True,
        capture_output=True,
        text=True,
        cwd=yard.directory,
    )
    assert (counted.stdout.strip(), counted.stderr) == ("20", "")


@pytest.mark.parametrize("attributes", [None, ["index", "id", "name"]])
def test_pandas_reads_and_writes_the_same(yard: Yard, attributes: list[str] | None) -> None:
    table(yard, 20)
    yard.run(yard.plan_export(path="out.xml"), "out")
    frame = pandas.read_xml(yard.directory / "out.xml", parser="etree")
    assert frame["id"].tolist() == list(range(20))
    assert frame["name"][3] == "é <&>\n3"
    yard.sql("DROP TABLE t")
    text = frame[["id", "name"]].to_xml(parser="etree", attr_cols=attributes)
    assert named(planned(yard, text)) == ["index", "id", "name"]
    assert [row[1] for row in imported(yard, text)] == [str(number) for number in range(20)]
