"""Chunks consist of whole records and together are the file, for any chunk size."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladingd.data.files.roots import Source
from ladingd.data.formats.csv.chunker import count_lines, cut
from ladingd.data.formats.csv.dialect import Dialect
from tests.unit.data.formats.csv.test_quoting import plan_of, read_slowly

if TYPE_CHECKING:
    from ladingd.core.plan import Chunk

DIALECT = Dialect(delimiter=",", quote='"')
LIMIT = 24

texts = st.text(alphabet='ab,"\n\r', max_size=90).map(str.encode)
tame = st.lists(st.sampled_from([b"a", b",", b'"x\ny"', b'"q""q"', b'""', b"\n", b"\r\n", b"b"]), max_size=40).map(
    b"".join
)


def count_lines_slowly(data: bytes) -> int:
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n")


def cut_all(data: bytes, chunk_bytes: int, step: int, record_limit: int = LIMIT) -> list[Chunk]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        source = Source(descriptor=os.dup(file.fileno()), path="x")
        with source:
            chunks: list[Chunk] = []
            while more := cut(
                source,
                plan_of(data, chunk_bytes, DIALECT),
                chunks[-1] if chunks else None,
                step,
                record_limit=record_limit,
            ):
                chunks += more
            return chunks


@given(st.one_of(texts, tame), st.integers(1, 30), st.integers(1, 4))
@settings(max_examples=300, deadline=None)
def test_chunks_are_the_file_and_count_its_records_and_lines(data: bytes, chunk_bytes: int, step: int) -> None:
    chunks = cut_all(data, chunk_bytes, step)
    assert chunks == cut_all(data, chunk_bytes, 100), "the same chunks whatever the number asked for"
    position, record = 0, 1
    for ordinal, chunk in enumerate(chunks):
        piece = data[chunk.start : chunk.end]
        assert (chunk.ordinal, chunk.start, chunk.first_record) == (ordinal, position, record)
        assert chunk.first_line == 1 + count_lines_slowly(data[: chunk.start])
        assert chunk.records is not None
        if chunk.refused is None:
            assert len(read_slowly(piece)) == chunk.records
            assert len(piece) <= chunk_bytes or (chunk.records == 1 and len(piece) <= max(LIMIT, chunk_bytes) + 1)
        else:
            assert chunk.records == 1
        position, record = chunk.end, record + chunk.records
    assert position == len(data)


def test_a_quoted_field_beyond_the_limit_is_refused_as_a_whole() -> None:
    data = b'"' + b'x""\n' * 40 + b'",y\nz\n'
    chunks = cut_all(data, 10, 10)
    assert [(chunk.end, chunk.refused) for chunk in chunks] == [(len(data) - 2, "RECORD_TOO_LONG"), (len(data), None)]


def test_a_quote_that_closes_far_away_but_not_at_the_end_of_a_field_stays_open() -> None:
    data = b'"' + b"x\n" * 40 + b'y,"z"\n'
    chunks = cut_all(data, 10, 10)
    assert (chunks[0].end, chunks[0].refused) == (3, "UNTERMINATED_QUOTE")
    assert [chunk.refused for chunk in chunks[1:]] == [None] * (len(chunks) - 1)


def test_an_open_quote_is_not_followed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ladingd.data.formats.csv.chunker.QUOTE_LIMIT", 60)
    data = b'"' + b"x\n" * 40 + b'"\n'
    assert (cut_all(data, 10, 10)[0].end, cut_all(data, 10, 10)[0].refused) == (3, "UNTERMINATED_QUOTE")


@pytest.mark.parametrize("tail", [b'"a\nb"\nz\n', b"\r\nz\n", b"\nz\n", b"\rz\n"])
def test_a_record_beyond_the_limit_is_refused_up_to_its_end(tail: bytes) -> None:
    data = b"y\n" + b"x" * 50 + (b"," if tail.startswith(b'"') else b"") + tail
    chunks = cut_all(data, 10, 10)
    assert [c.refused for c in chunks] == [None, "RECORD_TOO_LONG", None]
    assert data[chunks[2].start :] == b"z\n"
    assert chunks[2].first_record == 3


def test_a_record_longer_than_the_chunk_makes_the_chunk_longer() -> None:
    data = b"aaaaaaaaaaaaaaaaaaaa\nb\n"
    assert [(c.end, c.refused) for c in cut_all(data, 4, 10)] == [(21, None), (23, None)]


@given(texts)
@settings(deadline=None)
def test_lines_are_counted_across_blocks(data: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        with Source(descriptor=os.dup(file.fileno()), path="x") as source:
            assert count_lines(source, 0, len(data)) == count_lines_slowly(data)
