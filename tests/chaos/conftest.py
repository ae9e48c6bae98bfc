"""Fixtures: a daemon with failpoints for each kind of database, and a PostgreSQL server that may be killed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.chaos.database import Database, DuckdbFile, PostgresServer, SqliteFile
from tests.chaos.trial import Trial
from tests.harness.folders import remove
from tests.harness.postgres import PostgresProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="package")
def home() -> Iterator[Path]:
    """A folder whose path is short enough for Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="lading-"))
    yield path
    remove(path)


@pytest.fixture(scope="package")
def server(home: Path) -> Iterator[PostgresProcess]:
    """A PostgreSQL server only for these tests."""
    folder = home / "pg"
    folder.mkdir()
    process = PostgresProcess(folder)
    process.start()
    yield process
    process.clean_up()


@pytest.fixture(scope="package")
def trials(home: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Trial]]:
    """The daemon with failpoints and four workers, or another number, for a kind of database. Every test has its own
    job and table in it."""
    made: dict[tuple[str, int], Trial] = {}

    def trial(kind: str, workers: int = 4) -> Trial:
        if (kind, workers) not in made:
            folder = home / f"{kind}{workers}"
            folder.mkdir()
            database: Database
            if kind == "sqlite":
                database = SqliteFile(folder / "target.db")
            elif kind == "duckdb":
                database = DuckdbFile(folder / "target.duckdb")
            else:
                database = PostgresServer(request.getfixturevalue("server"), folder.name)
            # The socket of a proxy.
            connections = {"wire": f"postgresql://postgres@/{folder.name}?host={home / 'wire'}"}
            made[kind, workers] = Trial(folder, database, failpoints=True, connections=connections, workers=workers)
        made[kind, workers].failpoints.disarm()
        return made[kind, workers]

    yield trial
    for each in made.values():
        each.clean_up()


@pytest.fixture(params=["sqlite", "postgres"])
def trial(request: pytest.FixtureRequest, trials: Callable[..., Trial]) -> Trial:
    """A daemon without armed failpoints, for each kind of database."""
    return trials(request.param)
