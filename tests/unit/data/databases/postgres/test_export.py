"""Exports from PostgreSQL: the same format as other databases, every row once, clear errors."""

from __future__ import annotations

import pickle
import tempfile
import traceback
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ladingd.core.bill import Counts
from ladingd.core.errors import InvalidSpec, SourceChanged, SourceUnreadable, TargetUnavailable
from ladingd.core.plan import Chunk, ExportPlan
from ladingd.core.report import Report, heard_by
from ladingd.core.spec import CsvFormat, ExportSpec, File, FixedWidthFormat, Header, ImportSpec, Table
from ladingd.data.databases import row_source as table_source
from ladingd.data.databases.connection import Connection
from ladingd.data.databases.postgres.row_source import PostgresSource
from ladingd.data.databases.postgres.session import Address, connected
from ladingd.data.databases.row_source import FIRST_KEY, LAST_KEY
from ladingd.data.formats.csv.dialect import Dialect
from ladingd.data.formats.csv.writer import CsvWriter
from ladingd.data.storage.work_dir import WorkDir
from ladingd.data.transfer import BulkTransfer
from tests.unit.data.databases.postgres.conftest import Quay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CLOSED = [
    "CREATE VIEW t AS SELECT 1 AS a, pg_terminate_backend(pg_backend_pid()) AS b",
    """CREATE VIEW t AS SELECT i AS a, CASE i WHEN 90000 THEN pg_terminate_backend(pg_backend_pid()) END AS b
    FROM generate_series(1, 100000) i""",
]


numbers = count(1)
"""Numbers of jobs, because uids are never reused."""


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """Whole jobs between a database and a folder."""

    quay: Quay
    folder: Path
    transfer: BulkTransfer

    def plan(self, table: str = "t", path: str = "out.csv", schema: str = "", **spec: object) -> ExportPlan:
        source = Table(connection="quay", schema=schema, table=table)
        plan = self.transfer.plan(ExportSpec(source=source, file=File(path=path), **spec))  # type: ignore[arg-type]
        assert isinstance(plan, ExportPlan)
        return plan

    def chunks(self, plan: ExportPlan) -> list[Chunk]:
        chunks: list[Chunk] = []
        while more := self.transfer.cut("job", plan, chunks[-1] if chunks else None, 3):
            chunks += more
        return chunks

    def run(self, plan: ExportPlan) -> bytes:
        """Run the whole job. Returns the file's content."""
        job = f"job-{next(numbers)}"
        self.transfer.begin(job, 1, plan)
        chunks = self.chunks(plan)
        counts = sum((self.transfer.process(job, 1, plan, chunk) for chunk in chunks), Counts())
        self.transfer.finish(job, plan, chunks)
        self.transfer.discard(job, plan)
        assert counts.read == counts.inserted
        return (self.folder / plan.file.path).read_bytes()

    def export(self, table: str = "t", **spec: object) -> bytes:
        return self.run(self.plan(table, "out.csv", "", overwrite=True, **spec))

    def load(self, path: str, table: str, csv: CsvFormat) -> Counts:
        """Import a file into a table."""
        target = Table(connection="quay", table=table)
        plan = self.transfer.plan(ImportSpec(files=(File(path=path),), target=target, csv=csv))
        self.transfer.begin("load", 1, plan)
        counts, previous = Counts(), None
        while more := self.transfer.cut("job", plan, previous, 3):
            counts = sum((self.transfer.process("load", 1, plan, chunk) for chunk in more), counts)
            previous = more[-1]
        self.transfer.finish("load", plan, [])
        self.transfer.discard("load", plan)
        return counts


@pytest.fixture
def make_ramp(quay: Quay) -> Callable[[Path], Ramp]:
    """Make a ramp with a folder."""

    def make(folder: Path) -> Ramp:
        connections = {"quay": Connection(name="quay", url=quay.url)}
        transfer = BulkTransfer(
            connections=connections, roots={"local": folder}, work_dir=WorkDir(directory=folder / "work")
        )
        return Ramp(quay=quay, folder=folder, transfer=transfer)

    return make


@pytest.fixture
def ramp(make_ramp: Callable[[Path], Ramp], tmp_path: Path) -> Ramp:
    """A ramp for this test."""
    return make_ramp(tmp_path)


TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'so, so', 'ok');
CREATE DOMAIN flag AS boolean;
CREATE DOMAIN short AS varchar(5) CHECK (value <> 'never');
CREATE TABLE t (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, i2 smallint, i8 bigint, n numeric, n2 numeric(12,4), r real,
    d double precision, s text, v varchar(9), c char(4), b boolean, fb flag, ds short, day date, clock time,
    ts timestamp, tz timestamptz, span interval, u uuid, j json, jb jsonb, bin bytea, m mood, ints int[], texts text[],
    flags boolean[], gen int GENERATED ALWAYS AS (i2 * 2) STORED
)
"""
FULL = """
INSERT INTO t (i2, i8, n, n2, r, d, s, v, c, b, fb, ds, day, clock, ts, tz, span, u, j, jb, bin, m, ints, texts, flags)
VALUES (-7, 9223372036854775807, 0.1000, 1.5, 1.5e-30, 0.1::float8 + 0.2, E'a"b,\\n\\\\.', '', 'x', true, false, 'ab',
    '2024-02-29', '23:59:59.5', '2024-02-29 12:00:00.000001', '2024-02-29 12:00:00+02', '1 mon -3 days 04:05:06.7',
    'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{"a" :1}', '{"a":1}', '\\x00ff22', 'so, so', '{1,NULL,3}',
    '{"a,b",NULL,"q\\"","",null,"NULL"}', '{t,f,NULL}')
