"""Records with irregular quotes, compared with a slow reader that reads one character after the other."""

from __future__ import annotations

import os
import tempfile
import time
import tracemalloc
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladingd.core.plan import Chunk, Fingerprint, ImportPlan, PlannedFile
from ladingd.core.spec import File, Table
from ladingd.data.files.roots import Source
from ladingd.data.formats.csv.boundaries import frame
from ladingd.data.formats.csv.chunker import cut
from ladingd.data.formats.csv.dialect import Dialect
from ladingd.data.formats.csv.parser import parse

PLAIN = Dialect(delimiter=",", quote='"')
ESCAPED = Dialect(delimiter=",", quote='"', escape="\\")
ODD = Dialect(delimiter="|", quote="'")

Field = bytes | None


@dataclass
class Record:
    """A record of the slow reader."""

    end: int
    fields: list[Field] = field(default_factory=list)
    literal: bool = False
    refused: bool = False


class Irregular(Exception):
    """Text after a closing quote, or no closing quote."""


def read_slowly(data: bytes, dialect: Dialect = PLAIN) -> list[Record]:
    records, position = [], 0
    while position < len(data):
        try:
            record = read_regular(data, position, dialect)
        except Irregular:
            record = read_line(data, position, dialect)
        records.append(record)
        position = record.end
    return records


def read_regular(data: bytes, position: int, dialect: Dialect) -> Record:
    """Read a record by the strict rule."""
    delimiter, quote = dialect.delimiter.encode(), dialect.quote.encode()
    record = Record(end=0)
    while True:
        if data[position : position + 1] == quote:
            value, position = inside(data, position + 1, dialect)
            record.fields.append(value)
            if data[position : position + 1] not in (delimiter, b"\r", b"\n", b""):
                raise Irregular
        else:
            begin = position
            while data[position : position + 1] not in (delimiter, b"\r", b"\n", b""):
                position += 1
            record.fields.append(unescaped(data[begin:position], dialect) or None)
        if data[position : position + 1] != delimiter:
            break
        position += 1
    record.end = behind_line_end(data, position)
    return record


def inside(data: bytes, position: int, dialect: Dialect) -> tuple[bytes, int]:
    quote, escape = dialect.quote.encode(), dialect.escape.encode()
    value = b""
    while position < len(data):
        char, follower = data[position : position + 1], data[position + 1 : position + 2]
        if escape and char == escape:
            value += follower if follower in (quote, escape) else char + follower
            position += 1 + len(follower)
        elif char != quote:
            value += char
            position += 1
        elif follower == quote:
            value += quote
            position += 2
        else:
            return value, position + 1
    raise Irregular


def unescaped(value: bytes, dialect: Dialect) -> bytes:
    escape, kept, position = dialect.escape.encode(), b"", 0
    while position < len(value):
        pair = value[position : position + 2]
        if escape and pair in (escape * 2, escape + dialect.quote.encode()):
            kept += pair[1:]
            position += 2
        else:
            kept += pair[:1]
            position += 1
    return kept


def behind_line_end(data: bytes, position: int) -> int:
    if data[position : position + 2] == b"\r\n":
        return position + 2
    return min(position + 1, len(data))


def read_line(data: bytes, position: int, dialect: Dialect) -> Record:
    """Read a record with irregular quotes: its first line with literal fields, or refused."""
    line_end = position
    while data[line_end : line_end + 1] not in (b"\r", b"\n", b""):
        line_end += 1
    line, end = data[position:line_end], behind_line_end(data, line_end)
    delimiter, quote = dialect.delimiter.encode(), dialect.quote.encode()
    record = Record(end=end)
    at = 0
    while True:
        stop = line.find(delimiter, at)
        stop = len(line) if stop < 0 else stop
        literally = line[at:stop]
        if line[at : at + 1] != quote:
            record.fields.append(unescaped(literally, dialect) or None)
        else:
            try:
                value, closed = inside(line, at + 1, dialect)
            except Irregular:
                return Record(end=end, refused=True)
            if line[closed : closed + 1] in (delimiter, b""):
                record.fields.append(value)
                stop = closed
            elif closed <= stop and not literally.endswith(quote):
                record.fields.append(literally)
                record.literal = True
            else:
                return Record(end=end, refused=True)
        if stop == len(line):
            return record if record.literal else Record(end=end, refused=True)
        at = stop + 1


