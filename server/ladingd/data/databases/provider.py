"""Describes a kind of database without loading its driver."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ladingd.data.databases.connection import Connection
    from ladingd.data.databases.row_source import RowSource
    from ladingd.data.databases.target import Target
    from ladingd.data.storage.work_dir import WorkDir


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The answer of a database that could be reached."""

    server: str
    """Its kind and version."""
    ahead: float | None = None
    """How many seconds its clock is ahead of this machine's; None if it has no clock of its own."""
    reservation: str = ""
    """A problem that will make jobs fail although the database can be reached; empty if there is none."""


class DatabaseProvider(ABC):
    """One kind of database: its URLs, its files, and the way to its target and its row source.

    The daemon itself loads providers. A module with a provider must therefore not import a driver, pyarrow or DuckDB
    at its top; `target`, `row_source` and `check` run in worker processes and import what they need.
    """

    name: ClassVar[str]
    """The name of this kind of database for users."""
    schemes: ClassVar[tuple[str, ...]]
    """The schemes of its URLs, in lower case. Each scheme belongs to one provider."""
    url_form: ClassVar[str]
    """The form of its URLs, for messages: ``sqlite:///absolute/path``."""
    has_password: ClassVar[bool]
    """Whether a connection can have a password."""
    preload: ClassVar[tuple[str, ...]]
    """The modules that a worker process loads before its first call."""

    @abstractmethod
    def check_url(self, url: str) -> None:
        """Raise ValueError if the URL is malformed. The URL has one of the schemes. The message does not repeat the
        URL."""

    def database_file(self, url: str) -> Path | None:
        """The file that holds the whole database; None for a database on a server."""
        return None

    def files_beside(self) -> Mapping[str, str]:
        """The files that the database keeps beside its file: the suffix of each name, and a description."""
        return {}

    def secret_files(self, url: str) -> Mapping[str, Path]:
        """The files with secrets that the driver reads itself, by description."""
        return {}

    @abstractmethod
    def target(self, connection: Connection, work_dir: WorkDir) -> Target:
        """The target of imports. Raises TargetRefused if the password cannot be read."""

    @abstractmethod
    def row_source(self, connection: Connection, work_dir: WorkDir) -> RowSource:
        """The source of exports. Raises TargetRefused if the password cannot be read."""

    @abstractmethod
    def check(self, connection: Connection) -> Answer:
        """Connect to the database without changing it. Raises TargetUnavailable, TargetRefused."""


class FileDatabaseProvider(DatabaseProvider):
    """A kind of database in which one file holds everything. Its URLs end with an absolute path."""

    has_password = False

    def check_url(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.query or parts.fragment:
            raise ValueError(f"the url of {self.name} ends with the path: write %3F for ? and %23 for # in it")
        if parts.netloc or not parts.path.startswith("/") or not parts.path.strip("/"):
            raise ValueError(f"must read {self.url_form}")

    def database_file(self, url: str) -> Path:
        # SQLAlchemy's URLs have a fourth slash before an absolute path. Both forms mean the same file here.
        return Path("/" + unquote(urlsplit(url).path).lstrip("/"))