"""
LINES = (
    "id,i2,i8,n,n2,r,d,s,v,c,b,fb,ds,day,clock,ts,tz,span,u,j,jb,bin,m,ints,texts,flags,gen\n"
    '1,-7,9223372036854775807,0.1000,1.5000,1.5e-30,0.30000000000000004,"a""b,\n\\.","",x   ,true,false,ab,2024-02-29,'
    "23:59:59.5,2024-02-29 12:00:00.000001,2024-02-29 10:00:00+00,1 mon -3 days +04:05:06.7,"
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,"{""a"" :1}","{""a"": 1}",\\x00ff22,"so, so","{1,NULL,3}",'
    '"{""a,b"",NULL,""q\\"""","""",NULL,""NULL""}","{t,f,NULL}",-14\n'
    f"2{',' * 26}\n"
)


ODD_SETTINGS = (
    "DateStyle = 'SQL, DMY'",
    "TimeZone = 'Asia/Kathmandu'",
    "IntervalStyle = 'iso_8601'",
    "bytea_output = 'escape'",
    "extra_float_digits = -3",
    "client_encoding = 'LATIN1'",
)


@pytest.mark.parametrize("odd", [False, True])
def test_every_type_has_its_text_and_comes_back(ramp: Ramp, odd: bool) -> None:
    """Independent of the role's settings."""
    quay = ramp.quay
    quay.sql(TYPES)
    quay.sql(FULL)
    quay.sql("INSERT INTO t DEFAULT VALUES")
    for setting in ODD_SETTINGS if odd else ():
        quay.sql(f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET ', current_database()) || $s${setting}$s$; END $$")
    assert ramp.export().decode() == LINES
    quay.sql("CREATE TABLE back (LIKE t)")
    assert ramp.load("out.csv", "back", CsvFormat()) == Counts(read=2, inserted=2)
    same = "SELECT count(*) FROM t JOIN back ON t::text = back::text"
    assert quay.sql(same) == [(2,)]


texts = st.text(alphabet="ab é\"',;\n\r\t|\\.0☃", max_size=6)


@given(
    st.lists(st.tuples(st.none() | texts, st.none() | texts), max_size=9),
    st.sampled_from([",", ";", "\t", "|", " ", "a", "\\", "."]),
    st.sampled_from(['"', "'", "|"]),
    st.integers(1, 4),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_server_writes_what_our_own_writer_would(
    make_ramp: Callable[[Path], Ramp], rows: list[tuple[str | None, str | None]], delimiter: str, quote: str, size: int
) -> None:
    if delimiter == quote:
        quote = '"'
    with tempfile.TemporaryDirectory() as folder:
        ramp = make_ramp(Path(folder))
        with psycopg.connect(ramp.quay.url, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS t, back")
            connection.execute("CREATE TABLE t (a text, b text, id int PRIMARY KEY)")
            connection.execute("CREATE TABLE back (LIKE t)")
            connection.cursor().executemany(
                "INSERT INTO t VALUES (%s, %s, %s)", [(*row, number) for number, row in enumerate(rows)]
            )
        layout = CsvFormat(delimiter=delimiter, quote=quote, header=Header.PRESENT)
        file = ramp.export(csv=layout, chunk_keys=size)
        writer = CsvWriter(dialect=Dialect(delimiter=delimiter, quote=quote), names=("a", "b", "id"))
        columns = [pa.array([row[0] for row in rows], pa.string()), pa.array([row[1] for row in rows], pa.string())]
        columns.append(pa.array([str(number) for number in range(len(rows))], pa.string()))
        expected = writer.header() + b"".join(bytes(part) for part in writer.records(columns))
        assert file == expected
        if rows:
            assert ramp.load("out.csv", "back", layout).inserted == len(rows)
            both = "SELECT array_agg((a, b, id) ORDER BY id)::text FROM "
            assert ramp.quay.sql(both + "back") == ramp.quay.sql(both + "t")


@pytest.mark.parametrize(
    ("declared", "values", "lines"),
    [
        ("int", "(1), (NULL), (3)", ["1", '""', "3"]),
        ("text", "('\\.'), (NULL), ('')", ['"\\."', '""', '""']),
        ("boolean", "(true), (NULL), (false)", ["true", '""', "false"]),
        ("char(3)", "('x'), (NULL), ('')", ["x  ", '""', "   "]),
    ],
)
def test_a_lone_null_is_still_a_record(ramp: Ramp, declared: str, values: str, lines: list[str]) -> None:
    ramp.quay.sql(f"CREATE TABLE t (a {declared})")
    ramp.quay.sql(f"INSERT INTO t VALUES {values}")
    plan = ramp.plan()
    assert any('a NULL is written as ""' in note for note in plan.notes)
    assert ramp.run(plan).decode().split("\n") == ["a", *lines, ""]


@pytest.mark.parametrize("header", [Header.PRESENT, Header.ABSENT])
def test_no_file_seems_to_have_a_byte_order_mark(ramp: Ramp, header: Header) -> None:
    ramp.quay.sql("CREATE TABLE t (a text, id int PRIMARY KEY)")
    ramp.quay.sql("CREATE TABLE back (LIKE t)")
    ramp.quay.sql(r"INSERT INTO t VALUES (E'\ufeffx', 1), (E'\ufeff', 2)")
    layout = CsvFormat(header=header)
    file = ramp.export(csv=layout, chunk_keys=1)
    assert file.startswith(b'a,id\n"' if header is Header.PRESENT else '"\ufeff'.encode())
    assert ramp.load("out.csv", "back", layout).inserted == 2
    assert ramp.quay.sql("SELECT a FROM back ORDER BY id") == [("\ufeffx",), ("\ufeff",)]


def test_very_long_values(ramp: Ramp) -> None:
    ramp.quay.sql("CREATE TABLE t (id int PRIMARY KEY, a text, b bytea)")
    ramp.quay.sql(
        "INSERT INTO t SELECT i, repeat(chr(64 + i) || chr(10), 8000000), decode(repeat('00ff', 1000000), 'hex') "
        "FROM generate_series(1, 3) i"
    )
    letters = [chr(64 + number) for number in (1, 2, 3)]
    tail = f'",{chr(92)}x{"00ff" * 1_000_000}{chr(10)}'
    assert ramp.export().decode() == "id,a,b\n" + "".join(
        f'{number},"' + f"{letter}\n" * 8_000_000 + tail for number, letter in enumerate(letters, 1)
    )


def test_chunks_have_equally_many_rows_however_sparse_the_keys_are(ramp: Ramp) -> None:
    ramp.quay.sql("CREATE TABLE t (id bigint PRIMARY KEY)")
    empty = ramp.plan(path="empty.csv")
    keys = [-(2**63), -5, 0, 1, 2, 10**6, 2**62, 2**63 - 2, 2**63 - 1]
    ramp.quay.sql(f"INSERT INTO t VALUES {', '.join(f'({key})' for key in keys)}")
    plan = ramp.plan(chunk_keys=2)
    assert [(chunk.ordinal, chunk.start, chunk.end) for chunk in ramp.chunks(plan)] == [
        (0, FIRST_KEY, 0),
        (1, 0, 2),
        (2, 2, 2**62),
        (3, 2**62, LAST_KEY),
    ]
    everything = "".join(f"{key}\n" for key in ["id", *keys]).encode()
    assert ramp.run(plan) == everything
    assert ramp.run(empty) == everything, "rows written after the plan go along"
    assert ramp.export(chunk_keys=2**62) == everything


def test_ranges_of_dense_keys_need_no_counting(ramp: Ramp) -> None:
    ramp.quay.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ramp.quay.sql("INSERT INTO t SELECT * FROM generate_series(100, 109) i WHERE i NOT IN (101, 103)")
    counted = [chunk.end for chunk in ramp.chunks(ramp.plan(chunk_keys=4))]
    ramp.quay.sql("ANALYZE t")
    plan = ramp.plan(chunk_keys=4)
    assert counted == [106, LAST_KEY]
    assert [chunk.end for chunk in ramp.chunks(plan)] == [104, 108, LAST_KEY]
    ramp.quay.sql("INSERT INTO t VALUES (-1), (101), (200)")
    assert ramp.run(plan) == b"id\n-1\n100\n101\n102\n104\n105\n106\n107\n108\n109\n200\n"


def test_chunks_grow_so_that_there_are_never_too_many(ramp: Ramp, monkeypatch: pytest.MonkeyPatch) -> None:
    ramp.quay.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ramp.quay.sql("INSERT INTO t SELECT * FROM generate_series(1, 40)")
    plan = ramp.plan(chunk_keys=1)
    monkeypatch.setattr(table_source, "DOUBLING", 2)
    assert [chunk.end for chunk in ramp.chunks(plan)] == [2, 3, 5, 7, 11, 15, 23, 31, LAST_KEY]
    monkeypatch.setattr(table_source, "MOST_CHUNKS", 4)
    assert [chunk.end for chunk in ramp.chunks(plan)] == [2, 3, 5, LAST_KEY]
    assert ramp.run(plan).count(b"\n") == 41


@pytest.mark.parametrize(
    ("statements", "key"),
    [
        ("CREATE TABLE t (id smallint PRIMARY KEY, b text)", "id"),
        ("CREATE TABLE t (id int NOT NULL UNIQUE, b bigint PRIMARY KEY)", "b"),
        ("CREATE TABLE t (b text PRIMARY KEY, id int UNIQUE NOT NULL)", "id"),
        (
            """CREATE TABLE t (id int PRIMARY KEY, b text) PARTITION BY RANGE (id);
            CREATE TABLE p PARTITION OF t FOR VALUES FROM (MINVALUE) TO (3); CREATE TABLE q PARTITION OF t DEFAULT""",
            "id",
        ),
        ("CREATE TABLE t (id int, b text) PARTITION BY RANGE (id); CREATE TABLE p PARTITION OF t DEFAULT", None),
        ("CREATE TABLE t (id int UNIQUE, b text)", None),
        ("CREATE TABLE t (id int NOT NULL, b text); CREATE UNIQUE INDEX ON t (id) WHERE id > 1", None),
        ("CREATE TABLE t (id int NOT NULL, b text); CREATE UNIQUE INDEX ON t ((id + 1))", None),
        ("CREATE TABLE t (id int NOT NULL, b int NOT NULL, UNIQUE (id, b))", None),
        ("CREATE TABLE t (id numeric PRIMARY KEY, b text)", None),
        ("CREATE TABLE t (id int PRIMARY KEY, b text); CREATE TABLE u () INHERITS (t)", None),
        ("CREATE TABLE u (id int PRIMARY KEY, b text); CREATE VIEW t AS SELECT * FROM u", None),
        ("CREATE MATERIALIZED VIEW t AS SELECT i AS id, '7' AS b FROM generate_series(1, 5) i", None),
    ],
)
def test_tables_of_every_kind(ramp: Ramp, statements: str, key: str | None) -> None:
    for statement in statements.split(";"):
        ramp.quay.sql(statement)
    if "MATERIALIZED" not in statements:
        ramp.quay.sql(
            f"INSERT INTO {'u' if 'VIEW' in statements else 't'} (id, b) SELECT i, 8 - i FROM generate_series(1, 5) i"
        )
    if "INHERITS" in statements:
        ramp.quay.sql("UPDATE t SET id = 9 WHERE id = 1")
        ramp.quay.sql("INSERT INTO u VALUES (1, '7')")
    plan = ramp.plan(chunk_keys=2)
    assert plan.key == key
    assert bool(plan.notes) == (key is None)
    assert len(ramp.chunks(plan)) == (1 if key is None else 3)
    assert len(ramp.run(plan).splitlines()) == 6 + ("INHERITS" in statements)


@pytest.mark.parametrize(
    "statements",
    [
        "CREATE TABLE t AS SELECT i AS a FROM generate_series(1, 20000) i; ANALYZE t",
        "CREATE VIEW t AS SELECT i AS a FROM generate_series(1, 20000) i",
    ],
)
def test_a_table_without_a_key_says_how_far_it_is(ramp: Ramp, statements: str) -> None:
    for statement in statements.split(";"):
        ramp.quay.sql(statement)
    heard: list[Report] = []
    with heard_by(heard.append):
        text = ramp.export()
    assert text.count(b"\n") == 20_001
    records = [each.records for each in heard]
    steps = [after - before for before, after in pairwise([0, *records])]
    assert 2 <= len(records) <= 4
    assert min(steps) >= 4096
    assert records[-1] <= 20_000
    assert heard[0].share == pytest.approx(records[0] / 20_000, rel=0.05)


def test_names_are_taken_as_they_are(ramp: Ramp) -> None:
    ramp.quay.sql('CREATE SCHEMA "My schema"')
    ramp.quay.sql('CREATE TABLE "My schema"."T%s" ("The ""Id""" int PRIMARY KEY, "a,b" boolean)')
    ramp.quay.sql('INSERT INTO "My schema"."T%s" VALUES (1, true), (2, NULL)')
    ramp.quay.sql("CREATE TABLE t (id int PRIMARY KEY)")
    expected = b'"The ""Id""","a,b"\n1,true\n2,\n'
    assert ramp.run(ramp.plan("T%s", schema="My schema", chunk_keys=1)) == expected
    for table, schema in (("T", ""), ("T%s", ""), ("t", "nowhere"), ("t\0", ""), ("", ""), ('"t"', "")):
        with pytest.raises(InvalidSpec, match="there is no table") as refusal:
            ramp.plan(table, "x.csv", schema=schema)
        assert refusal.value.field == "source.table"


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("CREATE SEQUENCE t", "t is a sequence"),
        ("CREATE TABLE t ()", "t has no columns"),
        ("CREATE MATERIALIZED VIEW t AS SELECT 1 AS a WITH NO DATA", "t cannot be read: .* has not been populated"),
    ],
)
def test_what_cannot_be_exported(ramp: Ramp, statement: str, problem: str) -> None:
    ramp.quay.sql(statement)
    with pytest.raises(InvalidSpec, match=problem) as refusal:
        ramp.plan(path="x.csv")
    assert refusal.value.field == "source.table"


def test_a_table_that_the_account_may_not_read(ramp: Ramp) -> None:
    role = "reader_" + ramp.quay.url.split("/quay_")[1].split("?")[0]
    ramp.quay.sql(f"CREATE ROLE {role} LOGIN")
    try:
        ramp.quay.sql("CREATE TABLE t (id int PRIMARY KEY)")
        ramp.quay.sql(f"GRANT SELECT ON t TO {role}")
        url = ramp.quay.url.replace("postgres:@", f"{role}:@")
        transfer = BulkTransfer(
            connections={"quay": Connection(name="quay", url=url)},
            roots=ramp.transfer.roots,
            work_dir=ramp.transfer.work_dir,
        )
        reader = Ramp(quay=ramp.quay, folder=ramp.folder, transfer=transfer)
        plan = reader.plan()
        ramp.quay.sql(f"REVOKE SELECT ON t FROM {role}")
        with pytest.raises(SourceUnreadable, match=r"table t cannot be read: connection quay: permission denied"):
            reader.run(plan)
        with pytest.raises(InvalidSpec, match="permission denied for table t"):
            reader.plan()
    finally:
        ramp.quay.sql(f"DROP OWNED BY {role}")
        ramp.quay.sql(f"DROP ROLE {role}")


def test_a_row_that_cannot_be_read_leaves_nothing_behind(ramp: Ramp) -> None:
    ramp.quay.sql("CREATE TABLE u (i int)")
    ramp.quay.sql("INSERT INTO u SELECT * FROM generate_series(0, 50000)")
    ramp.quay.sql("CREATE VIEW t AS SELECT i, 1 / (50000 - i) AS b FROM u")
    plan = ramp.plan()
    with pytest.raises(SourceUnreadable, match="SQLSTATE 22012"):
        ramp.run(plan)
    (parts,) = ramp.folder.glob("work/jobs/*/parts")
    assert list(parts.iterdir()) == []
    ramp.quay.sql("DELETE FROM u WHERE i = 50000")
    assert ramp.run(plan).count(b"\n") == 50_001


def test_an_export_changes_nothing(ramp: Ramp) -> None:
    ramp.quay.sql("CREATE SEQUENCE s")
    ramp.quay.sql("CREATE VIEW t AS SELECT nextval('s') AS a, 1 AS b")
    with pytest.raises(SourceUnreadable, match="read-only transaction"):
        ramp.run(ramp.plan())
    ramp.quay.sql("CREATE TABLE u (id int PRIMARY KEY)")
    ramp.export("u")
    assert ramp.quay.sql("SELECT nspname FROM pg_namespace WHERE nspname = 'lading'") == []


@pytest.mark.parametrize("view", CLOSED, ids=["at once", "half-way"])
def test_a_connection_that_is_lost_may_come_back(ramp: Ramp, view: str) -> None:
    ramp.quay.sql(view)
    plan = replace(ramp.plan(), identity="")  # The view is replaced by a table that does not break the connection.
    (chunk,) = ramp.chunks(plan)
    ramp.transfer.begin("job", 1, plan)
    with pytest.raises(TargetUnavailable, match=r"^table t cannot be read for now: connection quay: "):
        ramp.transfer.process("job", 1, plan, chunk)
    (parts,) = ramp.folder.glob("work/jobs/*/parts")
    assert list(parts.iterdir()) == []
    ramp.quay.sql("DROP VIEW t")
    ramp.quay.sql("CREATE TABLE t AS SELECT 1 AS a, true AS b")
    assert ramp.transfer.process("job", 1, plan, chunk).read == 1


def test_a_server_that_is_not_there(ramp: Ramp, monkeypatch: pytest.MonkeyPatch) -> None:
    """No message and no pickle contains the password."""
    ramp.quay.sql("CREATE TABLE t (id int PRIMARY KEY)")
    plan = ramp.plan()
    monkeypatch.setenv("QUAY_PASSWORD", "canary")
    gone = Connection(name="quay", url=f"postgresql://me@/db?host={ramp.folder}/nowhere", password_env="QUAY_PASSWORD")
    transfer = BulkTransfer(connections={"quay": gone}, roots=ramp.transfer.roots, work_dir=ramp.transfer.work_dir)
    ramp.transfer.begin("job", 1, plan)
    calls: list[Callable[[], object]] = [
        lambda: transfer.cut("job", plan, None, 3),
        lambda: transfer.process("job", 1, plan, Chunk(ordinal=0, start=FIRST_KEY, end=LAST_KEY)),
        lambda: transfer.plan(ExportSpec(source=plan.source, file=plan.file)),
    ]
    for call in calls:
        with pytest.raises(TargetUnavailable, match="connection quay: ") as loss:
            call()
        assert "canary" not in "".join(traceback.format_exception(loss.value))
    assert b"canary" not in pickle.dumps(transfer)
    assert "canary" not in repr(PostgresSource(address=Address(name="quay", url="u", password="canary")))


class Full(BytesIO):
    """A file on a disk that is full after the first records."""

    def write(self, data: object) -> int:
        if self.tell() > 1000:
            raise OSError(28, "No space left on device")
        return super().write(data)  # type: ignore[arg-type]

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)


