"""The provider of SQLite, a database in a file."""

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

# The second expression makes SQLite read the schema from the file.
_VERSION = "SELECT sqlite_version(), (SELECT count(*) FROM sqlite_schema)"


class SqliteProvider(FileDatabaseProvider):
    """SQLite as a kind of database."""

    name = "SQLite"
    schemes = ("sqlite",)
    url_form = "sqlite:///absolute/path"
    preload = ("ladingd.data.databases.sqlite.target", "ladingd.data.databases.sqlite.row_source")

    def files_beside(self) -> Mapping[str, str]:
        return {"-wal": "the write-ahead log", "-shm": "the shared memory", "-journal": "the rollback journal"}

    def target(self, connection: Connection, work_dir: WorkDir) -> Target:
        from ladingd.data.databases.sqlite.target import SqliteTarget

        return SqliteTarget(path=self.database_file(connection.url), work_dir=work_dir)

    def row_source(self, connection: Connection, work_dir: WorkDir) -> RowSource:
        from ladingd.data.databases.sqlite.row_source import SqliteSource

        return SqliteSource(path=self.database_file(connection.url))

    def check(self, connection: Connection) -> Answer:
        from ladingd.data.databases.sqlite.session import connected, is_there

        path = self.database_file(connection.url)
        directory = path.parent
        if not is_there(path):
            if not directory.is_dir():
                raise TargetRefused(f"the directory {directory} of the database is missing: create it")
            if not os.access(directory, os.W_OK | os.X_OK):
                raise TargetRefused(f"the user {os.getuid()} may not create the database in {directory}")
            return Answer(server="SQLite, no file yet: the first import creates it")
        with connected(path, read_only=True) as database:
            ((version, _),) = database.rows(_VERSION)
        reservation = ""
        if not os.access(path, os.W_OK) or not os.access(directory, os.W_OK | os.X_OK):
            # SQLite creates its journal beside the file.
            reservation = f"the user {os.getuid()} may not write to {path} and its directory: only exports will work"
        return Answer(server=f"SQLite {version}", reservation=reservation)
