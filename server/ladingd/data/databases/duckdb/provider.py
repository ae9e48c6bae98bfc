"""The provider of DuckDB, an analytical database in a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ladingd.core.errors import TargetRefused
from ladingd.data.databases.provider import Answer, FileDatabaseProvider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ladingd.data.databases.connection import Connection
    from ladingd.data.databases.row_source import RowSource
    from ladingd.data.databases.target import Target
    from ladingd.data.storage.work_dir import WorkDir


class DuckdbProvider(FileDatabaseProvider):
    """DuckDB as a kind of database."""

    name = "DuckDB"
    schemes = ("duckdb",)
    url_form = "duckdb:///absolute/path"
    preload = ()  # The driver takes 100 ms to load, so only workers that use it load it.

    def files_beside(self) -> Mapping[str, str]:
        return {
            ".wal": "the write-ahead log",
            ".wal.checkpoint": "the write-ahead log of a checkpoint",
            ".wal.recovery": "the write-ahead log of a recovery",
            ".tmp": "the directory of temporary files",
        }

    def target(self, connection: Connection, work_dir: WorkDir) -> Target:
        from ladingd.data.databases.duckdb.target import DuckdbTarget

        path = self.database_file(connection.url)
        return DuckdbTarget(path=path, work_dir=work_dir, ledger_schema=connection.ledger_schema)

    def row_source(self, connection: Connection, work_dir: WorkDir) -> RowSource:
        from ladingd.data.databases.duckdb.row_source import DuckdbSource

        return DuckdbSource(path=self.database_file(connection.url), work_dir=work_dir)

    def check(self, connection: Connection) -> Answer:
        from ladingd.data.databases.duckdb.session import is_there, server_version

        path = self.database_file(connection.url)
        directory = path.parent
        if not is_there(path):
            if not directory.is_dir():
                raise TargetRefused(f"the directory {directory} of the database is missing: create it")
            if not os.access(directory, os.W_OK | os.X_OK):
                raise TargetRefused(f"the user {os.getuid()} may not create the database in {directory}")
            return Answer(server="DuckDB, no file yet: the first import creates it")
        version = server_version(path)
        reservation = ""
        if not os.access(path, os.W_OK) or not os.access(directory, os.W_OK | os.X_OK):
            # DuckDB creates its write-ahead log beside the file.
            reservation = f"the user {os.getuid()} may not write to {path} and its directory: only exports will work"
        return Answer(server=f"DuckDB {version}", reservation=reservation)
