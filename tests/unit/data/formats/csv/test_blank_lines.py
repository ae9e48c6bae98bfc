"""Blank lines among records: each is counted, and none costs a value for each column."""

from __future__ import annotations

import pytest

from ladingd.data.formats.csv.dialect import Dialect
from ladingd.data.formats.csv.parser import parse

DIALECT = Dialect(delimiter=",", quote='"')


@pytest.mark.parametrize("record", [b"1," * 1999 + b"1\n", b'"1",' * 1999 + b'"1"\n', b'"B" Quay,' * 1999 + b"1\n"])
def test_blank_lines_in_a_wide_file_take_no_memory(record: bytes) -> None:
    parsed = parse(record + b"\n" * 20_000 + record, DIALECT, 2000)
    assert parsed.rows == 2
    assert parsed.skipped.tolist() == list(range(1, 20_001))
    assert sum(column.nbytes for column in parsed.columns) < 1 << 20


def test_records_keep_their_numbers_among_blank_lines() -> None:
    data = b'\n1,"a\n\nb"\r\n\r\n2\r\r\n3,"c\n\n4,"d "e" f"\n"5" x,f\n\n'
    parsed = parse(data, DIALECT, 2)
    assert parsed.columns[0].to_pylist() == ["1", '"5" x']
    assert parsed.columns[1].to_pylist() == ["a\n\nb", "f"]
    assert parsed.skipped.tolist() == [0, 2, 4, 6, 9]
    assert [each.index for each in parsed.misshapen] == [3]
    assert parsed.refused == {5: "UNTERMINATED_QUOTE", 7: "TEXT_AFTER_QUOTE"}
    assert parsed.literal == [8]
    assert parsed.records == 10
