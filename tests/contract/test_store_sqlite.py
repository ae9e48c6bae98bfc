"""How the store treats its SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from ladingd.core.errors import StoreUnusable
from ladingd.store import migration, migrations
from ladingd.store.jobs import SqlJobStore
from ladingd.store.tables import metadata


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A path without a store, with characters that are special in URLs, formats and options."""
    return tmp_path / "st%ore?mode=memory#é.db"


@pytest.fixture
async def made(path: Path) -> Path:
    """The path of a store that is not open."""
    store = await SqlJobStore.open(path)
    await store.close()
    return path


@pytest.fixture
def no_database(path: Path) -> Path:
    """The path of a file that is not a database."""
    path.write_text("id;name\n" * 1_000)
    return path


def content(path: Path) -> bytes:
    return path.read_bytes()


async def refused(path: Path) -> str:
    with pytest.raises(StoreUnusable) as caught:
        await SqlJobStore.open(path)
    assert str(path) in str(caught.value)
    return caught.value.problem


def test_head_is_the_newest_step() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [migration.HEAD]


def test_the_steps_lead_to_the_tables(made: Path) -> None:
    engine = sqlalchemy.create_engine(sqlalchemy.URL.create("sqlite", database=str(made)))
    with closing(engine.connect()) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


async def test_a_store_of_every_earlier_step_is_brought_up(path: Path) -> None:
    steps = [step.revision for step in ScriptDirectory(str(Path(migrations.__file__).parent)).walk_revisions()]
    for number, step in enumerate(steps):
        path = path.with_name(f"{number}.db")
        engine = sqlalchemy.create_engine(sqlalchemy.URL.create("sqlite", database=str(path)))
        with engine.begin() as connection:
            config = Config()
            config.set_main_option("script_location", str(Path(migrations.__file__).parent))
            config.set_main_option("path_separator", "os")
            config.attributes["connection"] = connection
            command.upgrade(config, step)
        engine.dispose()
        store = await SqlJobStore.open(path)
        await store.close()
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        engine.dispose()
    assert "0001" in steps


async def test_the_file_stands_where_it_was_said(made: Path) -> None:
    assert [entry.name for entry in made.parent.iterdir()] == [made.name]


def test_a_store_that_is_current_is_opened_without_alembic(made: Path) -> None:
    script = """
import asyncio, pathlib, sys
from ladingd.store.jobs import SqlJobStore

async def main():
    await (await SqlJobStore.open(pathlib.Path(sys.argv[1]))).close()
    sys.exit("alembic" in sys.modules)

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", script, str(made)], check=True, timeout=30)


async def test_the_settings_that_durability_stands_on(path: Path) -> None:
    store = await SqlJobStore.open(path)
    ask = sqlalchemy.text

    def settings(connection: sqlalchemy.Connection) -> list[Any]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.scalar(ask(f"PRAGMA {name}")) for name in names]

    assert await store._database.read(settings) == ["wal", 2, 1]
    await store.close()


async def test_a_newer_store_is_refused_and_names_both(made: Path) -> None:
    with closing(sqlite3.connect(made)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    problem = await refused(made)
    assert "0999" in problem
    assert migration.HEAD in problem


async def test_somebody_elses_database_is_refused_and_stays_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE recipients (id)")
    before = content(path)
    assert "recipients" in await refused(path)
    assert content(path) == before


async def test_what_is_no_database_is_refused_and_stays_as_it_is(no_database: Path) -> None:
    before = content(no_database)
    assert await refused(no_database) == "file is not a database"
    assert content(no_database) == before


async def test_a_directory_that_is_not_there_is_refused(path: Path) -> None:
    assert "unable to open" in await refused(path / "store.db")


async def test_a_directory_is_no_store(tmp_path: Path) -> None:
    assert "unable to open" in await refused(tmp_path)


async def test_two_stores_on_one_file_give_out_revisions_together(path: Path, new_job: Any) -> None:
    one, other = await SqlJobStore.open(path), await SqlJobStore.open(path)
    jobs = [new_job(f"j{number}") for number in range(40)]
    made = await asyncio.gather(*((one, other)[number % 2].create(job) for number, job in enumerate(jobs)))
    assert sorted(job.revision for job in made) == list(range(1, 41))
    assert await one.changes(0, limit=100) == await other.changes(0, limit=100)
    await one.close()
    await other.close()


async def test_a_first_opening_that_breaks_off_leaves_nothing_half_done(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("alembic.operations.Operations.create_index", broken)
        with pytest.raises(OSError, match="no space"):
            await SqlJobStore.open(path)
    store = await SqlJobStore.open(path)
    assert (await store.revision(), (await store.list(size=1)).items) == (0, ())
    await store.close()
