"""The databases that the daemon knows by name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ladingd.core.errors import InvalidSpec, TargetRefused

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """A database by its name. A secret never stands in it: only where one is to be read when it is needed."""

    name: str
    url: str
    password_file: Path | None = None
    password_env: str = ""
    """The name of an environment variable of the daemon."""
    password_credential: str = ""
    """The name of a file beneath ``$CREDENTIALS_DIRECTORY``."""
    ledger_schema: str = "lading"
    """Where PostgreSQL keeps the ledger."""

    @property
    def scheme(self) -> str:
        """Which database it is: ``sqlite`` or ``postgresql``."""
        scheme = urlsplit(self.url).scheme
        return "postgresql" if scheme == "postgres" else scheme

    def password(self) -> str:
        """Read the secret anew, so that a changed one is found; empty where there is none. Raises TargetRefused."""
        if self.password_env:
            secret = os.environ.get(self.password_env)
            if secret is None:
                raise self._lacks(f"the daemon's environment has no {self.password_env}")
            return secret
        path = self.password_file
        if self.password_credential:
            directory = os.environ.get("CREDENTIALS_DIRECTORY")
            if directory is None:
                raise self._lacks("$CREDENTIALS_DIRECTORY is not set; systemd sets it for LoadCredential=")
            path = Path(directory) / self.password_credential
        if path is None:
            return ""
        try:
            return path.read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise self._lacks(f"{path} cannot be read: {reason}") from None

    def _lacks(self, why: str) -> TargetRefused:
        return TargetRefused(f"the password of connection {self.name} is not there: {why}")


def find_connection(connections: Mapping[str, Connection], name: str, field: str) -> Connection:
    """The connection of this name. Raises InvalidSpec, naming ``field``."""
    connection = connections.get(name)
    if connection is None:
        known = ", ".join(sorted(connections)) or "none at all"
        raise InvalidSpec(field, f"there is no connection {name!r}; the daemon knows {known}")
    return connection


def database_path(connection: Connection, field: str) -> Path:
    """The file of a SQLite connection. Raises InvalidSpec, naming ``field``."""
    parts = urlsplit(connection.url)
    if parts.netloc or parts.query or not parts.path.startswith("/") or parts.path == "/":
        raise InvalidSpec(field, f"the url of connection {connection.name!r} must read sqlite:///absolute/path")
    # SQLAlchemy's form has a fourth slash before an absolute path; both forms mean the same file here.
    return Path("/" + unquote(parts.path).lstrip("/"))
