"""Upgrades the schema of a store to this version of the program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from ladingd.core.errors import StoreUnusable

if TYPE_CHECKING:
    from sqlalchemy import Connection

HEAD = "0010"
"""The newest migration in ``migrations/versions``. The numbers of migrations sort as text."""

_SCRIPTS = Path(__file__).parent / "migrations"


def is_current(connection: Connection, path: Path) -> bool:
    """Whether the schema is current. Raises StoreUnusable for a newer store and for another program's database."""
    tables = inspect(connection).get_table_names()
    if "alembic_version" not in tables:
        if tables:
            raise StoreUnusable(path, f"it is a database, but not a store of Lading: it has a table {tables[0]}")
        return False
    version = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if version is not None and version > HEAD:
        raise StoreUnusable(
            path, f"its schema {version} is newer than {HEAD}, the newest that this program knows; use a newer Lading"
        )
    return bool(version == HEAD)


def upgrade(connection: Connection, path: Path) -> None:
    """Run the missing migrations in the open transaction of the connection."""
    if is_current(connection, path):
        return
    # Imported here: importing Alembic takes longer than opening a store, and few starts need it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
