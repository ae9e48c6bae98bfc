"""The target databases."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from contextlib import closing
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg
from psycopg import sql

from tests.harness.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.changes import Change
    from tests.harness.postgres import PostgresProcess

_ALL_ROWS = "SELECT * FROM {table}"


class Database(ABC):
    """The target of a job."""

    name: str
    url: str

    def make_table(self, table: str, change: Change, chunks: int) -> None:
        """Create the table of an import, with its first rows."""
        for statement in change.statements(table, chunks):
            self._execute(statement)

    def make_marks(self, table: str) -> None:
        """Create an empty table of numbers."""
        self._execute(f"CREATE TABLE {table} (number integer)")

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """All rows of a table."""
        return self._execute(_ALL_ROWS.format(table=table))

    @abstractmethod
    def _execute(self, statement: str) -> list[tuple[Any, ...]]: ...


class SqliteFile(Database):
    """A file. There is no server to kill."""

    name = "sqlite"

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self._path = path

    def _execute(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._path, timeout=20)) as connection, connection:
            return connection.execute(statement).fetchall()


class DuckdbFile(Database):
    """A file that only one process at a time can open."""

    name = "duckdb"

    def __init__(self, path: Path) -> None:
        self.url = f"duckdb://{path}"
        self._path = path

    def _execute(self, statement: str) -> list[tuple[Any, ...]]:
        with until(self._opened, "no worker has the database open") as connection:
            return connection.execute(statement).fetchall()

    def _opened(self) -> duckdb.DuckDBPyConnection | None:
        try:
            return duckdb.connect(self._path)
        except duckdb.IOException as error:
            if "Could not set lock" not in str(error):
                raise
            return None


class PostgresServer(Database):
    """A separate server."""

    name = "postgres"

    def __init__(self, process: PostgresProcess, name: str = "postgres") -> None:
        """``name``: the database, which is created if it is another one than that of the server."""
        self.process = process
        self.url = process.url.replace("/postgres?", f"/{name}?")
        if self.url != process.url:
            with psycopg.connect(process.url, autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def _execute(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []
