"""Which changes of a type accept fewer values than before."""

from __future__ import annotations

import pytest

from ladingd.data.mapping.narrowing import is_narrower


@pytest.mark.parametrize(
    ("before", "now", "narrower"),
    [
        ("VARCHAR(20)", "VARCHAR(20)", False),
        ("VARCHAR(20)", "VARCHAR(30)", False),
        ("VARCHAR(20)", "VARCHAR(5)", True),
        ("VARCHAR(20)", "VARCHAR", False),
        ("VARCHAR", "VARCHAR(20)", True),
        ("character varying(20)", "text", False),
        ("text", "character varying(20)", True),
        ("TEXT", "INTEGER", True),
        ("INTEGER", "TEXT", False),
        ("INTEGER", "BIGINT", False),
        ("BIGINT", "INTEGER", True),
        ("bigint", "smallint", True),
        ("INTEGER", "UBIGINT", True),
        ("numeric(10,2)", "numeric(12,2)", False),
        ("numeric(10,2)", "numeric(12,4)", False),
        ("numeric(10,2)", "numeric(10,4)", True),
        ("numeric(10,2)", "numeric(10,0)", True),
        ("numeric(10)", "numeric(10,2)", True),
        ("numeric(10,2)", "numeric", False),
        ("DECIMAL(10,2)", "DOUBLE", True),
        ("timestamp(6) without time zone", "timestamp(0) without time zone", True),
        ("timestamp without time zone", "date", True),
        ("app.mood", "app.mood", False),
        ("app.mood", "app.other", True),
        ("", "INTEGER", True),
        ("INTEGER", "", False),
        ("ENUM('a', 'b(1)')", "ENUM('a')", True),
        ("ENUM('a')", "ENUM('a', 'b''c')", False),
    ],
)
def test_narrower_types(before: str, now: str, narrower: bool) -> None:
    assert is_narrower(now, before) is narrower
