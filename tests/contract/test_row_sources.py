"""The contract of row sources, tested with every registered kind of database."""

from __future__ import annotations

import errno
import io
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pytest

from ladingd.core.errors import InvalidSpec, SourceChanged, SourceUnreadable
from ladingd.core.plan import Chunk, ExportPlan
from ladingd.core.spec import File, Table
from ladingd.data.databases import row_source
from ladingd.data.databases.registry import providers, source_of
from ladingd.data.databases.row_source import LAST_KEY, MomentLost, RowSource
from ladingd.data.exports.rows import write_rows
from ladingd.data.formats.csv.dialect import Dialect
from ladingd.data.formats.csv.writer import CsvWriter
from tests.contract.databases import DATABASES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ladingd.data.databases.row_source import SourceTable
    from ladingd.data.storage.work_dir import WorkDir
    from tests.contract.databases import TestDatabase


@dataclass(frozen=True, kw_only=True)
class Reader:
    """An export that uses only the port."""

    source: RowSource

    def inspect(self, table: str = "t", schema: str = "") -> SourceTable:
        return self.source.inspect(Table(connection="harbour", schema=schema, table=table))

    def plan(self, table: str = "t", *, chunk_keys: int = 100_000, dialect: Dialect | None = None) -> ExportPlan:
        found = self.inspect(table)
        return ExportPlan(
            source=Table(connection="harbour", table=found.name),
            columns=found.columns,
            key=found.key,
            file=File(path="out.csv"),
            layout=(dialect or Dialect(delimiter=",", quote='"')).layout(),
            overwrite=False,
            start=found.start,
            end=found.end,
            chunk_keys=chunk_keys,
            identity=found.identity,
        )

    def chunks(self, plan: ExportPlan, limit: int = 3) -> list[Chunk]:
        """All chunks of a plan, requested in portions."""
        chunks: list[Chunk] = []
        while not chunks or chunks[-1].end < LAST_KEY:
            previous = chunks[-1] if chunks else None
            ends = self.source.ends(plan, previous, limit)
            assert 0 < len(ends) <= limit
            for end in ends:
                start = chunks[-1].end if chunks else row_source.FIRST_KEY
                chunks.append(Chunk(ordinal=len(chunks), start=start, end=end))
        return chunks

    def text(self, plan: ExportPlan, chunk: Chunk) -> tuple[int, str]:
        """The number of rows in a chunk and their text. Checks that both ways to read give the same text."""
        written, made = io.BytesIO(), io.BytesIO()
        count = write_rows(self.source, plan, chunk, written)
        writer = CsvWriter(dialect=Dialect.of(plan.layout))
        for batch in self.source.read(plan, chunk):
            assert batch.schema.names == [column.source for column in plan.columns]
            made.writelines(writer.records(batch.columns))
        assert made.getvalue() == written.getvalue()
        return count, written.getvalue().decode()

    def all(self, plan: ExportPlan) -> tuple[list[int], str]:
        """The number of rows in each chunk, and the text of all."""
        parts = [self.text(plan, chunk) for chunk in self.chunks(plan)]
        return [count for count, _ in parts], "".join(text for _, text in parts)


@pytest.fixture
def reader(database: TestDatabase, work_dir: WorkDir) -> Reader:
    return Reader(source=source_of(database.connection, work_dir))


def values(rows: Sequence[int]) -> str:
    return ", ".join(f"({row})" for row in rows)


def test_every_provider_is_in_the_suites() -> None:
    assert {provider.name for provider in providers()} == set(DATABASES)


