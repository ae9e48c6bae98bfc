"""What is behind a connection, whichever database it is. The one place that tells them apart.

Its functions raise InvalidSpec where the connection's URL cannot be, TargetRefused where its password cannot be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.data.connection import database_path

if TYPE_CHECKING:
    from ladingd.data.connection import Connection
    from ladingd.data.table_source import TableSource
    from ladingd.data.target import Target
    from ladingd.data.trial import Answer
    from ladingd.data.workplace import Workplace


def target_of(connection: Connection, workplace: Workplace) -> Target:
    """Where imports write."""
    if connection.scheme == "sqlite":
        from ladingd.data.sqlite.target import SqliteTarget

        return SqliteTarget(path=database_path(connection, "target.connection"), workplace=workplace)
    from ladingd.data.postgres.session import Address
    from ladingd.data.postgres.target import PostgresTarget

    return PostgresTarget(address=Address.of(connection), workplace=workplace, ledger_schema=connection.ledger_schema)


def source_of(connection: Connection) -> TableSource:
    """Where exports read."""
    if connection.scheme == "sqlite":
        from ladingd.data.sqlite.table_source import SqliteSource

        return SqliteSource(path=database_path(connection, "source.connection"))
    from ladingd.data.postgres.session import Address
    from ladingd.data.postgres.table_source import PostgresSource

    return PostgresSource(address=Address.of(connection))


def try_out(connection: Connection) -> Answer:
    """Reach the database, and change nothing in it. Raises TargetUnavailable, TargetRefused too."""
    if connection.scheme == "sqlite":
        from ladingd.data.sqlite import trial as sqlite

        return sqlite.try_out(database_path(connection, "url"))
    from ladingd.data.postgres import trial as postgres
    from ladingd.data.postgres.session import Address

    return postgres.try_out(Address.of(connection), connection.ledger_schema)
