"""What is behind a connection, whichever database it is. The one place that tells them apart.

Its functions raise InvalidSpec where the connection's URL cannot be, TargetRefused where its password cannot be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.data.databases.connection import database_path

if TYPE_CHECKING:
    from ladingd.data.databases.connection import Connection
    from ladingd.data.databases.provider import Answer
    from ladingd.data.databases.row_source import TableSource
    from ladingd.data.databases.target import Target
    from ladingd.data.storage.work_dir import Workplace


def target_of(connection: Connection, workplace: Workplace) -> Target:
    """Where imports write."""
    if connection.scheme == "sqlite":
        from ladingd.data.databases.sqlite.target import SqliteTarget

        return SqliteTarget(path=database_path(connection, "target.connection"), workplace=workplace)
    from ladingd.data.databases.postgres.session import Address
    from ladingd.data.databases.postgres.target import PostgresTarget

    return PostgresTarget(address=Address.of(connection), workplace=workplace, ledger_schema=connection.ledger_schema)


def source_of(connection: Connection) -> TableSource:
    """Where exports read."""
    if connection.scheme == "sqlite":
        from ladingd.data.databases.sqlite.row_source import SqliteSource

        return SqliteSource(path=database_path(connection, "source.connection"))
    from ladingd.data.databases.postgres.row_source import PostgresSource
    from ladingd.data.databases.postgres.session import Address

    return PostgresSource(address=Address.of(connection))


def try_out(connection: Connection) -> Answer:
    """Reach the database, and change nothing in it. Raises TargetUnavailable, TargetRefused too."""
    if connection.scheme == "sqlite":
        from ladingd.data.databases.sqlite import provider as sqlite

        return sqlite.try_out(database_path(connection, "url"))
    from ladingd.data.databases.postgres import provider as postgres
    from ladingd.data.databases.postgres.session import Address

    return postgres.try_out(Address.of(connection), connection.ledger_schema)