def test_a_full_disk_does_not_cost_the_next_chunk(ramp: Ramp) -> None:
    ramp.quay.sql("CREATE TABLE t AS SELECT i AS id, repeat('x', 100) AS a FROM generate_series(1, 200000) i")
    plan = ramp.plan()
    source = PostgresSource(address=ramp.quay.target.address)
    (chunk,) = ramp.chunks(plan)
    with pytest.raises(OSError, match="No space left"):
        source.write_text(plan, chunk, Full())
    file = BytesIO()
    assert source.write_text(plan, chunk, file) == file.getvalue().count(b"\n") == 200_000


def test_a_reading_session_sees_one_state_and_writes_nothing(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int)")
    with connected(quay.target.address, read_only=True) as session:
        assert session.rows("SELECT count(*) FROM t") == [(0,)]
        quay.sql("INSERT INTO t VALUES (1)")
        assert session.rows("SELECT count(*) FROM t") == [(0,)]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            session.run("INSERT INTO t VALUES (2)")
    with connected(quay.target.address) as session:
        assert session.run("INSERT INTO t VALUES (3)") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY)", "another table"),
        (
            "CREATE TABLE u (LIKE t INCLUDING ALL); ALTER TABLE t RENAME TO old; ALTER TABLE u RENAME TO t",
            "another table",
        ),
        ("ALTER TABLE t RENAME TO old", "no table t any more"),
        ("TRUNCATE t", "rows were removed"),
    ],
)
@pytest.mark.parametrize("way", ["process", "begin", "finish"])
def test_an_export_is_of_one_table(ramp: Ramp, change: str, words: str, way: str) -> None:
    ramp.quay.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)")
    plan, job = ramp.plan(chunk_keys=20), f"job-{next(numbers)}"
    ramp.transfer.begin(job, 1, plan)
    chunks = ramp.transfer.cut("job", plan, None, 10)
    ramp.transfer.process(job, 1, plan, chunks[0])
    ramp.quay.sql("VACUUM FULL t")
    ramp.transfer.process(job, 1, plan, chunks[1])
    ramp.quay.sql(change)
    ways: dict[str, Callable[[], object]] = {
        "process": lambda: ramp.transfer.process(job, 1, plan, chunks[2]),
        "begin": lambda: ramp.transfer.begin(job, 2, plan),
        "finish": lambda: ramp.transfer.finish(job, plan, chunks),
    }
    with pytest.raises(SourceChanged, match=words):
        ways[way]()


