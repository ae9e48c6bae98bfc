"""The source of a connection, whichever database it is. The one place that tells them apart for exports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.data.connection import database_path

if TYPE_CHECKING:
    from ladingd.data.connection import Connection
    from ladingd.data.table_source import TableSource


def source_of(connection: Connection) -> TableSource:
    """Raises InvalidSpec where the connection's URL cannot be, TargetRefused where its password cannot be read."""
    if connection.scheme == "sqlite":
        from ladingd.data.sqlite.table_source import SqliteSource

        return SqliteSource(path=database_path(connection, "source.connection"))
    from ladingd.data.postgres.session import Address
    from ladingd.data.postgres.table_source import PostgresSource

    return PostgresSource(address=Address.of(connection))
