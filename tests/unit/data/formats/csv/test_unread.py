"""Columns that nobody needs are not read, and the records stay what they are."""

from __future__ import annotations

import pytest

from ladingd.data.formats.csv.dialect import Dialect
from ladingd.data.formats.csv.parser import parse

DIALECT = Dialect(delimiter=",", quote='"')


@pytest.mark.parametrize(
    "data",
    [
        b'1,a,x\n2,,"y\nz"\n',
        b"1,a,x\n\n3\n4,b,y,z\n5,c,\n",
        b'1,"a"b,x\n2,c,"y" z\n3,d,w\n',
        b"1,\xff,x\n2,b,\xfe\n3\n",
        b"",
    ],
)
@pytest.mark.parametrize("unread", [{0}, {1}, {0, 2}, {0, 1, 2}])
def test_the_other_columns_and_all_faults_stay(data: bytes, unread: set[int]) -> None:
    whole = parse(data, DIALECT, 3)
    some = parse(data, DIALECT, 3, unread=frozenset(unread))
    assert (some.rows, some.misshapen, some.refused, some.literal) == (
        whole.rows,
        whole.misshapen,
        whole.refused,
        whole.literal,
    )
    assert some.skipped.tolist() == whole.skipped.tolist()
    for place, (found, expected) in enumerate(zip(some.columns, whole.columns, strict=True)):
        if place in unread - {0 if unread == {0, 1, 2} else None}:
            assert found.null_count == whole.rows
        else:
            assert found == expected
