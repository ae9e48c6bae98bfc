"""The databases that the daemon knows by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ladingd.core.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """A database by its name. A secret never stands in the URL."""

    name: str
    url: str


def database_path(connections: Mapping[str, Connection], name: str, field: str) -> Path:
    """The file of a SQLite connection. Raises InvalidSpec, naming ``field``."""
    connection = connections.get(name)
    if connection is None:
        known = ", ".join(sorted(connections)) or "none at all"
        raise InvalidSpec(field, f"there is no connection {name!r}; the daemon knows {known}")
    parts = urlsplit(connection.url)
    if parts.scheme != "sqlite":
        raise InvalidSpec(field, f"connection {name!r} is of the kind {parts.scheme!r}; only sqlite can be used yet")
    if parts.netloc or parts.query or not parts.path.startswith("/") or parts.path == "/":
        raise InvalidSpec(field, f"the url of connection {name!r} must read sqlite:///absolute/path")
    # SQLAlchemy's form has a fourth slash before an absolute path; both forms mean the same file here.
    return Path("/" + unquote(parts.path).lstrip("/"))
