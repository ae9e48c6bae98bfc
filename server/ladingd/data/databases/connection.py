"""The databases that the daemon knows by name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ladingd.core.errors import InvalidSpec, TargetRefused

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """A database and its name. A connection holds no secret: it only says where the secret can be read."""

    name: str
    url: str
    password_file: Path | None = None
    password_env: str = ""
    """The name of an environment variable of the daemon."""
    password_credential: str = ""
    """The name of a file beneath ``$CREDENTIALS_DIRECTORY``."""
    ledger_schema: str = "lading"
    """The schema that holds the ledger, in a database that has schemas."""
    hooks: bool = False
    """Whether jobs may run SQL before and after an import."""

    def password(self) -> str:
        """The current secret; empty if there is none. It is read each time, so that changes take effect.

        Raises TargetRefused.
        """
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
        return TargetRefused(f"the password of connection {self.name} is missing: {why}")


class ConnectionTable(Protocol):
    """A connection as the configuration describes it."""

    def model_dump(self) -> dict[str, Any]:
        """The fields of the connection, all but its name."""


def connections_of(tables: Mapping[str, ConnectionTable]) -> dict[str, Connection]:
    """The databases that jobs may name, from the configuration's tables by name."""
    return {name: Connection(name=name, **table.model_dump()) for name, table in tables.items()}


def find_connection(connections: Mapping[str, Connection], name: str, field: str) -> Connection:
    """The connection with this name. Raises InvalidSpec, which names ``field``."""
    connection = connections.get(name)
    if connection is None:
        known = ", ".join(sorted(connections)) or "none at all"
        raise InvalidSpec(field, f"there is no connection {name!r}; the daemon knows {known}")
    return connection
