"""Records that a SQLite table refuses: each is found, others are not affected, and none costs a statement."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import TargetRefused, TargetUnavailable
from ladingd.data.databases.sqlite import attempts
from ladingd.data.databases.sqlite import session as database
from ladingd.data.databases.sqlite.attempts import Attempts, attempting
from ladingd.data.databases.sqlite.courtesy import is_open_elsewhere
from ladingd.data.databases.sqlite.session import Database, connected
from tests.unit.data.imports.test_import import rejects_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.unit.data.conftest import Yard

SCHEMAS = {
    "rowid": ["CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c REAL)"],
    "without rowid": ["CREATE TABLE t (a INTEGER, b TEXT, c REAL, PRIMARY KEY (b, a)) WITHOUT ROWID"],
    "several": ["CREATE TABLE t (a INTEGER UNIQUE, b TEXT, c REAL, UNIQUE (b, c), UNIQUE (c, a))"],
    "nocase": ["CREATE TABLE t (a INTEGER, b TEXT COLLATE NOCASE UNIQUE, c REAL)"],
    "other collation": ["CREATE TABLE t (a INTEGER, b TEXT, c REAL)", "CREATE UNIQUE INDEX i ON t (b COLLATE RTRIM)"],
    "descending": ["CREATE TABLE t (a INTEGER PRIMARY KEY DESC, b TEXT, c REAL)"],
    "partial": ["CREATE TABLE t (a INTEGER, b TEXT, c REAL)", "CREATE UNIQUE INDEX i ON t (a) WHERE b = 'x'"],
    "expression": ["CREATE TABLE t (a INTEGER, b TEXT, c REAL)", "CREATE UNIQUE INDEX i ON t (lower(b), a % 3)"],
    "check": [
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE, c REAL, CHECK (c < 2 OR b = 'x'), CHECK (a <> 3))"
    ],
    "generated": ["CREATE TABLE t (a INTEGER, b TEXT, c REAL, d AS (a % 4) UNIQUE NOT NULL)"],
    "strict": ["CREATE TABLE t (a INT PRIMARY KEY, b TEXT UNIQUE, c REAL CHECK (c > 0.5)) STRICT"],
    "loose": ["CREATE TABLE t (a UNIQUE, b UNIQUE, c)"],
    "trigger": [
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE, c REAL)",
        "CREATE TRIGGER g BEFORE INSERT ON t WHEN NEW.c = 2 BEGIN SELECT RAISE(ABORT, 'no'); END",
        "CREATE TRIGGER h AFTER INSERT ON t WHEN NEW.a % 5 = 0 BEGIN SELECT RAISE(FAIL, 'not five'); END",
        "CREATE TRIGGER i BEFORE INSERT ON t WHEN NEW.b = 'x ' BEGIN SELECT RAISE(IGNORE); END",
    ],
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS.keys())
def test_any_batch_comes_to_what_single_inserts_come_to(yard: Yard, schema: list[str]) -> None:
    chance = random.Random(13)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as alone:
        for sql in schema:
            yard.sql(sql)
            alone.execute(sql)
        for number in range(6):
            rows = [
                (
                    chance.choice((None, *range(1, 30))),
                    chance.choice((None, "x", "X", "x ", *map(str, range(25)))),
                    chance.choice((None, 0.5, 1.0, 2.0, -0.0, 0.0, *range(20))),
                )
                for _ in range(chance.randrange(1, 30))
            ]
            # A quoted text is never null. The last column prevents a record of nulls from being an empty line.
            text = "".join(f"{_field(a)},{_field(b)},{_field(c)},\n" for a, b, c in rows)
            plan = yard.plan_import(
                f"a,b,c,\n{text}".replace(",\n", "\n"), types={"a": "integer", "b": "text", "c": "real"}
            )
            counts = yard.run(plan, job_id=f"job-{number}")
            refused = []
            for line, row in enumerate(rows, 2):
                if row == (None, None, None):
                    continue
                try:
                    if alone.execute("INSERT INTO t (a, b, c) VALUES (?, ?, ?)", row).rowcount < 1:
                        refused.append(line)
                except sqlite3.Error:
                    refused.append(line)
            assert [reject.line for reject in rejects_of(yard, plan, f"job-{number}")] == refused
            assert counts.rejected == len(refused)
            query = "SELECT a, b, c FROM t ORDER BY a, b, c"
            assert yard.sql(query) == alone.execute(query).fetchall()


def _field(value: object) -> str:
    return "" if value is None else f'"{value}"' if isinstance(value, str) else str(value)


class Counter:
    """Counts the statements that a job executes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        for owner in (Database, Attempts):
            for name in ("run", "rows"):
                self._count(monkeypatch, owner, name)
        for name in ("insert", "chosen"):
            self._count(monkeypatch, Database, name)

    def _count(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        method = getattr(owner, name)

        def counted(*arguments: object) -> object:
            self.number += 1
            return method(*arguments)

        monkeypatch.setattr(owner, name, counted)


@pytest.mark.parametrize("share", [20, 1])
@pytest.mark.parametrize(
    "schema",
    [
        ["CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT)"],
        ["CREATE TABLE t (id INTEGER, n TEXT UNIQUE COLLATE NOCASE)"],
        ["CREATE TABLE t (id INTEGER, n TEXT)", "CREATE UNIQUE INDEX i ON t (id) WHERE id > 0"],
        [
            "CREATE TABLE t (id INTEGER, n TEXT)",
            (
                "CREATE TRIGGER g BEFORE INSERT ON t WHEN EXISTS (SELECT 1 FROM old WHERE old.id = NEW.id)"
                " BEGIN SELECT RAISE(ABORT, 'there'); END"
            ),
        ],
    ],
    ids=["key", "text", "partial", "trigger"],
)
def test_bad_records_cost_no_statement_each(
    yard: Yard, schema: list[str], share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.sql("CREATE TABLE old (id INTEGER PRIMARY KEY)")
    for sql in schema:
        yard.sql(sql)
    old = list(range(0, 3000, share))
    with connected(yard.database) as there:
        there.run(f"INSERT INTO old VALUES {', '.join(f'({number})' for number in old)}")
        if len(schema) == 1 or "INDEX" in schema[1]:
            there.run("INSERT INTO t SELECT id, 'N' || id FROM old")
        there.commit()
    plan = yard.plan_import("id,n\n" + "".join(f"{number},n{number}\n" for number in range(3000)), chunk_bytes=9000)
    yard.transfer.begin("job", 1, plan)
    chunks = yard.chunks(plan)
    counter = Counter(monkeypatch)
    counts = sum((yard.transfer.process("job", 1, plan, chunk) for chunk in chunks), Counts())
    # A partial index has no entry for the id 0.
    refused = len(old) - (len(schema) == 2 and "INDEX" in schema[1])
    assert counts == Counts(read=3000, inserted=3000 - refused, rejected=refused, errors=refused)
    assert counter.number / len(chunks) < 40
    assert len(rejects_of(yard, plan)) == min(refused, 1000)


@pytest.mark.parametrize(
    "keys", [range(1, 9), range(-9000, 9000, 2000), (9, -4, 7, 2, 0)], ids=["near", "far", "mixed"]
)
def test_keys_are_found_however_far_they_are_from_each_other(yard: Yard, keys: Sequence[int]) -> None:
    yard.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT)")
    yard.sql(f"INSERT INTO t VALUES {', '.join(f'({key}, NULL)' for key in range(100))}")
    plan = yard.plan_import("id,n\n" + "".join(f"{key},n{key}\n" for key in keys))
    yard.run(plan)
    there = [line for line, key in enumerate(keys, 2) if 0 <= key < 100]
    assert [reject.line for reject in rejects_of(yard, plan)] == there
    assert yard.sql("SELECT count(*) FROM t WHERE n IS NOT NULL") == [(len(keys) - len(there),)]


def test_a_double_names_the_line_that_has_its_key(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE)")
    yard.sql("INSERT INTO t VALUES (1, 'old')")
    plan = yard.plan_import("a,b\n1,x\n2,y\n2,z\n1,y\n3,y\n4,old\n")
    yard.run(plan)
    unique = "UNIQUE constraint failed: t"
    assert [(each.line, each.value, each.message) for each in rejects_of(yard, plan)] == [
        (2, "1", f"{unique}.a"),
        (4, "2", f"{unique}.a (line 3 of the file has the same key)"),
        (5, "1", f"{unique}.a"),
        (6, "y", f"{unique}.b (line 3 of the file has the same key)"),
        (7, "old", f"{unique}.b"),
    ]


def test_keys_that_two_chunks_have_are_found_though_neither_was_there_before(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    plan = yard.plan_import("a\n" + "".join(f"{number}\n" for number in [*range(500)] * 2), chunk_bytes=600)
    assert yard.run(plan) == Counts(read=1000, inserted=500, rejected=500, errors=500)
    assert [reject.line for reject in rejects_of(yard, plan)] == list(range(502, 1002))


def test_foreign_keys_count_as_little_as_in_any_connection_of_sqlite(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER REFERENCES t CHECK (b > 0))")
    plan = yard.plan_import("a,b\n1,7\n2,0\n3,9\n")
    assert yard.run(plan) == Counts(read=3, inserted=2, rejected=1, errors=1)


def test_the_two_copies_of_sqlite_never_have_a_file_open_together(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.sql("CREATE TABLE t (a)")
    monkeypatch.setattr(database, "BUSY_MILLISECONDS", 20)
    with connected(yard.database), pytest.raises(TargetUnavailable, match="this process"), attempting(yard.database):
        pass
    with attempting(yard.database), pytest.raises(TargetUnavailable, match="this process"), connected(yard.database):
        pass
    with connected(yard.database), connected(yard.database):
        pass


def test_a_sqlite_that_is_too_old_is_named(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.sql("CREATE TABLE t (a CHECK (a < 2))")
    plan = yard.plan_import("a\n1\n2\n")
    monkeypatch.setattr(attempts, "OLDEST", (9, 0))
    with pytest.raises(TargetRefused, match=r"it needs SQLite 9\.0 or later"):
        yard.run(plan)
    assert yard.sql("SELECT count(*) FROM t") == [(0,)]


def test_a_file_that_another_process_has_open(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.sql("CREATE TABLE t (a)")
    assert not is_open_elsewhere(yard.database)
    with other_program(f"file = open({str(yard.database)!r}); print('ready', flush=True); input()"):
        assert is_open_elsewhere(yard.database)
    assert not is_open_elsewhere(yard.database)
    monkeypatch.setattr(database, "BUSY_MILLISECONDS", 20)
    with connected(yard.database), pytest.raises(TargetUnavailable, match="this process"):
        is_open_elsewhere(yard.database)


def test_the_database_is_left_alone_after_a_chunk_only_where_others_may_wait(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.sql("CREATE TABLE t (a)")
    plan = yard.plan_import("a\n1\n2\n", chunk_bytes=2)
    yard.transfer.begin("job", 1, plan)
    first, second = yard.chunks(plan)
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        yard.sql("INSERT INTO t VALUES (0)")  # The database is not locked.
        sleeps.append(seconds)

    monkeypatch.setattr("ladingd.data.databases.sqlite.courtesy.time.sleep", sleep)
    yard.transfer.process("job", 1, plan, first)
    assert sleeps == []
    with other_program(f"file = open({str(yard.database)!r}); print('ready', flush=True); input()"):
        yard.transfer.process("job", 1, plan, second)
    (slept,) = sleeps
    assert slept > 0.025, "longer than SQLite's busy handler sleeps between two attempts"


def test_a_job_of_many_chunks_lets_another_program_write(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    yard.sql("CREATE TABLE theirs (a)")
    text = "a,b\n" + "".join(f"{number},{number:0>80}\n" for number in range(60_000))
    plan = yard.plan_import(text, chunk_bytes=len(text) // 15)
    yard.transfer.begin("job", 1, plan)
    chunks = yard.chunks(plan)
    with other_program(WRITER.format(path=str(yard.database))) as writer:
        # Two at a time, so that one waits for the other's lock.
        with ThreadPoolExecutor(2) as workers:
            list(workers.map(lambda chunk: yard.transfer.process("job", 1, plan, chunk), chunks))
        written, _ = writer.communicate("", timeout=60)
    # After each chunk the database stays unlocked for longer than the writer sleeps.
    assert int(written) >= len(chunks) - 1


WRITER = """
import sqlite3, sys, threading
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
connection = sqlite3.connect({path!r}, timeout=60, isolation_level=None)
print("ready", flush=True)
written = 0
while not done.wait(0.01):
    connection.execute("INSERT INTO theirs VALUES (1)")
    written += 1
print(written)
"""


@contextmanager
def other_program(code: str) -> Iterator[subprocess.Popen[str]]:
    """A process that executes the code until it is told to end."""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def test_what_is_wrong_with_a_whole_database_is_told_with_its_name(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (id INTEGER)")
    with (
        pytest.raises(TargetRefused, match=r"^target db\.sqlite: the daemon may not write to the file"),
        connected(yard.database, read_only=True) as opened,
    ):
        opened.run("DROP TABLE t")
    yard.database.write_bytes(bytes(range(1, 256)) * 16)
    with pytest.raises(TargetRefused, match=r"^target db\.sqlite: it is not a database of SQLite"):
        yard.plan_import("id\n1\n")
