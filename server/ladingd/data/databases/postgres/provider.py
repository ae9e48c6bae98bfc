"""The provider of PostgreSQL, a database server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from ladingd.core.clock import utc_now
from ladingd.data.databases.provider import Answer, DatabaseProvider
from ladingd.host.user_places import home

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ladingd.data.databases.connection import Connection
    from ladingd.data.databases.row_source import RowSource
    from ladingd.data.databases.target import Target
    from ladingd.data.storage.work_dir import WorkDir

# The server's clock and version, and whether the ledger's schema exists or may be created.
_ABOUT = """
SELECT clock_timestamp(), current_setting('server_version'), pg_is_in_recovery(), current_user,
       EXISTS (SELECT FROM pg_namespace WHERE nspname = %s),
       has_database_privilege(current_database(), 'CREATE')
"""
_URL_FILES = ("passfile", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir")
"""Parameters of a URL that name files."""
_LIBPQ_FILES = {"PGPASSFILE": ".pgpass", "PGSERVICEFILE": ".pg_service.conf", "PGSSLKEY": ".postgresql"}
"""Files that libpq reads by default: their variables, and their names in the home directory if a variable is not
set."""


class PostgresProvider(DatabaseProvider):
    """PostgreSQL as a kind of database."""

    name = "PostgreSQL"
    schemes = ("postgresql", "postgres")
    url_form = "postgresql://user@host/database"
    has_password = True
    preload = ("ladingd.data.databases.postgres.target", "ladingd.data.databases.postgres.row_source")

    def check_url(self, url: str) -> None:
        if not url.startswith(tuple(f"{scheme}://" for scheme in self.schemes)):
            raise ValueError(f"must read {self.url_form}")

    def secret_files(self, url: str) -> Mapping[str, Path]:
        files = {}
        for variable, usual in _LIBPQ_FILES.items():
            # libpq uses HOME even if that is another user's home.
            usually = Path(os.environ.get("HOME") or home(os.environ, os.geteuid())) / usual
            files[f"what PostgreSQL's clients know as {variable}"] = Path(os.environ.get(variable) or usually)
        for key, value in parse_qsl(urlsplit(url).query):
            if key in _URL_FILES and value.startswith("/"):
                files[f"the {key}"] = Path(value)
        return files

    def target(self, connection: Connection, work_dir: WorkDir) -> Target:
        from ladingd.data.databases.postgres.session import Address
        from ladingd.data.databases.postgres.target import PostgresTarget

        return PostgresTarget(address=Address.of(connection), work_dir=work_dir, ledger_schema=connection.ledger_schema)

    def row_source(self, connection: Connection, work_dir: WorkDir) -> RowSource:
        from ladingd.data.databases.postgres.row_source import PostgresSource
        from ladingd.data.databases.postgres.session import Address

        return PostgresSource(address=Address.of(connection))

    def check(self, connection: Connection) -> Answer:
        from ladingd.data.databases.postgres.session import Address, connected

        schema = connection.ledger_schema
        with connected(Address.of(connection), read_only=True) as session:
            begin = utc_now()
            ((now, version, standby, account, has_ledger, may_create),) = session.rows(_ABOUT, (schema,))
            middle = begin + (utc_now() - begin) / 2
        reservation = ""
        if standby:
            reservation = "it is a standby, which takes no imports"
        elif not has_ledger and not may_create:
            reservation = (
                f"there is no schema {schema} for the ledger, and {account} may not create it; an administrator can "
                f'run: CREATE SCHEMA "{schema}" AUTHORIZATION "{account}"'
            )
        return Answer(
            server=f"PostgreSQL {version.split()[0]}", ahead=(now - middle).total_seconds(), reservation=reservation
        )
