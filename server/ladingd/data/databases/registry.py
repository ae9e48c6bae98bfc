"""The list of all kinds of databases. No other module names a kind."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from ladingd.data.databases.connection import Connection
    from ladingd.data.databases.provider import Answer, DatabaseProvider
    from ladingd.data.databases.row_source import RowSource
    from ladingd.data.databases.target import Target
    from ladingd.data.storage.work_dir import WorkDir

PROVIDERS = (
    "ladingd.data.databases.sqlite.provider:SqliteProvider",
    "ladingd.data.databases.postgres.provider:PostgresProvider",
    "ladingd.data.databases.duckdb.provider:DuckdbProvider",
)
"""The providers as ``module:class``. A new kind of database is a folder beside this file, and a line here."""


@cache
def providers() -> tuple[DatabaseProvider, ...]:
    """One provider of each kind."""
    made = []
    for place in PROVIDERS:
        module, _, name = place.partition(":")
        made.append(getattr(import_module(module), name)())
    return tuple(made)


def provider_of(url: str) -> DatabaseProvider:
    """The provider for a URL. Raises ValueError, without the URL in the message, if no provider has its scheme."""
    scheme = urlsplit(url).scheme
    for provider in providers():
        if scheme in provider.schemes:
            return provider
    raise ValueError(f"must read {' or '.join(provider.url_form for provider in providers())}")


def target_of(connection: Connection, work_dir: WorkDir) -> Target:
    """The target of imports through a connection. Raises TargetRefused if its password cannot be read."""
    return provider_of(connection.url).target(connection, work_dir)


def source_of(connection: Connection, work_dir: WorkDir) -> RowSource:
    """The source of exports through a connection. Raises TargetRefused if its password cannot be read."""
    return provider_of(connection.url).row_source(connection, work_dir)


def check(connection: Connection) -> Answer:
    """Connect to a database without changing it. Raises TargetUnavailable, TargetRefused."""
    return provider_of(connection.url).check(connection)


def preload() -> tuple[str, ...]:
    """The modules that a worker process loads before its first call."""
    return tuple(module for provider in providers() for module in provider.preload)
