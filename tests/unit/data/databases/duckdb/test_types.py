"""Values of every DuckDB type survive an export and import."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.data.databases.duckdb.conftest import Pond

TYPES: dict[str, list[str]] = {
    "BOOLEAN": ["true", "false"],
    "TINYINT": ["-128", "127"],
    "SMALLINT": ["-32768", "32767"],
    "INTEGER": ["-2147483648", "2147483647"],
    "BIGINT": ["-9223372036854775808", "9223372036854775807"],
    "HUGEINT": ["-170141183460469231731687303715884105728", "170141183460469231731687303715884105727"],
    "UTINYINT": ["0", "255"],
    "USMALLINT": ["65535"],
    "UINTEGER": ["4294967295"],
    "UBIGINT": ["18446744073709551615"],
    "UHUGEINT": ["340282366920938463463374607431768211455"],
    "FLOAT": ["0.1", "-3.4028235e38", "nan", "inf"],
    "DOUBLE": ["0.1", "1e300", "-5e-324", "3", "nan", "-inf"],
    "DECIMAL(10,2)": ["-99999999.99", "0.01", "5"],
    "DECIMAL(38,10)": ["9999999999999999999999999999.9999999999"],
    "DATE": ["0001-01-01", "2024-02-29", "9999-12-31"],
    "TIME": ["00:00:00", "23:59:59.999999"],
    "TIMESTAMP": ["2024-02-29 23:59:59.000001", "0001-01-01 00:00:00"],
    "TIMESTAMP_S": ["2024-02-29 23:59:59"],
    "TIMESTAMP_MS": ["2024-02-29 23:59:59.123"],
    "TIMESTAMP_NS": ["2024-02-29 23:59:59.123456789"],
    "TIMESTAMPTZ": ["2024-02-29 23:59:59.5+02", "1900-01-01 00:00:00+00"],
    "TIMETZ": ["23:59:59+02"],
    "INTERVAL": ["1 year 2 months -3 days 04:05:06.789", "0"],
    "UUID": ["123e4567-e89b-42d3-a456-426614174000"],
    "VARCHAR": ["", " ", "NULL", "\\x41", 'a"b', "a,b", "é☃𝄞"],
    "BLOB": ["", "abc", "\\x00\\xFF"],
    "BIT": ["0101"],
    "JSON": ['{"a": [1, null, "x,y"]}', '"text"', "null"],
    "mood": ["sad", "so,so"],
    "INTEGER[]": ["[]", "[1, NULL, 3]"],
    "VARCHAR[]": ["['a b', 'x,y', NULL]"],
    "INTEGER[3]": ["[1, 2, 3]"],
    "STRUCT(a INTEGER, b VARCHAR)": ["{'a': 1, 'b': 'x y'}", "{'a': NULL, 'b': NULL}"],
    "MAP(VARCHAR, INTEGER)": ["{k=1}"],
}


@pytest.mark.parametrize("declared", TYPES)
def test_every_type_comes_back(pond: Pond, declared: str) -> None:
    values = ", ".join(f"({row}, '{value.replace(chr(39), chr(39) * 2)}')" for row, value in enumerate(TYPES[declared]))
    pond.sql(
        "CREATE TYPE mood AS ENUM ('sad', 'so,so')",
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {declared})",
        f"CREATE TABLE again (id INTEGER PRIMARY KEY, v {declared})",
        f"INSERT INTO t SELECT id, CAST(v AS {declared}) FROM (VALUES {values}, (100, NULL)) AS x(id, v)",
    )
    counts = pond.load(pond.export(), "again")
    assert counts.inserted == len(TYPES[declared]) + 1
    same = "SELECT count(*) FROM t JOIN again USING (id) WHERE t.v IS NOT DISTINCT FROM again.v"
    assert pond.sql(same) == [(len(TYPES[declared]) + 1,)]


def test_what_has_no_room_is_refused_and_nothing_is_rounded(pond: Pond) -> None:
    pond.sql("CREATE TABLE t (a UTINYINT, d DECIMAL(4,1), m HUGEINT, j JSON, n INTEGER[])")
    counts = pond.load("a,d,m,j,n\n1,1.5,7,{},[1]\n256,,,,\n-1,,,,\n,1.25,,,\n,,x,,\n,,,{,\n,,,,[x]\n")
    assert (counts.inserted, counts.rejected) == (1, 6)
    assert pond.rejects() == [
        (3, "OUT_OF_RANGE", "a", "256"),
        (4, "OUT_OF_RANGE", "a", "-1"),
        (5, "OUT_OF_RANGE", "d", "1.25"),
        (6, "INVALID_VALUE", "m", "x"),
        (7, "INVALID_VALUE", "j", "{"),
        (8, "INVALID_VALUE", "n", "[x]"),
    ]


def test_bytes_are_written_in_hexadecimal_digits(pond: Pond) -> None:
    pond.sql("CREATE TABLE t (v BLOB)", "INSERT INTO t VALUES ('\\x00\\xFFa'), ('')")
    assert pond.export() == "v\n\\x00ff61\n\\x\n"