def plan_of(data: bytes, chunk_bytes: int, dialect: Dialect) -> ImportPlan:
    return ImportPlan(
        files=(
            PlannedFile(
                name="in.csv",
                location=File(path="x"),
                fingerprint=Fingerprint(size=len(data), head="", tail=""),
                layout=dialect.layout(),
                start=0,
                end=len(data),
                first_line=1,
            ),
        ),
        columns=(),
        target=Table(table="t"),
        create_table=True,
        chunk_bytes=chunk_bytes,
    )


def cut_all(data: bytes, chunk_bytes: int, dialect: Dialect, record_limit: int) -> list[Chunk]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        with Source(descriptor=os.dup(file.fileno()), path="x") as source:
            chunks: list[Chunk] = []
            plan = plan_of(data, chunk_bytes, dialect)
            while more := cut(source, plan, chunks[-1] if chunks else None, 100, record_limit=record_limit):
                chunks += more
            return chunks


def rows_of(data: bytes, dialect: Dialect, width: int) -> list[list[Field] | int | None]:
    """The parser's result for each record: its fields, its number of fields if that is wrong, no fields for a blank
    line, or None if refused."""
    parsed = parse(data, dialect, width)
    columns = [column.cast("binary").to_pylist() for column in parsed.columns]
    rows = iter(list(row) for row in zip(*columns, strict=True))
    others: dict[int, list[Field] | int | None] = {each.index: each.columns for each in parsed.misshapen}
    others |= dict.fromkeys(parsed.refused) | {index: [] for index in parsed.skipped.tolist()}
    return [others[index] if index in others else next(rows) for index in range(parsed.records)]


def wanted_rows(records: list[Record], width: int) -> list[list[Field] | int | None]:
    rows: list[list[Field] | int | None] = []
    for record in records:
        if record.refused:
            rows.append(None)
        elif record.fields == [None]:
            rows.append([])
        else:
            rows.append(record.fields if len(record.fields) == width else len(record.fields))
    return rows


def texts(alphabet: str, pieces: list[str]) -> st.SearchStrategy[bytes]:
    return st.one_of(
        st.text(alphabet=alphabet, max_size=60), st.lists(st.sampled_from(pieces), max_size=30).map("".join)
    ).map(str.encode)


CASES = st.one_of(
    st.tuples(
        st.just(PLAIN), texts('aé,"\n\r', ['"', '""', ",", "\n", "\r\n", "\r", "a", '"B" Q', '"x\ny"', '5" n', ',"'])
    ),
    st.tuples(
        st.just(ESCAPED), texts('aé,"\n\r\\', ['"', '\\"', "\\", "\\\\", ",", "\n", "\r\n", "a", '"b \\"c\\" d"', '"'])
    ),
    st.tuples(st.just(ODD), texts("a|'\n\"", ["'", "''", "|", "\n", "a", "'B' Q", '"'])),
)


@given(CASES, st.integers(1, 3))
@settings(max_examples=300, deadline=None)
def test_records_and_values_are_those_of_the_slow_reader(case: tuple[Dialect, bytes], width: int) -> None:
    dialect, data = case
    records = read_slowly(data, dialect)
    frames = frame(data, dialect, final=True)
    assert frames.record_ends.tolist() == [record.end for record in records]
    assert frames.literal == [index for index, record in enumerate(records) if record.literal]
    assert list(frames.refused) == [index for index, record in enumerate(records) if record.refused]
    assert rows_of(data, dialect, width) == wanted_rows(records, width)


