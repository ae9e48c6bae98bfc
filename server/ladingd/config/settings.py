"""The keys of the configuration, with their limits and defaults.

``ladingd config init`` writes these docstrings beside the keys. For a key without a default it shows ``examples``.
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
        raise ValueError("must not contain a null character")
    return path


def _not_ours(root: str) -> str:
    if root == UPLOADS:
        raise ValueError(f"the root {UPLOADS} is the daemon's own; give it another name")
    return root


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Name = Annotated[str, Field(pattern=NAME)]


class Table(BaseModel):
    """A table of the file. Unknown keys are refused. No message repeats a value, which may be a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)


class ConnectionSettings(Table):
    """A database that jobs may name. Its password is not in the URL but in one of three places."""

    url: str = Field(examples=["postgresql://lading@db.example.org/warehouse"])
    """A URL as PostgreSQL's own programs take it, or sqlite:/// or duckdb:/// with an absolute path."""
    password_file: AbsolutePath | None = Field(default=None, examples=["/etc/lading/warehouse"])
    """A file that holds only the password. It is read again for each connection."""
    password_env: str = ""
    """The name of a variable in the daemon's environment that holds the password."""
    password_credential: str = ""
    """The name of a systemd credential (LoadCredential=) that holds the password."""
    ledger_schema: str = Field(default="lading", min_length=1, max_length=63)
    """The schema of PostgreSQL or DuckDB that holds the ledger of imports. The first job creates it."""
    hooks: bool = False
    """Whether imports may run SQL of their own before and after they load records (--before, --after). Everybody who
    may import through this connection may then do all that its account may do in the database."""

    @field_validator("url")
    @classmethod
    def _secret_apart(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.password or "password" in parse_qs(parts.query):
            raise ValueError(
                "the url contains a password; set password_file, password_env or password_credential instead"
            )
        provider_of(url).check_url(url)
        return url

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        places = [self.password_file, self.password_env, self.password_credential]
        if sum(1 for place in places if place) > 1:
            raise ValueError("set only one of password_file, password_env and password_credential")
        provider = provider_of(self.url)
        if any(places) and not provider.has_password:
            raise ValueError(f"{provider.name} does not use a password")
        return self


class ClientSettings(Table):
    """A client whose certificate has this common name. A client that is not listed must also show a token."""

    role: Role = Field(examples=["operator"])
    """The role of the client."""
    connections: frozenset[str] = frozenset()
    """The connections that a submitter may use."""
    roots: frozenset[str] = frozenset()
    """The roots that a submitter may use."""


class TlsSettings(Table):
    """Serving other machines over TCP, always with TLS. Without this table, the daemon serves only its Unix socket."""

    listen: str = Field(default="", pattern=ADDRESS, examples=["0.0.0.0:7443"])
    """Host and port for clients that show a token."""
    listen_mutual: str = Field(default="", pattern=ADDRESS, examples=["0.0.0.0:7444"])
    """Host and port for clients that show a certificate of client_ca."""
    certificate: AbsolutePath = Field(examples=["/etc/lading/server.pem"])
    """PEM: the server's certificate and its intermediate certificates. The daemon reads this file, the key and
    client_ca again when they change."""
    key: AbsolutePath = Field(examples=["/etc/lading/server.key"])
    """PEM: the key of the certificate, without a passphrase."""
    client_ca: AbsolutePath | None = Field(default=None, examples=["/etc/lading/clients.pem"])
    """PEM: the authority that signs the certificates of clients. Required with listen_mutual."""
    clients: dict[str, ClientSettings] = Field(default={}, examples=[{"robot": {}}])
    """Clients by the common name of their certificate."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not (self.listen or self.listen_mutual):
            raise ValueError("no address is set: set listen, listen_mutual or both")
        if bool(self.listen_mutual) != (self.client_ca is not None):
            raise ValueError("set both listen_mutual and client_ca, or neither")
        if self.clients and not self.listen_mutual:
            raise ValueError("clients need listen_mutual: only this address asks for their certificates")
        if SOCKET in self.clients:
            raise ValueError(f"the name {SOCKET} is reserved for local users without a token: rename this client")
        return self


class RetentionSettings(Table):
    """How long ended jobs and their data are kept, and how many. 0 means no limit. A job that may still run is never
    deleted."""

    jobs_days: int = Field(default=90, ge=0, le=100_000)
    """Days after which a FINISHED or CANCELED job is deleted, with its journal, its chunks and its rejects."""
    jobs_most: int = Field(default=100_000, ge=0)
    """How many FINISHED and CANCELED jobs are kept; the one that ended first is deleted first."""
    failed_days: int = Field(default=365, ge=0, le=100_000)
    """Days after which a FAILED job is deleted. Until then it can be started again."""
    files_bytes: int = Field(default=16 << 30, ge=0)
    """Bytes that the rejects of all jobs may take. Beyond that, FINISHED and CANCELED jobs are deleted, the one that
    ended first before the others."""
    changes_most: int = Field(default=100_000, ge=0)
    """How many of the latest changes of jobs are kept. A watch can resume from any of them."""
    audit_days: int = Field(default=365, ge=0, le=100_000)
    """Days after which an entry of the audit trail is deleted."""
    audit_most: int = Field(default=1_000_000, ge=0)
    """How many entries of the audit trail are kept."""


class MetricsSettings(Table):
    """Metrics for Prometheus, at /metrics. Everybody who can connect reads them, so other machines cannot connect."""

    listen: str = Field(default="", pattern=ADDRESS, examples=["127.0.0.1:9464"])
    """Host and port of the loopback interface."""
    socket: AbsolutePath | None = Field(default=None, examples=["/run/lading/metrics.sock"])
    """A Unix socket."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if not self.listen and self.socket is None:
            raise ValueError("no address is set for metrics: set listen, socket or both")
        if self.listen and not _is_loopback(self.listen):
            raise ValueError(
                f"metrics have no TLS and no tokens: use 127.0.0.1, [::1] or localhost instead of {self.listen};"
                " for other machines, put an authenticating proxy in front"
            )
        return self


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Settings(BaseSettings):
    """The settings of a daemon. Times are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    state_dir: AbsolutePath
    """The directory of the store, spools, rejects and locks. Only one daemon can use it at a time."""
    socket: AbsolutePath
    """The Unix socket that the daemon serves on. The file daemon.json in state_dir holds its path. If the path is too
    long for a socket, the user's own daemon uses a short private directory."""
    socket_role: Literal["viewer", "operator", "admin", "none"] = "admin"
    """The role of local users without a token. none: they need a token too."""
    tls: TlsSettings | None = None
    """Serving other machines over TLS. Default: off."""
    slots: int = Field(default=4, ge=1)
    """Jobs that run side by side."""
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    """Worker processes, shared by all jobs. Default: one for each core. Each takes about 150 MB. If the database is on
    the same machine, more workers than cores gain nothing."""
    workers_idle_exit: float = Field(default=60.0, gt=0)
    """Seconds after which an idle worker process ends. The next job starts the workers again, which takes half a
    second. Without workers, the daemon takes half the memory."""
    shutdown_grace: float = Field(default=10.0, ge=0)
    """Seconds that chunks in flight may take to finish at a shutdown before they are killed."""
    cancel_grace: float = Field(default=10.0, ge=0)
    """The same for a cancel, and after an error that stops the job. The job's journal shows the deadline."""
    pause_grace: float = Field(default=30.0, ge=0)
    """The same for a pause. A killed chunk is repeated when the job is started again."""
    target_patience: float = Field(default=300.0, ge=0)
    """Seconds that a running job tries to reach an unreachable target before the job becomes FAILED. 0: it does not
    retry."""
    idle_exit: float | None = Field(default=None, gt=0, examples=[900.0])
    """Seconds without calls and work after which the daemon exits. Not set: never."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The lowest level that is logged."""
    log_format: Literal["auto", "text", "json", "journal"] = "auto"
    """The form of the log. auto: systemd's journal if stderr is connected to it, text on a terminal, JSON lines
    elsewhere."""
    metrics: MetricsSettings | None = None
    """Metrics for Prometheus. Default: off."""
    connections: dict[Name, ConnectionSettings] = Field(default={}, examples=[{"warehouse": {}}])
    """Databases that jobs may name."""
    roots: dict[Annotated[Name, AfterValidator(_not_ours)], AbsolutePath] = Field(
        default={}, examples=[{"inbox": "/srv/inbox"}]
    )
    """Named directories. Jobs may use the files beneath them. They must not overlap each other or state_dir."""
    upload_limit: int = Field(default=64 << 30, gt=0)
    """The largest file that a client may upload, in bytes."""
    uploads_limit: int = Field(default=256 << 30, gt=0)
    """Bytes that all uploads may take together, including the exports that clients will download."""
    disk_reserve: int = Field(default=64 << 20, ge=0)
    """Bytes that must be free on the disk of state_dir. With fewer, running jobs are paused and no job begins. With one
    and a half times as many, paused jobs continue by themselves. 0: jobs run until the disk is full."""
    retention: RetentionSettings = RetentionSettings()
    """How long ended jobs and their data are kept."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment overrides the file."""
        return env_settings, init_settings


def config_file(config: Path | None, *, user: bool) -> Path:
    """The configuration file: the given one, or else the default one."""
    return config or (config_directory(os.environ, os.geteuid()) / "ladingd.toml" if user else SYSTEM_CONFIG)


def missing(path: Path) -> bool:
    """Whether the path does not exist. A path that cannot be checked counts as existing."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def defaults(*, user: bool) -> dict[str, Any]:
    """The defaults of the system's daemon or of the user's own."""
    return _user_defaults() if user else _system_defaults()


def _system_defaults() -> dict[str, Any]:
    return {"state_dir": Path("/var/lib/lading"), "socket": Path("/run/lading/ladingd.sock")}


def _user_defaults() -> dict[str, Any]:
    state_dir = state_directory(os.environ, os.geteuid())
    return {
        "state_dir": state_dir,
        "socket": state_dir / "ladingd.sock",
        "idle_exit": 900.0,
        # `lading daemon logs` shows the log to a person.
        "log_format": "text",
        # The database and the daemon belong to the same user, so hooks give nobody new rights.
        "connections": {"local": {"url": f"sqlite:///{state_dir / 'local.db'}", "hooks": True}},
        "roots": {"local": Path("/")},
    }
