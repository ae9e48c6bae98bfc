"""What can be set, by which key, in which limits and with which default.

The docstrings here are what ``ladingd config init`` writes beside the keys, and ``examples`` what it shows of a key
that has no default.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ladingd.core.access import SOCKET, Role
from ladingd.core.files import UPLOADS
from ladingd.data.databases.registry import provider_of
from ladingd.host.user_places import config_directory, state_directory

SYSTEM_CONFIG = Path("/etc/lading/ladingd.toml")
ADDRESS = r"^(|[A-Za-z0-9.-]+:[0-9]{1,5}|\[[0-9a-fA-F:.]+\]:[0-9]{1,5})$"
NAME = r"^[a-z0-9][a-z0-9_-]*$"
PREFIX = "LADINGD_"
DELIMITER = "__"


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    if "\0" in str(path):
        raise ValueError("must not hold a null character")
    return path


def _not_ours(root: str) -> str:
    if root == UPLOADS:
        raise ValueError(f"the root {UPLOADS} is the daemon's own; give it another name")
    return root


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Name = Annotated[str, Field(pattern=NAME)]


class Table(BaseModel):
    """A table of the file. What is not known in it is refused, and no message repeats a value: it may be a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)


class ConnectionSettings(Table):
    """A database that jobs may name. Its password stands apart from the URL, in one of three places."""

    url: str = Field(examples=["postgresql://lading@db.example.org/warehouse"])
    """sqlite:/// or duckdb:/// and an absolute path, or a URL as PostgreSQL's own programs take it."""
    password_file: AbsolutePath | None = Field(default=None, examples=["/etc/lading/warehouse"])
    """A file with nothing but the password, read anew for each connection."""
    password_env: str = ""
    """The name of a variable in the daemon's environment."""
    password_credential: str = ""
    """The name of a systemd credential (LoadCredential=)."""
    ledger_schema: str = Field(default="lading", min_length=1, max_length=63)
    """The schema of PostgreSQL or DuckDB that holds the ledger of imports. The first job creates it."""

    @field_validator("url")
    @classmethod
    def _secret_apart(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.password or "password" in parse_qs(parts.query):
            raise ValueError(
                "the url holds a password; name password_file, password_env or password_credential instead"
            )
        provider_of(url).check_url(url)
        return url

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        places = [self.password_file, self.password_env, self.password_credential]
        if sum(1 for place in places if place) > 1:
            raise ValueError("name one place of the password: password_file, password_env or password_credential")
        provider = provider_of(self.url)
        if any(places) and not provider.has_password:
            raise ValueError(f"{provider.name} has no password")
        return self


class ClientSettings(Table):
    """Who shows a certificate with this common name. One that is not here has to show a token as well."""

    role: Role = Field(examples=["operator"])
    """What the client may do."""
    connections: frozenset[str] = frozenset()
    """The connections that a submitter may use."""
    roots: frozenset[str] = frozenset()
    """The roots that a submitter may use."""


class TlsSettings(Table):
    """Serving beyond the machine, over TCP; there is no way to do so without TLS. Without this table there is the Unix
    socket alone."""

    listen: str = Field(default="", pattern=ADDRESS, examples=["0.0.0.0:7443"])
    """Host and port for clients that show a token."""
    listen_mutual: str = Field(default="", pattern=ADDRESS, examples=["0.0.0.0:7444"])
    """Host and port for clients that show a certificate of client_ca."""
    certificate: AbsolutePath = Field(examples=["/etc/lading/server.pem"])
    """PEM: the server's certificate, and those between it and the authority. Like the key and client_ca it is read anew
    when the file changes."""
    key: AbsolutePath = Field(examples=["/etc/lading/server.key"])
    """PEM: the key of the certificate, without a passphrase."""
    client_ca: AbsolutePath | None = Field(default=None, examples=["/etc/lading/clients.pem"])
    """PEM: the authority that signs the certificates of clients; goes with listen_mutual."""
    clients: dict[str, ClientSettings] = Field(default={}, examples=[{"robot": {}}])
    """Clients by the common name of their certificate."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not (self.listen or self.listen_mutual):
            raise ValueError("nothing is served: name an address as listen, listen_mutual or both")
        if bool(self.listen_mutual) != (self.client_ca is not None):
            raise ValueError("listen_mutual and client_ca go together")
        if self.clients and not self.listen_mutual:
            raise ValueError("clients are known by their certificates, which only listen_mutual asks for")
        if SOCKET in self.clients:
            raise ValueError(f"the name {SOCKET} is reserved for local users without a token: rename this client")
        return self


class RetentionSettings(Table):
    """How long what is over is kept, and how much of it. 0 means for ever, or all of it. Jobs that may still go on
    are never touched."""

    jobs_days: int = Field(default=90, ge=0, le=100_000)
    """Days after which a FINISHED or CANCELED job is deleted, with its journal, its chunks and its rejects."""
    jobs_most: int = Field(default=100_000, ge=0)
    """How many FINISHED and CANCELED jobs are kept; the one that ended first goes first."""
    failed_days: int = Field(default=365, ge=0, le=100_000)
    """Days after which a FAILED job is deleted: until then it can still be started again."""
    files_bytes: int = Field(default=16 << 30, ge=0)
    """Bytes that the rejects of all jobs may take; beyond that FINISHED and CANCELED jobs are deleted, the one that
    ended first goes first."""
    changes_most: int = Field(default=100_000, ge=0)
    """How many of the latest changes of jobs are kept, which a watch that broke off can go on after."""
    audit_days: int = Field(default=365, ge=0, le=100_000)
    """Days after which an entry of the audit trail is forgotten."""
    audit_most: int = Field(default=1_000_000, ge=0)
    """How many entries of the audit trail are kept."""


class MetricsSettings(Table):
    """Numbers for Prometheus, at /metrics. They are for whoever can connect, hence never beyond the machine."""

    listen: str = Field(default="", pattern=ADDRESS, examples=["127.0.0.1:9464"])
    """Host and port of the loopback interface."""
    socket: AbsolutePath | None = Field(default=None, examples=["/run/lading/metrics.sock"])
    """A Unix socket."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if not self.listen and self.socket is None:
            raise ValueError("name a place to serve metrics at: listen, socket or both")
        if self.listen and not _is_loopback(self.listen):
            raise ValueError(
                f"metrics go without TLS and tokens, so only to 127.0.0.1, [::1] or localhost, not to {self.listen};"
                " let a proxy that asks who comes carry them further"
            )
        return self


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Settings(BaseSettings):
    """What a daemon needs to know before it starts. Times are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    state_dir: AbsolutePath
    """Store, spools, rejects and locks. One daemon at a time."""
    socket: AbsolutePath
    """The Unix socket that the daemon serves on. Where it is, the file daemon.json in state_dir says; the user's own
    daemon takes a short private directory where the path is too long for a socket."""
    socket_role: Literal["viewer", "operator", "admin", "none"] = "admin"
    """What is who can open the socket and shows no token. none: a token is needed here too."""
    tls: TlsSettings | None = None
    """Serving beyond the machine; off where it is not there."""
    slots: int = Field(default=4, ge=1)
    """Jobs that run side by side."""
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    """Worker processes, shared by all jobs; one for each core where nothing is said. Each takes about 150 MB; more than
    there are cores gain nothing where the database is on the same machine."""
    workers_idle_exit: float = Field(default=60.0, gt=0)
    """How many seconds worker processes stay that have nothing to do. The next job starts them again, which takes half
    a second; without them the daemon takes half the memory."""
    shutdown_grace: float = Field(default=10.0, ge=0)
    """How many seconds chunks in flight may take to finish on shutdown before they are killed."""
    cancel_grace: float = Field(default=10.0, ge=0)
    """The same seconds on cancel, and after an error that stops the job. The job's journal shows the deadline."""
    pause_grace: float = Field(default=30.0, ge=0)
    """The same seconds on pause; what was killed is done again when the job is started."""
    target_patience: float = Field(default=300.0, ge=0)
    """How many seconds a running job tries to reach a target that is away before it is FAILED. 0: it does not try
    again."""
    idle_exit: float | None = Field(default=None, gt=0, examples=[900.0])
    """The daemon exits after so many seconds without calls and work. Not set: never."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least that is logged."""
    log_format: Literal["auto", "text", "json", "journal"] = "auto"
    """The form of the log. auto: to systemd's journal where stderr is connected to it, as text to a terminal, as JSON
    lines elsewhere."""
    metrics: MetricsSettings | None = None
    """Metrics for Prometheus; off where it is not there."""
    connections: dict[Name, ConnectionSettings] = Field(default={}, examples=[{"warehouse": {}}])
    """Databases that jobs may name."""
    roots: dict[Annotated[Name, AfterValidator(_not_ours)], AbsolutePath] = Field(
        default={}, examples=[{"inbox": "/srv/inbox"}]
    )
    """Directories that jobs may name files beneath, each by its name. They stand apart from each other and from
    state_dir."""
    upload_limit: int = Field(default=64 << 30, gt=0)
    """How many bytes a file that a client sends may have."""
    uploads_limit: int = Field(default=256 << 30, gt=0)
    """How many bytes all files that clients sent may have together, with the exports that they are to fetch."""
    disk_reserve: int = Field(default=64 << 20, ge=0)
    """Bytes that must be free on the disk of state_dir. With fewer, running jobs are paused and nothing begins; with
    half as many again they go on by themselves. 0: jobs run until the disk is full."""
    retention: RetentionSettings = RetentionSettings()
    """What is over and how long it is kept."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over what the file says."""
        return env_settings, init_settings


def config_file(config: Path | None, *, user: bool) -> Path:
    """The file that is read where none, or this one, is named."""
    return config or (config_directory(os.environ, os.geteuid()) / "ladingd.toml" if user else SYSTEM_CONFIG)


def missing(path: Path) -> bool:
    """Whether nothing is there. What cannot be seen may be."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def defaults(*, user: bool) -> dict[str, Any]:
    """What holds for the system's daemon or the user's own where neither file nor environment says another thing."""
    return _user_defaults() if user else _system_defaults()


def _system_defaults() -> dict[str, Any]:
    return {"state_dir": Path("/var/lib/lading"), "socket": Path("/run/lading/ladingd.sock")}


def _user_defaults() -> dict[str, Any]:
    state_dir = state_directory(os.environ, os.geteuid())
    return {
        "state_dir": state_dir,
        "socket": state_dir / "ladingd.sock",
        "idle_exit": 900.0,
        # `lading daemon logs` shows it to a person.
        "log_format": "text",
        "connections": {"local": {"url": f"sqlite:///{state_dir / 'local.db'}"}},
        "roots": {"local": Path("/")},
    }
