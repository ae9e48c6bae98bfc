"""Rows as text: the typed and the careful way agree, and memory is bounded."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ladingd.core.errors import InvalidSpec, SourceUnreadable
from ladingd.core.report import Report, heard_by
from ladingd.data.databases.row_source import FIRST_KEY, LAST_KEY
from ladingd.data.databases.sqlite import table_rows
from ladingd.data.databases.sqlite.session import connected
from ladingd.data.databases.sqlite.table_rows import Rows, read_text
from ladingd.data.databases.sqlite.text_columns import text_columns
from ladingd.data.formats.csv.dialect import Dialect
from ladingd.data.formats.csv.writer import CsvWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from tests.unit.data.conftest import Yard

TYPES = (
    "INTEGER", "REAL", "TEXT", "NUMERIC", "DECIMAL(9,2)", "DECIMAL(12,8)", "BOOLEAN", "DATE", "TIMESTAMP", "BLOB", "",
    "VARCHAR(5)", "DOUBLE", "UUID",
)  # fmt: skip
texts = st.text(alphabet="ab é\"',;\n\r0☃\ufeff", max_size=6)
numbers = st.one_of(
    st.sampled_from(
        [0, 1, -1, 7, 10**15, 10**15 - 1, 2**53, 2**53 + 1, -(2**53), 2**63 - 1, -(2**63), 123456789012345]
    ),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(10**6), 10**6),
)
reals = st.one_of(
    st.floats(allow_nan=False, width=64),
    st.sampled_from([0.0, -0.0, 0.1, 1e-8, -1e-8, 0.00000012, 1e15, 1e16, 2.5, 1e300, float("inf")]),
    st.integers(-(10**7), 10**7).map(lambda number: number / 100),
)


def literal(value: int | float | str | bytes | None) -> str:
    match value:
        case None:
            return "NULL"
        case bytes():
            return f"x'{value.hex()}'"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case float() if value in (float("inf"), float("-inf")):
            return "9e999" if value > 0 else "-9e999"
        case _:
            return repr(value)


HOME = {
    "INTEGER": numbers, "REAL": reals, "TEXT": texts, "NUMERIC": st.one_of(numbers, reals),
    "DECIMAL(9,2)": st.integers(-(10**9), 10**9).map(lambda number: number / 100),
    "DECIMAL(12,8)": st.integers(-(10**12), 10**12).map(lambda number: number / 10**8),
    "BOOLEAN": st.sampled_from([0, 1]), "DATE": st.dates().map(str), "TIMESTAMP": st.datetimes().map(str),
    "BLOB": st.binary(max_size=4), "DOUBLE": reals,
}  # fmt: skip
anything = st.one_of(st.none(), numbers, reals, texts, st.binary(max_size=4))


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[object]]]:
    """Columns, and rows with few or no values of other types."""
    declared = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=5))
    strange = draw(st.sampled_from([0, 1, 10]))
    records = []
    for _ in range(draw(st.integers(0, 12))):
        own = [st.one_of(st.none(), HOME.get(word, texts)) for word in declared]
        records.append([draw(anything if draw(st.integers(0, 30)) < strange else home) for home in own])
    return declared, records


def as_csv(batches: Iterator[list[pa.Array]], delimiter: str) -> bytes:
    writer = CsvWriter(dialect=Dialect(delimiter=delimiter, quote='"'))
    return b"".join(bytes(piece) for batch in batches for piece in writer.records(batch))


@given(tables(), st.sampled_from([",", ";", ".", "5", "☃"]), st.sampled_from([1, 300, 1 << 25]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_ways_give_the_same_text(
    make_yard: Callable[[Path], Yard], table: tuple[list[str], list[list[object]]], delimiter: str, size: int
) -> None:
    declared, records = table
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        yard = make_yard(Path(directory))
        patch.setattr(table_rows, "_BATCH_BYTES", size)
        columns = ", ".join(f"c{number} {word}" for number, word in enumerate(declared))
        with connected(yard.database, create=True) as database:
            database.run(f"CREATE TABLE t ({columns})")
            for record in records:
                database.run(f"INSERT INTO t VALUES ({', '.join(literal(value) for value in record)})")  # type: ignore[arg-type]
            database.commit()
            shape = database.shape("t")
            assert shape is not None
            rows = Rows(table="t", key="rowid", first=FIRST_KEY, last=LAST_KEY)
            own = list(text_columns(shape).values())
            usual = as_csv(read_text(database, rows, own), delimiter)
            assert usual == as_csv(table_rows._read_careful(database, rows, own, 0), delimiter)
            assert (usual == b"") == (not records)


@pytest.mark.parametrize("odd", ["2.5", "'x'", "x'00'", "NULL"])
def test_the_careful_way_goes_on_where_the_typed_one_ended(
    yard: Yard, odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_rows, "_BATCH_ROWS", 8)
    yard.sql("CREATE TABLE t (a INTEGER, b BOOLEAN)")
    yard.sql("WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) INSERT INTO t SELECT i, i % 2 FROM n")
    yard.sql(f"UPDATE t SET a = {odd} WHERE a = 30")
    yard.sql("UPDATE t SET b = 9 WHERE a = 41")
    yard.run(yard.plan_export())
    shown = {"x'00'": "\\x00", "NULL": ""}.get(odd, odd.strip("'"))
    lines = (yard.directory / "out.csv").read_text().splitlines()[1:]
    expected = [(i if i != 30 else shown, "9" if i == 41 else "true" if i % 2 else "false") for i in range(1, 51)]
    assert lines == [f"{a},{b}" for a, b in expected]


def test_small_decimals_have_no_exponent(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a DECIMAL(12,8), b DECIMAL(15,15), c NUMERIC)")
    yard.sql("INSERT INTO t VALUES (0.00000001, 0, 0.5), (-0.00000012, -1e-15, 3), (0, 0.1, NULL), (-12.5, NULL, 7)")
    yard.run(yard.plan_export())
    assert (yard.directory / "out.csv").read_text().splitlines() == [
        "a,b,c",
        "0.00000001,0.000000000000000,0.5",
        "-0.00000012,-0.000000000000001,3",
        "0.00000000,0.100000000000000,",
        "-12.50000000,,7",
    ]


def test_decimals_that_their_column_has_no_room_for(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a DECIMAL(18,6), b DECIMAL(9,2))")
    yard.sql("INSERT INTO t VALUES (10000000000, 0.0000001), (12345678901.5, 1e22), (9007199254740993, NULL)")
    yard.run(yard.plan_export())
    assert (yard.directory / "out.csv").read_text().splitlines()[1:] == [
        "10000000000,0.0000001",
        "12345678901.5,10000000000000000000000",
        "9007199254740993,",
    ]


@pytest.mark.parametrize("kind", ["TEXT", "INTEGER", "BLOB"])
def test_batches_are_bounded_by_bytes(yard: Yard, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_rows, "_BATCH_BYTES", 100_000)
    yard.sql(f"CREATE TABLE t (a {kind}, b TEXT)")
    yard.sql(
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) "
        "INSERT INTO t SELECT iif(i % 5, 'short', 'x' || hex(zeroblob(10000))), i FROM n"
    )
    count, sizes = 0, []
    with connected(yard.database, read_only=True) as database:
        shape = database.shape("t")
        assert shape is not None
        rows = Rows(table="t", key="rowid", first=FIRST_KEY, last=LAST_KEY)
        with closing(read_text(database, rows, list(text_columns(shape).values()))) as batches:
            for batch in batches:
                sizes.append(sum(values.nbytes for values in batch))
                count += len(batch[0])
    assert count == 200
    assert max(sizes) < 250_000
    assert len(sizes) > 5


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT) WITHOUT ROWID",
        "CREATE VIEW t AS WITH n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n WHERE a < 40000) SELECT a, 'b' b FROM n",
    ],
)
def test_a_table_without_a_rowid_says_how_far_it_is(yard: Yard, schema: str) -> None:
    yard.sql(schema)
    if "TABLE" in schema:
        yard.sql(
            "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000) INSERT INTO t SELECT i, 'b' FROM n"
        )
    heard: list[Report] = []
    with heard_by(heard.append):
        counts = yard.run(yard.plan_export())
    assert counts.read == 40_000
    assert len(heard) > 1
    assert heard[-1] == Report(share=1.0, records=40_000)
    assert [each.share for each in heard] == sorted(each.records / 40_000 for each in heard)


def test_a_row_that_is_too_long_is_refused(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_rows, "ROW_LIMIT", 50_000)
    yard.sql("CREATE TABLE t (a TEXT, b TEXT)")
    yard.sql("INSERT INTO t VALUES (hex(zeroblob(20000)), hex(zeroblob(5001)))")
    with pytest.raises(SourceUnreadable, match="50,002 bytes of text; at most 50,000"):
        yard.run(yard.plan_export())


@pytest.mark.parametrize("value", ["1", "'x'"])
def test_wide_tables(yard: Yard, value: str) -> None:
    names = [f"c{number}" for number in range(1500)]
    yard.sql(f"CREATE TABLE t ({', '.join(f'{name} INTEGER' for name in names)})")
    yard.sql("INSERT INTO t (c0, c1499) VALUES (1, 2), (3, 4)")
    yard.sql(f"UPDATE t SET c1400 = {value} WHERE c0 = 3")
    yard.run(yard.plan_export())
    lines = (yard.directory / "out.csv").read_text().splitlines()
    assert lines[0] == ",".join(names)
    fields = [line.split(",") for line in lines[1:]]
    assert [(row[0], row[1400], row[1499]) for row in fields] == [("1", "", "2"), ("3", value.strip("'"), "4")]
    yard.sql("CREATE VIEW v AS SELECT * FROM t")
    with pytest.raises(InvalidSpec, match="at most 1,000 columns"):
        yard.plan_export("v", "v.csv")


def test_what_a_view_gives_need_not_be_what_it_declares(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a TEXT)")
    yard.sql("CREATE VIEW v AS SELECT a FROM t UNION ALL SELECT 0.1 + 0.2 UNION ALL SELECT 12345678901234567890.0")
    yard.sql("INSERT INTO t VALUES ('x')")
    yard.run(yard.plan_export("v"))
    assert (yard.directory / "out.csv").read_text() == "a\nx\n0.30000000000000004\n1.2345678901234567e+19\n"
