"""A store that another process locks: writes wait, and nothing is lost."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.core.access import Deed
from ladingd.core.deadline import answering_within
from ladingd.core.errors import DiskFull, StoreBusy, StoreUnusable
from ladingd.store.audit import SqlAuditStore
from ladingd.store.jobs import SqlJobStore
from ladingd.store.sqlite import ballast, lane
from ladingd.store.sqlite.ballast import full
from ladingd.store.sqlite.database import Database
from ladingd.store.sqlite.lock import holder
from tests.harness.jobs import held
from tests.harness.listing import everything
from tests.harness.old_store import SCHEMAS, put_back
from tests.integration.api.fakes import NOON, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from sqlalchemy import Connection

pytestmark = pytest.mark.timeout(60)

DEED = Deed(time=NOON, principal="p", role="admin", peer="unix:", method="m", resource="r", outcome="OK")


class Told:
    """The messages of the database about its waits."""

    def __init__(self) -> None:
        self.lines: list[tuple[bool, str]] = []

    def __call__(self, waits: bool, message: str) -> None:
        self.lines.append((waits, message))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "TOLD_AFTER", 0.1)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def database(tmp_path: Path, told: Told) -> AsyncIterator[Database]:
    made = Database(tmp_path / "store.db", observe_wait=told)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@contextmanager
def locked_whole(path: Path) -> Iterator[None]:
    """Lock the file so that others cannot even read."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


async def until_told(told: Told, number: int) -> None:
    await eventually(lambda: len(told.lines) >= number)


async def test_what_is_to_be_written_waits_for_the_lock_and_says_so(
    database: Database, path: Path, told: Told, new_job: Any
) -> None:
    store, audit = SqlJobStore(database), SqlAuditStore(database)
    with held(path):
        writing = [asyncio.create_task(store.create(new_job(f"j{number}"))) for number in range(3)]
        entry = asyncio.create_task(audit.add([DEED]))
        await until_told(told, 1)
        assert await everything(store) == (0, ()), "reading goes on"
        assert "is locked by" in database.trouble
        assert not any(task.done() for task in (*writing, entry))
    assert [job.revision for job in await asyncio.gather(*writing)] == [1, 2, 3], "in the order of the calls"
    await entry
    assert [each.deed for each in (await audit.list(size=5)).items] == [DEED]
    assert database.trouble == ""
    assert [waits for waits, _ in told.lines] == [True, False]
    assert "nothing is lost" in told.lines[1][1]


async def test_a_caller_has_an_answer_in_time_and_nothing_was_changed(
    database: Database, path: Path, new_job: Any
) -> None:
    store = SqlJobStore(database)
    with held(path):
        patient = asyncio.create_task(SqlJobStore(database, patient=True).create(new_job("patient")))
        with answering_within(0.5):
            calls = [asyncio.create_task(store.create(new_job(f"j{number}"))) for number in range(3)]
        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreBusy] * 3
        assert not patient.done(), "whoever waits for an answer"
    await patient
    assert [job.id for job in (await everything(store))[1]] == ["patient"]


