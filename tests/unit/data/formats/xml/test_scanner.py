"""Records are found whatever the pieces of a file are, and read as they were cut."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from ladingd.core.bill import Counts
from ladingd.data.formats.xml.markup import Frame, RecordEnd
from ladingd.data.formats.xml.record import NotARecord, Parser
from ladingd.data.formats.xml.scanner import records_in
from tests.unit.data.formats.xml.test_format import planned

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.data.conftest import Yard

PIECES = [
    "<row>", "</row>", "<row/>", "<row ", ">", "<", "/>", "a='", 'b="', "'", '"', "<a>", "</a>", "<a/>", "x", " ", "\n",
    "<!--", "-->", "<![CDATA[", "]]>", "<?p", "?>", "&amp;", "&", "</rows>", "</g>", "<g>", "<!DOCTYPE r>", "é",
    "<row><a>1</a></row>", "<rows>",
]  # fmt: skip
FRAME = Frame(record=b"row", parents=(b"rows", b"g"), nests=False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=40), chunk_bytes=st.sampled_from([1, 50]))
def test_any_file_is_accounted_for_in_any_chunks(
    make_yard: Callable[[Path], Yard],
    tmp_path_factory: pytest.TempPathFactory,
    pieces: list[str],
    chunk_bytes: int,
) -> None:
    text = f"<rows><row><a>1</a></row><row><a>2</a></row>{''.join(pieces)}"
    yard = make_yard(tmp_path_factory.mktemp("yard"))
    outcomes = []
    for size in (chunk_bytes, 8 << 20):
        yard.sql("DROP TABLE IF EXISTS t")
        plan = planned(yard, text, chunk_bytes=size)
        chunks = yard.chunks(plan)
        assert [chunk.start for chunk in chunks] == [plan.file.start, *(chunk.end for chunk in chunks[:-1])]
        assert chunks[-1].end == plan.file.end
        yard.transfer.begin(f"job{size}", 1, plan)
        counts = sum((yard.transfer.process(f"job{size}", 1, plan, chunk) for chunk in chunks), Counts())
        outcomes.append((counts, yard.sql("SELECT * FROM t ORDER BY rowid")))
    assert outcomes[0] == outcomes[1]


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=30))
def test_records_do_not_overlap(pieces: list[str]) -> None:
    data = "".join(pieces).encode()
    for frame in (FRAME, Frame(record=b"row", parents=(), nests=True)):
        found = records_in(data, frame, final=True)
        bounds = [place for pair in zip(found.starts, found.ends, strict=True) for place in pair]
        assert bounds == sorted(bounds)
        assert all(start < end for start, end in zip(found.starts, found.ends, strict=True))
        assert found.end <= len(data)


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    "inner", ["<a/>", "<![CDATA[</row>]]>", "<!-- </row> -->", "<?p </row>?>", "<rowing></rowing>"]
)
def test_the_end_of_a_long_record_is_found_piece_by_piece(inner: str, size: int) -> None:
    data = f"<row b='>'>{inner}</row ><row>".encode()
    search, kept, base = RecordEnd(FRAME), b"", 0
    for start in range(0, len(data), size):
        piece = kept + data[start : start + size]
        end, used = search.find(piece, final=False)
        if end is not None:
            break
        base, kept = base + used, piece[used:]
    assert end is not None
    assert data[: base + end].endswith(b"</row >")


RECORDS = [
    "<row>", "</row>", "<a>", "</a>", "<a/>", "<a />", '<a xsi:nil="true"/>', "<b>", "</b>", "<b c='1'>", '<b c="1">',
    '<b c="&lt;"/>', "<d>", "</d>", "<d/>", "<e>", "</e>", "<tag>1</tag>", "<tag>x&gt;</tag>", "1", "x&amp;y", " ",
    "&#10;", "&#xD;", "&#0;", "&#xD800;", "&#x110000;", "&#xFFFE;", "&", "&amp", "&nope;",
    "\r\n", "\t", "]]>", "\x01", "\uffff", "é", '<row f="2">', "<row f='2' g=''>", "<!-- -->", "<![CDATA[<]]>",
    '<field name="n m">', "</field>", "<p:q>", "</p:q>",
]  # fmt: skip
GOOD = [
    "<a>1</a>", "<a/>", '<a xsi:nil="true" />', "<a></a>", '<b c="1">2</b>', "<b>2</b>", '<b c=""/>', "<d><e>1</e></d>",
    "<d>\n</d>", "<d/>", "<tag>1</tag>", "<tag>1</tag><tag>2</tag>", "<tag/>", "\n  ", '<field name="n m">1</field>',
    "<p:q>1</p:q>", "<a>&lt;&#xe9;&#13;</a>", '<b c="&quot;&#10;">&amp;amp;</b>', "<a>&#1;</a>",
]  # fmt: skip
TEACHER = (
    '<rows xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:p="u"><row f="1" g="2"><a>1</a><b c="1">2</b>'
    '<d><e>3</e></d><tag>4</tag><tag>5</tag><field name="n m">6</field><p:q>7</p:q></row><row/></rows>'
)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    record=st.lists(st.sampled_from(RECORDS), max_size=12).map("".join)
    | st.lists(st.sampled_from(GOOD), max_size=8, unique=True).map(lambda parts: f"<row>{''.join(parts)}</row>")
    | st.lists(st.sampled_from(range(len(GOOD))), max_size=8, unique=True).map(
        lambda places: f'<row f="x">{"".join(GOOD[place] for place in sorted(places))}</row>'
    )
)
def test_the_pattern_reads_what_the_parser_reads(record: str, parser: Parser) -> None:
    data = record.encode()
    try:
        wanted = [None if value is None else str(value).encode() for value in parser.values(data)]
    except NotARecord:
        wanted = []
    (row,) = parser.rows(data, [0], [len(data)])
    if isinstance(row, NotARecord):
        assert not wanted
    else:
        assert [value.encode() if isinstance(value, str) else value for value in row] == wanted


@pytest.fixture
def parser(yard: Yard) -> Parser:
    """The parser for records like one that has everything."""
    return Parser.of(planned(yard, TEACHER).file.layout)


def test_the_pattern_matches_usual_records(parser: Parser) -> None:
    (record,) = re.findall("<row f.*</row>", TEACHER)
    assert parser.usual is not None
    found = parser.usual.fullmatch(record.encode())
    assert found is not None
    assert list(found.groups()) == [str(value).encode() for value in parser.values(record.encode())]