@given(CASES, st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_a_piece_of_text_knows_only_records_of_the_whole(case: tuple[Dialect, bytes], length: int) -> None:
    dialect, data = case
    records = read_slowly(data, dialect)
    frames = frame(data[:length], dialect, final=length >= len(data))
    assert frames.record_ends.tolist() == [record.end for record in records[: frames.record_ends.size]]
    assert frames.literal == [i for i, record in enumerate(records[: frames.record_ends.size]) if record.literal]


@given(CASES, st.integers(1, 40), st.sampled_from([8, 1000]), st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_chunks_of_any_size_are_read_as_the_whole(
    case: tuple[Dialect, bytes], chunk_bytes: int, record_limit: int, width: int
) -> None:
    dialect, data = case
    records = read_slowly(data, dialect)
    by_start = dict(zip([0, *(record.end for record in records)], records, strict=False))
    position = number = 0
    for chunk in cut_all(data, chunk_bytes, dialect, record_limit):
        assert chunk.start == position
        position = chunk.end
        if chunk.refused == "RECORD_TOO_LONG":
            # It may be refused as a whole with a message. The limit is much larger than a single read.
            assert chunk.end - chunk.start > record_limit
            assert chunk.end == by_start[chunk.start].end
            continue
        if chunk.refused is not None:
            assert chunk.end == by_start[chunk.start].end
            continue
        inner = [record for start, record in by_start.items() if chunk.start <= start < chunk.end]
        assert chunk.records == len(inner)
        piece = data[chunk.start : chunk.end]
        assert rows_of(piece, dialect, width) == wanted_rows(inner, width)
        number += len(inner)
    assert position == len(data)


@pytest.mark.parametrize("chunk_bytes", [1, 20, 1000, 1 << 20, 8 << 20])
@pytest.mark.parametrize("apart", [1, 300, 40_000])
def test_a_quote_that_is_never_closed_costs_its_line_alone(chunk_bytes: int, apart: int) -> None:
    if chunk_bytes < 1000 < apart:
        pytest.skip("too many chunks to be quick")
    lines = [b"%d,x\n" % number for number in range(apart)]
    data = b'a,"b"\n2,"open\n' + b"".join(lines) + b'z,"quoted"\ny,"quoted"\n'
    chunks = cut_all(data, chunk_bytes, PLAIN, 16 << 20)
    assert chunks[-1].first_record + (chunks[-1].records or 0) - 1 == 4 + apart
    refused = []
    for chunk in chunks:
        if chunk.refused:
            refused.append(chunk.first_record)
            continue
        parsed = parse(data[chunk.start : chunk.end], PLAIN, 2)
        assert not parsed.misshapen
        refused += [chunk.first_record + index for index in parsed.refused]
    assert refused == [2]


HOSTILE = {
    "quoted words in front": b'"B" Quay - near Pier 7,1\n',
    "text behind the quote": b'1,"say "hi" now"\n',
    "never closed": b'1,"abc\n',
    "never closed, doubled ones behind": b'1,"abc\n' + b'1,""\n' * 50,
    "quotes alone": b'"""""""\n',
    "inches": b'1,5" nail\n',
    "open in front": b'"\n',
    "triple": b'"""\n',
    "two lines and text": b'"a\nb" c,d\n',
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("dialect", [PLAIN, ESCAPED])
def test_time_and_memory_grow_with_the_text_and_no_faster(name: str, dialect: Dialect) -> None:
    def seconds(size: int) -> float:
        data = HOSTILE[name] * (size // len(HOSTILE[name]))
        begin = time.process_time()
        frame(data, dialect, final=True)
        return time.process_time() - begin

    small = min(seconds(20_000) for _ in range(3))
    # A quadratic algorithm would take a hundred times as long for ten times the text.
    assert seconds(200_000) < 40 * small + 0.05
    data = HOSTILE[name] * (100_000 // len(HOSTILE[name]))
    tracemalloc.start()
    try:
        frame(data, dialect, final=True)
        assert tracemalloc.get_traced_memory()[1] < 150 * len(data)
    finally:
        tracemalloc.stop()