KEYS = {
    "dense": list(range(1, 1001)),
    "outlier": [*range(1, 1000), 2**63 - 1],
    "negative": list(range(-(2**63), -(2**63) + 1000 * 2**50, 2**50)),
    "snowflakes": list(range(7 << 40, (7 << 40) + 1000 * 4096 * 7, 4096 * 7)),
    "random": sorted(map(random.Random(3).randrange, [-(2**63)] * 1000, [2**63] * 1000)),
    "both ends": [-(2**63), *range(998), 2**63 - 1],
}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS.keys())
def test_ranges_hold_every_row_once_and_about_equally_many(
    database: TestDatabase, reader: Reader, keys: list[int]
) -> None:
    database.sql(f"CREATE TABLE t (id {database.key})", f"INSERT INTO t VALUES {values(keys)}")
    plan = reader.plan(chunk_keys=100)
    chunks = reader.chunks(plan)
    assert chunks == reader.chunks(plan, limit=1_000), "the same ranges, however many are asked for at once"
    assert [chunk.end for chunk in chunks] == sorted({chunk.end for chunk in chunks})
    counts, text = reader.all(plan)
    assert [int(line) for line in text.splitlines()] == keys
    assert sum(counts) == len(keys)
    assert max(counts) <= 200


def test_a_table_without_a_key_loses_no_row(database: TestDatabase, reader: Reader) -> None:
    database.sql("CREATE TABLE t (a BIGINT, b VARCHAR(9))")
    database.sql(f"INSERT INTO t (a) VALUES {values([number // 3 for number in range(300)])}")
    counts, text = reader.all(reader.plan(chunk_keys=50))
    assert sum(counts) == 300
    assert sorted(int(line.rstrip(",")) for line in text.splitlines()) == [number // 3 for number in range(300)]


@pytest.mark.parametrize("keyed", [True, False])
def test_a_table_without_rows_has_no_text(database: TestDatabase, reader: Reader, keyed: bool) -> None:
    database.sql(f"CREATE TABLE t (a {database.key if keyed else 'BIGINT'})")
    counts, text = reader.all(reader.plan())
    assert (sum(counts), text) == (0, "")


def test_rows_written_after_planning_are_exported(database: TestDatabase, reader: Reader) -> None:
    database.sql(f"CREATE TABLE t (id {database.key})")
    empty = reader.plan()
    database.sql("INSERT INTO t VALUES (5), (6), (7)")
    plan = reader.plan(chunk_keys=1)
    database.sql("INSERT INTO t VALUES (-9223372036854775808), (3), (8), (9223372036854775807)")
    everything = "-9223372036854775808\n3\n5\n6\n7\n8\n9223372036854775807\n"
    assert reader.all(empty)[1] == reader.all(plan)[1] == everything


def test_chunks_grow_so_that_there_are_never_too_many(
    database: TestDatabase, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.sql(f"CREATE TABLE t (id {database.key})", f"INSERT INTO t VALUES {values(range(1, 41))}")
    plan = reader.plan(chunk_keys=1)
    monkeypatch.setattr(row_source, "DOUBLING", 2)
    monkeypatch.setattr(row_source, "MOST_CHUNKS", 4)
    chunks = reader.chunks(plan)
    assert len(chunks) <= 4
    assert sum(reader.text(plan, chunk)[0] for chunk in chunks) == 40


def test_the_text_of_null_of_nothing_and_of_what_needs_quotes(database: TestDatabase, reader: Reader) -> None:
    database.sql(
        f"CREATE TABLE t (id {database.key}, v VARCHAR(40), w VARCHAR(40))",
        """INSERT INTO t VALUES (1, NULL, ''), (2, 'a,b', 'a;b'), (3, 'say "x"', 'it''s'), (4, ' pad ', 'null'),
        (5, 'two
lines', '\\x'), (6, 'é☃𝄞', '\\N')""",
    )
    assert reader.all(reader.plan())[1] == (
        '1,,""\n2,"a,b",a;b\n3,"say ""x""",it\'s\n4, pad ,null\n5,"two\nlines",\\x\n6,é☃𝄞,\\N\n'
    )
    dialect = Dialect(delimiter=";", quote="'")
    assert reader.all(reader.plan(dialect=dialect))[1] == (
        "1;;''\n2;a,b;'a;b'\n3;say \"x\";'it''s'\n4; pad ;null\n5;'two\nlines';\\x\n6;é☃𝄞;\\N\n"
    )


def test_a_lone_null_is_still_a_record(database: TestDatabase, reader: Reader) -> None:
    database.sql("CREATE TABLE t (v VARCHAR(9))", "INSERT INTO t VALUES (NULL), (''), ('x'), (NULL)")
    counts, text = reader.all(reader.plan())
    assert (sum(counts), sorted(text.splitlines())) == (4, ['""', '""', '""', "x"])


def test_numbers_have_their_shortest_text_and_booleans_their_words(database: TestDatabase, reader: Reader) -> None:
    database.sql(
        f"CREATE TABLE t (id {database.key}, i SMALLINT, d DECIMAL(9,2), r DOUBLE PRECISION, b BOOLEAN)",
        "INSERT INTO t VALUES (1, -32768, 2, 0.1, true), (2, 32767, -0.05, 1e300, false), (3, 0, 1234567.25, 3, NULL)",
    )
    lines = reader.all(reader.plan())[1].splitlines()
    assert [line.split(",")[1:3] for line in lines] == [["-32768", "2.00"], ["32767", "-0.05"], ["0", "1234567.25"]]
    assert [float(line.split(",")[3]) for line in lines] == [0.1, 1e300, 3.0]
    assert [line.split(",")[4] for line in lines] == ["true", "false", ""]


def test_columns_come_in_the_order_of_the_plan(database: TestDatabase, reader: Reader) -> None:
    database.sql(f"CREATE TABLE t (id {database.key}, v VARCHAR(9))", "INSERT INTO t VALUES (1, 'x')")
    plan = reader.plan()
    assert [column.source for column in plan.columns] == ["id", "v"]
    assert reader.all(replace(plan, columns=plan.columns[::-1]))[1] == "x,1\n"
    assert reader.all(replace(plan, columns=plan.columns[1:]))[1] == "x\n"


def test_names_are_taken_as_they_are(database: TestDatabase, reader: Reader) -> None:
    table, column = 'it\'s "my" %s; Tâble', 'a "b" {c} %(d)s'
    quoted = ['"' + name.replace('"', '""') + '"' for name in (table, column)]
    database.sql(f"CREATE TABLE {quoted[0]} ({quoted[1]} VARCHAR(9))", f"INSERT INTO {quoted[0]} VALUES ('x')")
    plan = reader.plan(table)
    assert [found.source for found in plan.columns] == [column]
    assert reader.all(plan)[1] == "x\n"


def test_a_table_that_is_not_there_is_an_invalid_spec(database: TestDatabase, reader: Reader) -> None:
    database.sql("CREATE TABLE other (a BIGINT)")
    for table, schema in (("t", ""), ("", ""), ("t\0", ""), ("t", "elsewhere")):
        with pytest.raises(InvalidSpec) as refused:
            reader.inspect(table, schema)
        assert refused.value.field.startswith("source.")


def exported(number: int) -> Callable[[], int]:
    return lambda: number


def unasked() -> int:
    pytest.fail("the table has not changed")


@pytest.fixture
def plan(database: TestDatabase, reader: Reader) -> ExportPlan:
    """An export of a table with 20 rows."""
    database.sql(f"CREATE TABLE t (id {database.key})", f"INSERT INTO t VALUES {values(range(20))}")
    return reader.plan(chunk_keys=5)


def test_a_table_that_only_gets_rows_is_the_planned_one(
    database: TestDatabase, reader: Reader, plan: ExportPlan
) -> None:
    database.sql("INSERT INTO t VALUES (100)", "DELETE FROM t WHERE id < 3")
    reader.source.verify(plan, unasked)


CHANGES = {
    "recreated": ["DROP TABLE t", "CREATE TABLE other (a BIGINT)", "CREATE TABLE t (id {key})"],
    "swapped": ["CREATE TABLE u (id {key})", "ALTER TABLE t RENAME TO old", "ALTER TABLE u RENAME TO t"],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("way", ["verify", "read", "write"])
def test_another_table_of_the_name_is_not_read(
    database: TestDatabase, reader: Reader, plan: ExportPlan, change: list[str], way: str
) -> None:
    chunks = reader.chunks(plan)
    database.sql(*(statement.format(key=database.key) for statement in change))
    file = io.BytesIO()
    ways: dict[str, Callable[[], object]] = {
        "verify": lambda: reader.source.verify(plan, exported(5)),
        "read": lambda: list(reader.source.read(plan, chunks[1])),
        "write": lambda: write_rows(reader.source, plan, chunks[1], file),
    }
    with pytest.raises(SourceChanged, match="another table"):
        ways[way]()
    assert file.getvalue() == b""


def test_a_table_that_was_dropped_is_told_of(database: TestDatabase, reader: Reader, plan: ExportPlan) -> None:
    chunks = reader.chunks(plan)
    database.sql("DROP TABLE t")
    with pytest.raises(SourceChanged, match="dropped or renamed"):
        reader.source.verify(plan, exported(5))
    with pytest.raises((SourceUnreadable, SourceChanged), match="table t"):
        reader.text(plan, chunks[1])


def test_a_column_that_is_gone_makes_a_table_unreadable(
    database: TestDatabase, reader: Reader, work_dir: WorkDir
) -> None:
    database.sql(f"CREATE TABLE t (id {database.key}, v VARCHAR(9))", "INSERT INTO t VALUES (1, 'x')")
    plan = reader.plan()
    (chunk,) = reader.chunks(plan)
    database.sql("ALTER TABLE t DROP COLUMN v")
    with pytest.raises((SourceUnreadable, SourceChanged), match="v"):
        reader.text(plan, chunk)


class FullDisk:
    """A file on a full disk."""

    def write(self, _: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def writelines(self, _: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_an_error_of_the_file_is_raised_as_it_is(reader: Reader, plan: ExportPlan) -> None:
    chunks = reader.chunks(plan)
    with pytest.raises(OSError, match="No space left"):
        write_rows(reader.source, plan, chunks[0], cast("BinaryIO", FullDisk()))
    assert sum(reader.text(plan, chunk)[0] for chunk in chunks) == 20


def test_ending_the_sessions_of_a_job_that_has_none_does_nothing(reader: Reader, plan: ExportPlan) -> None:
    reader.source.end_sessions("6f9619ff-8b86-4d01-b42d-00cf4fc964ff", 2)
    assert sum(reader.all(plan)[0]) == 20


def test_an_export_changes_nothing(database: TestDatabase, reader: Reader, plan: ExportPlan) -> None:
    reader.all(plan)
    reader.source.verify(plan, unasked)
    assert database.sql("SELECT count(*) FROM t") == [(20,)]
    with pytest.raises(InvalidSpec):
        reader.inspect("lading_ledger")


def test_reads_at_a_moment_see_it_or_say_that_it_is_lost(
    database: TestDatabase, reader: Reader, plan: ExportPlan
) -> None:
    moment = reader.source.hold_moment(plan)
    if moment is None:
        assert not reader.source.keeps_moments
        return
    chunk = Chunk(ordinal=0, start=row_source.FIRST_KEY, end=LAST_KEY)
    before = reader.text(plan, chunk)
    then = replace(reader, source=reader.source.at(moment))
    assert then.text(plan, chunk) == before
    again = reader.source.hold_moment(plan)
    assert again is not None
    assert again.name == moment.name, "nothing was written in between"
    database.sql("INSERT INTO t VALUES (1000)")
    assert reader.text(plan, chunk) != before
    if reader.source.keeps_moments:
        then = replace(reader, source=reader.source.at(again))
        assert then.text(plan, chunk) == before
    else:
        with pytest.raises(MomentLost):
            then.text(plan, chunk)
    later = reader.source.hold_moment(plan)
    assert later is not None
    assert later.name != moment.name
