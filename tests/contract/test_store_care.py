"""Operations on the store's file: copies, checks, migrations, and a full disk."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import stat
from collections import namedtuple
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.core.errors import DiskFull, StoreUnusable
from ladingd.core.state import Event, State
from ladingd.store import migration
from ladingd.store.discards import SqlDiscardStore
from ladingd.store.holds import SqlHoldStore
from ladingd.store.jobs import SqlJobStore
from ladingd.store.sqlite import backup
from ladingd.store.sqlite.ballast import Ballast
from ladingd.store.sqlite.database import Database
from ladingd.store.sqlite.inspection import MOST, inspect
from tests.harness.old_store import SCHEMAS, put_back
from tests.harness.waiting import until_async

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
async def path(tmp_path: Path, bring: Any) -> Path:
    """A store with a job in each state. Its path has characters that are special in URLs, formats and options."""
    path = tmp_path / "st%ore?mode=memory#é.db"
    store = await SqlJobStore.open(path)
    for state in State:
        await bring(store, state.lower(), state)
    await store.close()
    return path


def files(directory: Path) -> dict[str, bytes]:
    """The content of a directory, without the empty files that readers of SQLite leave."""
    found = {entry.name: entry.read_bytes() for entry in directory.iterdir() if not entry.name.endswith("-shm")}
    return {name: content for name, content in found.items() if content or not name.endswith("-wal")}


# Before a migration


async def test_a_store_is_copied_before_its_schema_is_changed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = put_back(SCHEMAS[0], tmp_path / "store.db")
    await (await SqlJobStore.open(path)).close()
    (copy,) = backup.copies(path)
    assert re.fullmatch(r"store-0001-\d{8}T\d{6}\.\d{6}Z\.db\.bak", copy.name)
    assert str(copy) in caplog.text
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert inspect(copy).schema == SCHEMAS[0]
    await (await SqlJobStore.open(path)).close()
    assert backup.copies(path) == [copy], "a store that is current is not copied"


async def test_jobs_that_were_cancelled_before_are_noted_as_leftovers(tmp_path: Path) -> None:
    path = put_back("0009", tmp_path / "store.db")
    with closing(sqlite3.connect(path)) as old, old:
        old.execute("UPDATE jobs SET attempt = 1 WHERE id = 'canceled'")
    store = await SqlJobStore.open(path)
    left = await SqlDiscardStore(store._database).pending()
    await store.close()
    assert [(discard.job_id, discard.deleted) for discard in left] == [("canceled", False)]


async def test_the_three_newest_copies_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    for _ in range(5):
        path.unlink(missing_ok=True)
        put_back(SCHEMAS[-1], path)
        before = backup.copies(path)
        await (await SqlJobStore.open(path)).close()
        assert list(backup.copies(path)[:-1]) == list(before[-2:])
    assert len(backup.copies(path)) == backup.KEPT


async def test_without_room_for_the_copy_nothing_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put_back(SCHEMAS[0], tmp_path / "store.db")
    before = files(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("ladingd.store.sqlite.backup.shutil.disk_usage", lambda _: Usage(1, 1, 12_345))
        with pytest.raises(StoreUnusable, match=r"before upgrading its schema 0001: .* 12,345 are free"):
            await SqlJobStore.open(path)
    assert files(tmp_path) == before
    await (await SqlJobStore.open(path)).close()


async def test_a_copy_that_cannot_be_made_stops_the_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put_back(SCHEMAS[0], tmp_path / "store.db")
    monkeypatch.setattr("ladingd.store.sqlite.backup._problems", lambda _: ["page 7 is torn"])
    with pytest.raises(StoreUnusable, match="page 7 is torn"):
        await SqlJobStore.open(path)
    assert backup.version_of(path) == SCHEMAS[0]
    assert [name for name in files(tmp_path) if "bak" in name] == []


async def test_a_migration_that_breaks_off_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put_back(SCHEMAS[0], tmp_path / "store.db")

    def broken(*_: object, **__: object) -> None:
        raise OSError("torn")

    with monkeypatch.context() as patch:
        patch.setattr("alembic.operations.Operations.create_index", broken)
        with pytest.raises(OSError, match="torn"):
            await SqlJobStore.open(path)
    with closing(backup.opened(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert backup.version_of(path) == SCHEMAS[0]
    assert not tables & {"tokens", "holds", "discards"}


async def test_a_newer_store_is_refused_and_nothing_of_it_is_changed(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
        connection.execute("CREATE TABLE of_the_future (id)")
    before = files(path.parent)
    for _ in range(2):
        with pytest.raises(StoreUnusable, match=f"0999 is newer than {migration.HEAD}.*use a newer Lading"):
            await SqlJobStore.open(path)
        with pytest.raises(StoreUnusable, match="newer"):
            inspect(path)
    assert files(path.parent) == before


# Copies


async def test_a_copy_is_of_one_moment_while_the_store_is_written(path: Path, new_job: Any) -> None:
    store = await SqlJobStore.open(path)

    async def write() -> None:
        for number in range(300):
            await store.create(new_job(f"j{number}"))

    writing = asyncio.create_task(write())
    copies = [path.with_name(f"copy{number}") for number in range(5)]
    for copy in copies:
        await asyncio.to_thread(backup.copy, path, copy)
        assert inspect(copy).problems == ()
    await writing
    await store.close()
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".")] == []


def test_a_copy_replaces_nothing_unless_that_is_wanted(path: Path, tmp_path: Path) -> None:
    to = tmp_path / "copy.db"
    to.write_text("precious")
    with pytest.raises(FileExistsError):
        backup.copy(path, to)
    assert to.read_text() == "precious"
    size = backup.copy(path, to, replace=True)
    assert to.stat().st_size == size
    assert inspect(to).problems == ()


# The check


def test_a_sound_store_has_no_problems(path: Path) -> None:
    seen = inspect(path)
    assert seen.problems == ()
    assert seen.jobs == {state.value: 1 for state in State}
    assert seen.schema == migration.HEAD


DAMAGES = {
    "states": ("UPDATE jobs SET state = 'ODD' WHERE id = 'paused'", "jobs/paused is ODD"),
    "documents": ("UPDATE jobs SET spec = '{}' WHERE id = 'paused'", "the spec of jobs/paused cannot be read"),
    "references": ("DELETE FROM jobs WHERE id = 'paused'", "of journal has no parent in jobs"),
    "chunks": (
        "INSERT INTO chunks SELECT id, 3, 0, 1, 1, 1, NULL, NULL, NULL, NULL, 0, 0 FROM jobs WHERE id = 'paused'",
        "jobs/paused has 1 chunks, of which the last is number 3",
    ),
    "counts": (
        """UPDATE jobs SET counts = '{"read": 3, "inserted": 3}' WHERE id = 'paused'""",
        "jobs/paused has inserted 3, its chunks have 0",
    ),
    "revisions": ("UPDATE jobs SET revision = 999, state_revision = 999 WHERE id = 'paused'", "has revision 999"),
    "gaps": ("DELETE FROM changes WHERE revision = 5", "they should be those from 1 to"),
    "latest": ("UPDATE jobs SET state = 'EDITING' WHERE id = 'paused'", "is EDITING, its last change says PAUSED"),
    "bill": (
        """UPDATE jobs SET counts = '{"read": 3}' WHERE id = 'finished'""",
        "jobs/finished is FINISHED, but its bill does not balance",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damage_is_found_and_named(path: Path, damage: str) -> None:
    statement, expected = DAMAGES[damage]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)
    before = files(path.parent)
    problems = [each.problem for each in inspect(path).problems]
    assert any(expected in problem for problem in problems), problems
    assert files(path.parent) == before


def test_many_problems_of_a_kind_are_not_all_told(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DELETE FROM jobs")
    told = [each.problem for each in inspect(path).problems if each.check == "references"]
    assert len(told) == MOST + 1
    assert told[-1] == "and more"


# Full disk


def full(*_: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")


class Disk:
    """A disk that is full until a test frees space."""

    def __init__(self) -> None:
        self.room = False
        self.tries = 0

    async def is_tried(self) -> bool:
        return self.tries > 5

    def write(self, connection: Connection) -> int:
        self.tries += 1
        if not self.room:
            full()
        return self.tries


async def test_the_ballast_goes_first_and_only_then_is_there_no_room(tmp_path: Path) -> None:
    database = Database(tmp_path / "store.db")
    await database.open()
    assert database.ballast.restore()
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= 8 << 20
    disk = Disk()
    with pytest.raises(DiskFull) as refused:
        await database.write(disk.write)
    assert (disk.tries, refused.value.place) == (2, str(tmp_path))
    assert not (tmp_path / "ballast").exists()
    with pytest.raises(DiskFull):
        await database.write(disk.write)
    assert disk.tries == 3
    await database.close()


async def test_who_is_patient_waits_for_room_and_who_is_in_a_hurry_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ladingd.store.sqlite.database._AGAIN", 0.001)
    database = Database(tmp_path / "store.db")
    await database.open()
    disk = Disk()
    writing = asyncio.create_task(database.write_patiently(disk.write))
    async with asyncio.timeout(10):
        await until_async(disk.is_tried, "it is tried again and again")
        disk.room = True
        assert await writing == disk.tries
        disk.room = False
        writing = asyncio.create_task(database.write_patiently(disk.write))
        database.hurry()
        with pytest.raises(DiskFull):
            await writing
    await database.close()


def test_a_ballast_takes_up_its_room_once_and_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ballast = Ballast(tmp_path / "ballast", size=1 << 16)
    assert not ballast.release()
    assert ballast.restore()
    assert ballast.restore()
    assert ballast.release()
    monkeypatch.setattr("ladingd.store.sqlite.ballast.shutil.disk_usage", lambda _: Usage(1, 1, (4 << 16) - 1))
    assert not ballast.restore()
    assert list(tmp_path.iterdir()) == []


async def test_a_command_of_people_ends_a_hold(tmp_path: Path, bring: Any) -> None:
    store = await SqlJobStore.open(tmp_path / "store.db")
    holds = SqlHoldStore(store._database)
    for job_id, command in (("a", Event.START), ("b", Event.PAUSE), ("c", Event.CANCEL)):
        await bring(store, job_id, State.RUNNING)
        assert await holds.hold(job_id, "full", "/somewhere") is not None
        assert await holds.hold(job_id, "full") is None
        assert [hold.job_id for hold in await holds.held()] == [job_id]
        await store.command(job_id, command)
        assert await holds.held() == ()
        assert await holds.release(job_id, "room") is None
    await store.close()