async def test_a_caller_whose_turn_does_not_come_is_told_that_the_store_is_locked(
    database: Database, path: Path, new_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder of the lock is unknown yet, because the lock was not held long enough to be logged."""
    monkeypatch.setattr(lane, "TOLD_AFTER", 60.0)
    with held(path):
        first = asyncio.create_task(SqlJobStore(database, patient=True).create(new_job("first")))
        await eventually(lambda: database._writer.looks > 0)
        with answering_within(0.3), pytest.raises(StoreBusy, match="is locked by another process; nothing was changed"):
            await SqlJobStore(database).create(new_job("second"))
    await first


async def test_a_call_that_is_given_up_leaves_nothing_behind(database: Database, path: Path, new_job: Any) -> None:
    store = SqlJobStore(database)
    with held(path):
        calls = [asyncio.create_task(store.create(new_job(f"j{number}"))) for number in range(2)]
        await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        await asyncio.wrap_future(database._writer._thread.submit(int))  # The thread has released them.
    await store.create(new_job("last"))
    assert [job.id for job in (await everything(store))[1]] == ["last"]


@pytest.mark.parametrize("code", ["SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_LOCKED", "SQLITE_BUSY_RECOVERY"])
async def test_a_lock_in_the_middle_of_a_transaction_has_it_done_again(database: Database, code: str) -> None:
    tries = 0

    def work(connection: Connection) -> int:
        nonlocal tries
        tries += 1
        connection.exec_driver_sql(
            "INSERT INTO audit (time, principal, role, peer, method, resource, outcome)"
            " VALUES ('', '', '', '', '', '', '')"
        )
        if tries < 3:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, code), code
            raise error
        return tries

    assert await database.write(work) == 3
    rows = await database.read(lambda connection: connection.exec_driver_sql("SELECT count(*) FROM audit").scalar())
    assert rows == 1, "what was undone is not there twice"


async def test_a_lock_that_sqlite_does_not_wait_for_is_not_looked_at_without_end(database: Database) -> None:
    def work(_: Connection) -> None:
        error = sqlite3.OperationalError("database table is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_LOCKED
        raise error

    before = database._writer.looks
    with answering_within(1.0), pytest.raises(StoreBusy):
        await database.write(work)
    assert database._writer.looks - before < 10


async def test_a_locked_store_is_alive_and_a_hung_one_is_not(database: Database, path: Path) -> None:
    with held(path):
        async with asyncio.timeout(10):
            for _ in range(3):
                await database.beat()
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(_: Connection) -> None:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(30)

    hanging = asyncio.create_task(database.write(hang))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await database.beat()
    release.set()
    await hanging
    await database.beat()


async def test_the_opening_waits_for_a_lock_and_not_for_ever(path: Path) -> None:
    await (await SqlJobStore.open(path)).close()
    with locked_whole(path), answering_within(0.6), pytest.raises(StoreBusy, match="is locked by"):
        await SqlJobStore.open(path)
    with locked_whole(path):
        opening = asyncio.create_task(SqlJobStore.open(path))
        await asyncio.sleep(0.6)
        assert not opening.done()
    await (await opening).close()


async def test_a_migration_waits_for_a_lock(path: Path) -> None:
    put_back(SCHEMAS[0], path)
    with held(path):
        opening = asyncio.create_task(SqlJobStore.open(path))
        await asyncio.sleep(0.6)
        assert not opening.done()
    await (await opening).close()
    assert len([*path.parent.glob("*.db.bak")]) == 1


async def test_whoever_is_in_a_hurry_waits_only_so_long(database: Database, path: Path, new_job: Any) -> None:
    store = SqlJobStore(database, patient=True)
    with held(path):
        writing = [asyncio.create_task(store.create(new_job(f"j{number}"))) for number in range(2)]
        await asyncio.sleep(0.1)
        database.hurry(0.3)
        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*writing, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreBusy] * 2


@pytest.mark.parametrize("which", ["store.db", "store.db-wal"])
@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_is_gone_stops_what_writes_to_it(
    database: Database, tmp_path: Path, new_job: Any, which: str, replaced: bool
) -> None:
    file = tmp_path / which
    content = file.read_bytes()
    file.unlink()
    if replaced:
        (tmp_path / "other").touch()
        file.write_bytes(content)
    with pytest.raises(StoreUnusable, match=f"{which} was removed or replaced while the daemon was running"):
        await SqlJobStore(database).create(new_job("lost"))
    with pytest.raises(StoreUnusable):
        async with asyncio.timeout(10):
            await database.check()


@pytest.mark.parametrize(
    ("name", "said"),
    [("SQLITE_READONLY", "mounted read-only"), ("SQLITE_IOERR_FSYNC", "see the kernel's log")],
)
async def test_what_makes_no_sense_to_wait_for_is_said_with_what_to_do(
    database: Database, name: str, said: str
) -> None:
    def work(_: Connection) -> None:
        error = sqlite3.OperationalError("attempt failed")
        error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, name), name
        raise error

    with pytest.raises(StoreUnusable, match=said):
        await database.write(work)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_quota_and_a_lack_of_inodes_are_a_full_disk(
    database: Database, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """SQLite reports them as I/O errors, or as files that cannot be opened."""

    def no_file(**_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(ballast.tempfile, "TemporaryFile", no_file)
    for name in ("SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "SQLITE_CANTOPEN"):
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, name), name

        def work(_: Connection, error: sqlite3.Error = error) -> None:
            raise error

        with pytest.raises(DiskFull):
            await database.write(work)


def test_a_disk_with_room_is_not_full(tmp_path: Path) -> None:
    assert not full(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_the_holder_of_a_lock_is_named(path: Path) -> None:
    script = """
import sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("BEGIN IMMEDIATE")
print("holds", flush=True)
sys.stdin.read()
"""
    with closing(sqlite3.connect(path)) as store:
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("CREATE TABLE t (a)")
        assert holder(path) == "another process"
        check_holder(path, script)


def check_holder(path: Path, script: str) -> None:
    """While the script runs, it locks the store."""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            assert holder(path).startswith(f"process {other.pid} (")
        finally:
            other.kill()