def test_a_table_that_is_swapped_while_it_is_read_gives_no_file(ramp: Ramp, monkeypatch: pytest.MonkeyPatch) -> None:
    ramp.quay.sql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (LIKE t INCLUDING ALL)")
    plan, job = ramp.plan(), f"job-{next(numbers)}"
    ramp.transfer.begin(job, 1, plan)
    (chunk,) = ramp.transfer.cut("job", plan, None, 10)
    verify = PostgresSource.verify

    def swap(source: PostgresSource, plan: ExportPlan, exported: Callable[[], int]) -> None:
        verify(source, plan, exported)
        ramp.quay.sql("ALTER TABLE t RENAME TO old; ALTER TABLE u RENAME TO t")

    monkeypatch.setattr(PostgresSource, "verify", swap)
    with pytest.raises(SourceChanged, match="another table"):
        ramp.transfer.process(job, 1, plan, chunk)


def test_the_declared_length_of_text_is_the_width_of_its_column(ramp: Ramp) -> None:
    ramp.quay.sql("CREATE TYPE mood AS ENUM ('so', 'happy')")
    ramp.quay.sql("CREATE DOMAIN code AS varchar(4)")
    ramp.quay.sql("CREATE TABLE t (a varchar(6), b char(3), c code, d mood, e varchar(5)[], f text, g smallint)")
    ramp.quay.sql("INSERT INTO t VALUES ('é', 'b', 'c', 'so', '{x}', NULL, -1)")
    assert [column.length for column in ramp.plan().columns] == [6, 3, 4, 5, 0, 0, 0]
    written = ramp.export(
        file_format="fixed_width", fixed_width=FixedWidthFormat(widths="e=4,f=2", header=Header.ABSENT)
    )
    assert written.decode() == "é      b   c    so    {x}   " + f"{'-1':>20}\n"
