"""One database of each kind for the contract suites, and the differences of their SQL dialects."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, LiteralString, cast

import psycopg
import pytest

from ladingd.data.databases.connection import Connection
from ladingd.data.databases.duckdb.session import connected
from ladingd.data.databases.postgres.session import close_idle
from ladingd.data.databases.postgres.snapshots import let_go
from ladingd.data.databases.registry import provider_of
from ladingd.data.storage.work_dir import WorkDir

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ladingd.data.databases.provider import DatabaseProvider


class TestDatabase(ABC):
    """An empty database, with access beside the product."""

    __test__ = False
    key: ClassVar[str] = "BIGINT PRIMARY KEY"
    """The declaration of an integer key."""
    truncate: ClassVar[str] = "TRUNCATE t"
    """The statement that removes all rows of a table."""
    codes: ClassVar[Mapping[str, str]]
    """The reject codes by kind of constraint."""
    names_checked_columns: ClassVar[bool] = False
    """Whether the reject of a CHECK over one column names the column and shows its value."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Its URL."""

    @property
    def connection(self) -> Connection:
        return Connection(name="harbour", url=self.url)

    @property
    def provider(self) -> DatabaseProvider:
        return provider_of(self.url)

    @abstractmethod
    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements and commit each. Returns the rows of the last one."""

    @abstractmethod
    def tables(self) -> list[str]:
        """The names of all tables in all schemas."""


class SqliteDatabase(TestDatabase):
    """A file."""

    key = "INTEGER PRIMARY KEY"
    truncate = "DELETE FROM t"
    codes: ClassVar[Mapping[str, str]] = {"NOT NULL": "NOT_NULL", "UNIQUE": "CONSTRAINT", "CHECK": "CONSTRAINT"}

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def url(self) -> str:
        return f"sqlite://{self.path}"

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return [connection.execute(statement).fetchall() for statement in statements][-1]

    def tables(self) -> list[str]:
        return [name for (name,) in self.sql("SELECT name FROM sqlite_schema")] if self.path.exists() else []


class PostgresDatabase(TestDatabase):
    """A database on the server of this run."""

    codes: ClassVar[Mapping[str, str]] = {"NOT NULL": "NOT_NULL", "UNIQUE": "UNIQUE", "CHECK": "CHECK"}
    names_checked_columns = True

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def url(self) -> str:
        return self._url

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(cast("LiteralString", statement))
                rows = cursor.fetchall() if cursor.description else []
        return rows

    def tables(self) -> list[str]:
        query = "SELECT relname FROM pg_class WHERE relnamespace::regnamespace::text !~ '^(pg_|information_schema)'"
        return [name for (name,) in self.sql(query)]


class DuckdbDatabase(TestDatabase):
    """A file."""

    codes: ClassVar[Mapping[str, str]] = {"NOT NULL": "NOT_NULL", "UNIQUE": "UNIQUE", "CHECK": "CHECK"}

    def __init__(self, path: Path, work_dir: WorkDir) -> None:
        self.path = path
        self.work_dir = work_dir

    @property
    def url(self) -> str:
        return f"duckdb://{self.path}"

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        # A process can open a file only once, so the tests use the product's own session.
        with connected(self.path, self.work_dir, create=True) as database:
            return [database.rows(statement) for statement in statements][-1]

    def tables(self) -> list[str]:
        query = "SELECT schema_name || '.' || table_name FROM duckdb_tables()"
        found = [name for (name,) in self.sql(query)] if self.path.exists() else []
        return [name.removeprefix("main.") for name in found]


@contextmanager
def sqlite_database(request: pytest.FixtureRequest) -> Iterator[TestDatabase]:
    """A file that the first statement makes."""
    yield SqliteDatabase(request.getfixturevalue("tmp_path") / "harbour's.sqlite")


_END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'harbour' AND pid <> {own}"
_DROP_SCHEMAS = """
DO $$ DECLARE name text; BEGIN
FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)' LOOP
EXECUTE format('DROP SCHEMA %I CASCADE', name); END LOOP; CREATE SCHEMA public; END $$
"""


@contextmanager
def postgres_database(request: pytest.FixtureRequest) -> Iterator[TestDatabase]:
    """The database of all tests on the server of this run, emptied again: a new one takes a hundred times as long."""
    database = PostgresDatabase(request.getfixturevalue("harbour"))
    yield database
    close_idle()
    let_go()
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(cast("LiteralString", _END_SESSIONS.format(own=connection.info.backend_pid)))
        connection.execute(cast("LiteralString", _DROP_SCHEMAS))


@contextmanager
def duckdb_database(request: pytest.FixtureRequest) -> Iterator[TestDatabase]:
    """A file that the first statement makes."""
    directory = request.getfixturevalue("tmp_path")
    yield DuckdbDatabase(directory / "harbour's.duckdb", WorkDir(directory=directory / "work"))


DATABASES = {"SQLite": sqlite_database, "PostgreSQL": postgres_database, "DuckDB": duckdb_database}
"""A database for each provider, by the provider's name."""


@contextmanager
def database_of(provider: DatabaseProvider, request: pytest.FixtureRequest) -> Iterator[TestDatabase]:
    """An empty database of a kind. A provider without an entry here fails the suites."""
    if provider.name not in DATABASES:
        pytest.fail(f"tests/contract/databases.py has no database of {provider.name}")
    with DATABASES[provider.name](request) as database:
        yield database
