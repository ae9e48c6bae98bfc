"""XML files: every record element becomes a record or a reject, and damage fails the job when the rest is imported."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from ladingd.core.bill import Counts
from ladingd.core.errors import InvalidSpec, SourceUnreadable
from ladingd.core.job import Level, Note
from ladingd.core.plan import ImportPlan
from ladingd.core.spec import CsvFormat, ImportSpec, Table, XmlFormat
from ladingd.data.formats.lines import RECORD_LIMIT
from ladingd.data.imports import survey
from tests.harness.reject_files import rejects_in
from tests.unit.data.imports.test_import import rejects_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.data.conftest import Yard

XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


def planned(yard: Yard, text: str | bytes, name: str = "in.xml", **spec: object) -> ImportPlan:
    plan = yard.transfer.plan(ImportSpec(files=(yard.write(text, name),), target=Table(table="t"), **spec))  # type: ignore[arg-type]
    assert isinstance(plan, ImportPlan)
    return plan


def named(plan: ImportPlan) -> list[str]:
    return [column.source for column in plan.columns]


def imported(yard: Yard, text: str | bytes, **spec: object) -> list[tuple[object, ...]]:
    """The rows in a table of text columns."""
    plan = planned(yard, text, **spec)
    plan = planned(yard, text, types=dict.fromkeys(named(plan), "text"), **spec)
    yard.run(plan)
    return yard.sql("SELECT * FROM t ORDER BY rowid")


def ended(yard: Yard, plan: ImportPlan) -> tuple[Counts, str]:
    """The counts of a job, and why it fails in the end; empty: it does not."""
    yard.transfer.begin("job", 1, plan)
    chunks = yard.chunks(plan)
    counts = sum((yard.transfer.process("job", 1, plan, chunk) for chunk in chunks), Counts())
    try:
        yard.transfer.finish("job", plan, chunks)
    except SourceUnreadable as error:
        return counts, str(error)
    return counts, ""


@pytest.mark.parametrize("chunk_bytes", [1, 1000, 8 << 20])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "iso-8859-1", "utf-16", "utf-16-be", "windows-1252"])
def test_a_file_is_imported_in_any_encoding(yard: Yard, encoding: str, chunk_bytes: int) -> None:
    records = "\n".join(f"<row><id>{number}</id><näme>näme {number}</näme></row>" for number in range(200))
    declared = "utf-8" if encoding == "utf-8-sig" else encoding.removesuffix("-be")
    text = f'<?xml version="1.0" encoding="{declared}"?>\n<rows>\n{records}\n</rows>'
    plan = planned(yard, text.encode(encoding), chunk_bytes=chunk_bytes)
    assert yard.run(plan) == Counts(read=200, inserted=200)
    assert yard.sql("SELECT * FROM t ORDER BY id") == [(number, f"näme {number}") for number in range(200)]


def test_an_encoding_that_the_bytes_contradict_is_told(yard: Yard) -> None:
    text = '<?xml version="1.0" encoding="ISO-8859-1"?><rows><row><a>é</a></row><row><a>ß</a></row></rows>'
    assert "the XML declaration says ISO-8859-1 (Latin-1), which the bytes contradict" in planned(yard, text).detected
    assert imported(yard, text) == [("é",), ("ß",)]


PATHS = [
    ("<rows><row><a>1</a></row><row><a>2</a></row></rows>", "row"),
    ("<e><meta><k/><k/></meta><rows><row><a>1</a></row><row><a>2</a></row><row><a>3</a></row></rows></e>", "row"),
    ("<a><b><c><row x='1'/><row x='2'/></c></b></a>", "row"),
    ("<rows><row><id>1</id><tag>a</tag><tag>b</tag></row></rows>", "row"),
    ("<rows><name>Ann</name><name>Bob</name></rows>", "name"),
    ("<feed><page><entry><x>1</x></entry><entry><x>2</x></entry></page></feed>", "entry"),
    ("<customer><id>1</id><name>Ann</name></customer>", "customer"),
    ("<?xml version='1.0'?><!-- <row/> --><!DOCTYPE r SYSTEM 'r.dtd'><r><row>1</row><row>2</row></r>", "row"),
    ("<p:rows xmlns:p='u'><p:row><p:a>1</p:a></p:row><p:row/></p:rows>", "p:row"),
]


@pytest.mark.parametrize(("text", "record"), PATHS)
def test_the_record_element_is_detected(yard: Yard, text: str, record: str) -> None:
    plan = planned(yard, text)
    assert f"format: XML; record element: <{record}>" in plan.detected
    assert ended(yard, plan)[1] == ""


def test_the_record_element_can_be_named(yard: Yard) -> None:
    text = "<r><order n='1'><item>a</item><item>b</item></order><order n='2'><item>c</item></order></r>"
    assert named(planned(yard, text)) == ["n", "item"]
    wanted = XmlFormat(record_element="item")
    plan = planned(yard, text, xml=wanted)
    assert imported(yard, text, xml=wanted) == [("a",), ("b",), ("c",)]
    assert named(plan) == ["item"]
    with pytest.raises(InvalidSpec, match="no element <line> near its beginning; it has <r>, <order>, <it") as caught:
        planned(yard, text, xml=XmlFormat(record_element="line"))
    assert caught.value.field == "xml.record_element"


def test_what_stands_around_the_records_is_named(yard: Yard) -> None:
    plan = planned(
        yard,
        "<e><meta/><rows><sum/><row><a>1</a></row><row><a>2</a></row></rows></e>",
        xml=XmlFormat(record_element="row"),
    )
    assert any("not these around them: <meta>, <sum> (--record-element)" in note for note in plan.notes)


VALUES = [
    ("<row><a>x &amp; &lt;y&gt; &#233;&#xe9; &quot;&apos;</a></row>", ("x & <y> éé \"'",)),
    ("<row><a><![CDATA[</row> & <b>]]></a></row>", ("</row> & <b>",)),
    ("<row><!-- <row> --><a>x<!-- </a> -->y</a><?pi </row> ?></row>", ("xy",)),
    ("<row><a></a></row>", ("",)),
    ("<row><a/></row>", ("",)),
    ("<row><a xsi:nil='true'/></row>", (None,)),
    ('<row><a xsi:nil="true"></a></row>', (None,)),
    ("<row/>", (None,)),
    ("<row>\r\n <a>1\r\n2\r3</a>\r</row>", ("1\n2\n3",)),
    ("<row><a> x </a></row>", (" x ",)),
    ("<row  ><a\n>1</a ></row\t>", ("1",)),
]


@pytest.mark.parametrize(("record", "row"), VALUES)
def test_values_are_read_as_xml_means_them(yard: Yard, record: str, row: tuple[str | None]) -> None:
    text = f"<rows {XSI}><row><a>first</a></row>{record}<row><a>last</a></row></rows>"
    assert imported(yard, text) == [("first",), row, ("last",)]


COLUMNS = [
    ("<row id='1'><id>2</id></row>", {"@id": "1", "id": "2"}),
    ("<row><a><b>1</b><c d='2'>3</c></a></row>", {"a.b": "1", "a.c.d": "2", "a.c": "3"}),
    ("<row><a>1</a><a>2</a></row>", {"a": "<a>1</a><a>2</a>"}),
    ("<row><a>1<b x='&quot;'/>&lt;</a></row>", {"a": "<a>1<b x='\"'/>&lt;</a>"}),
    ("<row><a><b><c><d>1</d></c></b></a></row>", {"a.b.c": "<c><d>1</d></c>"}),
    ("<row><p:a xmlns:p='u'>1</p:a></row>", {"a": "1"}),
    ("<row><a>1</a><b:a>2</b:a></row>", {"a": "1", "b:a": "2"}),
    ("<row><field name='first name'>1</field><field name='id'>2</field></row>", {"first name": "1", "id": "2"}),
    ("<row>text</row>", {"row": "text"}),
    ("<row n='1'>text</row>", {"n": "1", "row": "text"}),
    ("<row xsi:type='x'><a xml:lang='de'>1</a></row>", {"a.lang": "de", "a": "1"}),
]


@pytest.mark.parametrize(("record", "fields"), COLUMNS)
def test_attributes_and_children_are_columns(yard: Yard, record: str, fields: dict[str, str]) -> None:
    text = f"<rows {XSI} xmlns:b='v'>{record}{record}</rows>"
    plan = planned(yard, text)
    assert named(plan) == list(fields)
    assert imported(yard, text) == 2 * [tuple(fields.values())]


def test_a_column_that_the_first_record_lacks_has_its_place(yard: Yard) -> None:
    assert named(planned(yard, "<r><x><a/><d/></x><x><a/><b/><c/><d/></x></r>")) == ["a", "b", "c", "d"]


FAULTS = [
    ("<row><a>1</b></row>", "NOT_XML", "mismatched tag, in line 3"),
    ("<row>\n<a>1</b></row>", "NOT_XML", "mismatched tag, in line 4"),
    ("<row><a>&nope;</a></row>", "NOT_XML", "the entity &nope; is not defined"),
    ("<row><a>&</a></row>", "NOT_XML", "invalid token"),
    ("<row><a>\x01</a></row>", "NOT_XML", "invalid token"),
    ("<row><a>]]></a></row>", "NOT_XML", "not well-formed"),
    ("<row><a>\uffff</a></row>", "NOT_XML", "invalid token"),
    ("<row><a x='1' x='2'/></row>", "NOT_XML", "duplicate attribute"),
    ("<row><q:a/></row>", "NOT_XML", "unbound prefix"),
    ("<row><a>1</a>", "NOT_XML", "no element found|mismatched tag"),
    ("<row><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a></row>", "NOT_XML", "invalid token"),
    ("</row>", "NOT_XML", ""),
    ("text", "NOT_XML", "stands between the records"),
    ("<![CDATA[x]]>", "NOT_XML", "stands between the records"),
]


@pytest.mark.parametrize("chunk_bytes", [1, 8 << 20])
@pytest.mark.parametrize(("fault", "code", "message"), FAULTS)
def test_a_fault_rejects_its_record_and_no_other(
    yard: Yard, fault: str, code: str, message: str, chunk_bytes: int
) -> None:
    plan = planned(yard, f"<rows>\n<row><a>1</a></row>\n{fault}\n<row><a>3</a></row>\n</rows>", chunk_bytes=chunk_bytes)
    counts, failure = ended(yard, plan)
    assert (counts.read, counts.inserted, counts.rejected, failure) == (3, 2, 1, "")
    (reject,) = rejects_of(yard, plan)
    assert (reject.line, reject.code, reject.raw) == (3, code, fault)
    assert message in reject.message or any(part in reject.message for part in message.split("|"))


LATER = [
    ("<row><b>1</b></row>", "UNEXPECTED_ELEMENT", "the element 'b'"),
    ("<row b='1'><a>1</a></row>", "UNEXPECTED_ATTRIBUTE", "the attribute 'b'"),
    ("<row><a>1</a><a>2</a></row>", "REPEATED_ELEMENT", "'a' occurs twice"),
    ("<row>x<a>1</a></row>", "UNEXPECTED_TEXT", "text stands between"),
    ("<row><a><b/></a></row>", "UNEXPECTED_ELEMENT", "the element 'a.b'"),
    ("<row><a>1</a><row/></row>", "UNEXPECTED_ELEMENT", "the element 'row'"),
]


@pytest.mark.parametrize(("record", "code", "message"), LATER)
def test_a_later_record_of_another_shape_is_rejected_whole(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, record: str, code: str, message: str
) -> None:
    monkeypatch.setattr(survey, "ROUNDS", 0)
    text = f"<rows>{2500 * '<row><a>1</a></row>'}{record}<row><a>1</a></row></rows>"
    plan = planned(yard, text)
    counts, failure = ended(yard, plan)
    assert (counts.read, counts.rejected, failure) == (2502, 1, "")
    (reject,) = rejects_of(yard, plan)
    assert (reject.code, reject.record, reject.raw) == (code, 2501, record)
    assert message in reject.message


GOOD = "<row><a>1</a></row>\n<row><a>2</a></row>"
ENDS = [
    (f"<rows>\n{GOOD}", 2, 0, "ends within <rows>, in line 3"),
    (f"<rows>\n{GOOD}\n<row><a>3</a>", 2, 1, "ends within <rows>, in line 4"),
    (f"<rows>\n{GOOD}\n<row><a>3</a></ro", 2, 1, "ends within <rows>"),
    (f"<rows>\n{GOOD}\n<row", 2, 1, "ends within <rows>"),
    (f"<rows>\n{GOOD}\n<!-- ", 2, 0, "ends within <rows>"),
    (f"<e><rows>\n{GOOD}\n</e>", 2, 0, "<rows> is not closed before the root element ends in line 4"),
    (f"<rows>\n{GOOD}\n</rows>\n<rows><row><a>3</a></row></rows>", 2, 0, "follows the root element in line 5"),
    (f"<rows>\n{GOOD}\n</rows>\nmore", 2, 0, "follows the root element in line 5"),
    (f"<rows>\n{GOOD}\n</rows>{' ' * 100_000}<x/>", 2, 0, "follows the root element in line 4"),
    (f"<rows>\n{GOOD}\n</rows>\n<!-- fine -->\n<?pi?>\n", 2, 0, ""),
    ("<x><a>1</a><b>2</b></x><x/>", 1, 0, "follows the root element"),
]


@pytest.mark.parametrize("chunk_bytes", [1, 8 << 20])
@pytest.mark.parametrize(("text", "inserted", "rejected", "message"), ENDS)
def test_damage_fails_the_job_after_the_records_before_it(
    yard: Yard, text: str, inserted: int, rejected: int, message: str, chunk_bytes: int
) -> None:
    plan = planned(yard, text, chunk_bytes=chunk_bytes)
    counts, failure = ended(yard, plan)
    assert (counts.inserted, counts.rejected) == (inserted, rejected)
    assert message in failure
    assert bool(message) == bool(failure)


@pytest.mark.parametrize("chunk_bytes", [1, 8 << 20])
def test_records_in_several_places_are_those_of_one_path(yard: Yard, chunk_bytes: int) -> None:
    text = (
        "<r><g n='1'><row><a>1</a></row><row><a>2</a></row></g><!-- <row/> -->\n"
        "<g><row><a>3</a></row></g><other><row><a>no</a></row></other><g><row><a>4</a></row></g></r>"
    )
    plan = planned(yard, text, xml=XmlFormat(record_element="row"), chunk_bytes=chunk_bytes)
    assert ended(yard, plan) == (Counts(read=4, inserted=4), "")
    assert yard.sql("SELECT a FROM t ORDER BY rowid") == [(1,), (2,), (3,), (4,)]


def test_records_within_records_belong_to_them(yard: Yard) -> None:
    text = "<r><n><n><n/></n><v>1</v></n><n><v>2</v></n></r>"
    assert imported(yard, text) == [("", "1"), (None, "2")]


BOMB = """<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;">]>
<lolz><row><a>&lol2;</a></row><row><a>&lol2;</a></row></lolz>"""


@pytest.mark.parametrize("declaration", ["SYSTEM 'file:///etc/passwd'", "'value'", "SYSTEM 'http://127.0.0.1:1/x'"])
def test_no_entity_of_a_file_is_expanded(yard: Yard, declaration: str) -> None:
    text = f"<!DOCTYPE r [\n<!ENTITY e {declaration}>]><r><row><a>&e;</a></row><row><a>&e;</a></row></r>"
    for each in (text, BOMB, text.replace("ENTITY e", "ENTITY % e")):
        with pytest.raises(InvalidSpec, match=r"declares the entity '(e|lol)' in line (1|2): Lading expands no"):
            planned(yard, each)


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE html><html><body><p>1</p><p>2</p></body></html>",
        '<html xmlns="x"><body/></html>',
        "<HTML><br></HTML>",
    ],
)
def test_html_is_refused_by_content(yard: Yard, text: str) -> None:
    for name in ("in.xml", "in.csv", "in.html", "in"):
        with pytest.raises(InvalidSpec, match="is HTML, which Lading cannot read yet: save its table as CSV first"):
            planned(yard, text, name)


@pytest.mark.parametrize(
    "text", ["<", "<a", "<a>", "<a></b>", "x", "<?xml version='1.1' ?>", "<a/><b/>", "<!-- x", "<x><a>1</a><b>2</b>"]
)
def test_what_is_no_xml_is_refused(yard: Yard, text: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        planned(yard, text)
    assert caught.value.field == "files[0].path"


def test_a_name_that_the_content_contradicts_is_told(yard: Yard) -> None:
    plan = planned(yard, "<rows><row><a>1</a></row><row><a>2</a></row></rows>", "in.csv")
    assert any("in.csv is XML, although" in note for note in plan.notes)
    plan = planned(yard, '{"a": 1}\n{"a": 2}\n', "in.xml")
    assert any("in.xml is JSON Lines, although" in note for note in plan.notes)


@pytest.mark.parametrize(
    "text", ["<rows/>", "<rows></rows>", f"<rows {XSI}>\n</rows>\n", "<!-- x --><rows><!-- --></rows>"]
)
def test_a_root_without_elements_is_an_empty_file(yard: Yard, text: str) -> None:
    assert any("is empty" in note for note in planned(yard, text).notes)


def test_a_compressed_file_is_imported(yard: Yard) -> None:
    plan = planned(yard, gzip.compress(f"<rows>{500 * GOOD}</rows>".encode()), "in.xml.gz")
    assert ended(yard, plan) == (Counts(read=1000, inserted=1000), "")


def test_a_record_of_ten_megabytes_is_imported(yard: Yard) -> None:
    long = "x<y>" * (10 << 20 >> 2)
    text = f"<rows><row><a>1</a></row><row><a><![CDATA[{long}]]></a></row><row><a>3</a></row></rows>"
    plan = planned(yard, text, chunk_bytes=1 << 20)
    assert ended(yard, plan) == (Counts(read=3, inserted=3), "")
    assert yard.sql("SELECT length(a) FROM t ORDER BY rowid") == [(1,), (10 << 20,), (1,)]


@pytest.mark.parametrize("first", [True, False])
def test_no_depth_of_elements_is_too_great(yard: Yard, monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    monkeypatch.setattr(survey, "ROUNDS", 0)
    depth = 20_000
    deep = f"<row><a>{depth * '<b>'}x{depth * '</b>'}</a></row>"
    flat = "<row><a>1</a></row>"
    text = f"<rows>{deep}{flat}{flat}</rows>" if first else f"<rows>{2500 * flat}{deep}{flat}</rows>"
    plan = planned(yard, text)
    counts, failure = ended(yard, plan)
    assert (counts.rejected, failure) == (0 if first else 1, "")
    assert named(plan) == (["a", "a.b.b"] if first else ["a"])


@pytest.mark.parametrize("content", ["<![CDATA[%s</row>]]>", "<!-- %s</row> -->", "%s", "<b c='%s'/>"])
def test_a_record_over_the_limit_is_rejected_alone(yard: Yard, content: str) -> None:
    long = "<row><a>" + content % ("x" * RECORD_LIMIT) + "</a></row>"
    plan = planned(yard, f"<rows><row><a>1</a></row>\n{long}\n<row><a>3</a></row></rows>")
    counts, failure = ended(yard, plan)
    assert (counts.inserted, counts.rejected, failure) == (2, 1, "")
    (reject,) = rejects_of(yard, plan)
    assert (reject.line, reject.code) == (2, "RECORD_TOO_LONG")


@pytest.mark.parametrize("filler", ["<!-- %s -->", "<meta>%s</meta>", "%s"])
def test_much_between_the_records_is_not_held_in_memory(yard: Yard, filler: str) -> None:
    element = f"<x>{'y' * 1017}</x>"
    long = filler % (element * (20 << 10))
    plan = planned(yard, f"<r><rows>{GOOD}</rows>{long}<rows>{GOOD}</rows></r>", xml=XmlFormat(record_element="row"))
    assert ended(yard, plan) == (Counts(read=4, inserted=4), "")


def test_types_are_decided_by_the_whole_file(yard: Yard) -> None:
    days = ["2026-01-01"] * 200_000 + ["never"] * 20_000
    text = "<rows>" + "\n".join(f"<row><id>{number}</id><when>{day}</when></row>" for number, day in enumerate(days))
    plan = planned(yard, f"{text}</rows>")
    assert {column.source: column.type for column in plan.columns} == {"id": "integer", "when": "text"}


def test_options_of_other_formats_are_refused(yard: Yard) -> None:
    with pytest.raises(InvalidSpec, match="XML"):
        planned(yard, f"<r>{GOOD}</r>", csv=CsvFormat(delimiter=";"))
    with pytest.raises(InvalidSpec, match="CSV") as caught:
        yard.plan_import("a,b\n1,2\n", xml=XmlFormat(record_element="row"))
    assert caught.value.field == "xml.record_element"


def test_several_files_share_columns_by_name(yard: Yard) -> None:
    first = yard.write("<r><x><a>1</a><b>2</b></x><x><c>3</c></x></r>", "1.xml")
    second = yard.write("<r><x><c>4</c><a>5</a></x><x><c>6</c></x><x><c>z</c></x></r>", "2.xml")
    plan = yard.transfer.plan(ImportSpec(files=(first, second), target=Table(table="t"), types={"c": "integer"}))
    counts = yard.run(plan)
    assert (counts.inserted, counts.rejected) == (4, 1)
    assert yard.sql("SELECT a, b, c FROM t ORDER BY rowid") == [
        (1, 2, None),
        (None, None, 3),
        (5, None, 4),
        (None, None, 6),
    ]


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"))
CELLS = st.none() | TEXTS | st.sampled_from(["\n", " ", "a\tb", "\r", "&amp;", "]]>", "<!-- -->", "'\""])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=20),
    encoding=st.sampled_from(["utf-8", "utf-16", "us-ascii", "iso-8859-1"]),
    chunk_bytes=st.sampled_from([1, 200, 8 << 20]),
    as_attributes=st.booleans(),
)
def test_what_element_tree_writes_is_read(
    make_yard: Callable[[Path], Yard],
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str | None, str | None]],
    encoding: str,
    chunk_bytes: int,
    as_attributes: bool,
) -> None:
    root = ElementTree.Element("rows")
    for number, row in enumerate([("first", "row"), *rows]):
        record = ElementTree.SubElement(root, "row", {"number": str(number)})
        for name, value in zip("ab", row, strict=True):
            if value is not None and as_attributes:
                record.set(name, value)
            elif value is not None:
                ElementTree.SubElement(record, name).text = value
    yard = make_yard(tmp_path_factory.mktemp("yard"))
    # ElementTree writes a carriage return in text as such, and readers take it for a line end.
    normal = [
        tuple(value if value is None or as_attributes else value.replace("\r", "\n") for value in row) for row in rows
    ]
    data = ElementTree.tostring(root, encoding=encoding, xml_declaration=True)
    types = {"number": "text", "a": "text", "b": "text"}
    assert ended(yard, planned(yard, data, chunk_bytes=chunk_bytes, types=types)) == (
        Counts(read=len(rows) + 1, inserted=len(rows) + 1),
        "",
    )
    assert yard.sql("SELECT a, b FROM t ORDER BY rowid")[1:] == normal


def test_elements_far_behind_the_records_are_named(yard: Yard) -> None:
    ways = "<way id='1'><node/></way>\n" * 30
    nodes = "<node id='1'/>" * 100_000
    text = f"<map><bounds/>{nodes}<bounds/>{ways}<relation/></map>"
    plan = planned(yard, text)
    assert any("not these around them: <bounds> (" in note for note in plan.notes)
    yard.transfer.begin("job", 1, plan)
    chunks = yard.chunks(plan)
    for chunk in chunks:
        yard.transfer.process("job", 1, plan, chunk)
    (note, *_) = yard.transfer.finish("job", plan, chunks)
    assert note == Note(
        "in.xml: only the elements <node> were imported, not these behind them: <way>, <relation> (--record-element)",
        Level.WARNING,
    )


def test_other_elements_between_records_are_told(yard: Yard) -> None:
    rows = "".join(f"<row><a>{number}</a></row>\n" for number in range(60_000))
    plan = yard.plan_import(
        f"<rows>\n{rows}<total>60000</total>\n<row><a>7</a></row>\n<total/><row><a>8</a></row></rows>"
    )
    counts = yard.run(plan)
    assert (counts.read, counts.inserted, counts.warnings) == (60_002, 60_002, 1)
    (reject,) = [each for number in range(20) for each in rejects_in(yard.work_dir.rejects("job", number))]
    assert (reject["type"], reject["code"], reject["line"]) == ("WARNING", "OTHER_ELEMENT", 60_003)
    assert reject["message"].startswith("the element <total> before this record is not imported")
