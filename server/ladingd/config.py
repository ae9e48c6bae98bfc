"""The daemon's settings: from the environment, a TOML file and the defaults, in this order."""

from __future__ import annotations

import ipaddress
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from ladingd.core.access import Role
from ladingd.core.files import UPLOADS

SYSTEM_CONFIG = Path("/etc/lading/ladingd.toml")
ADDRESS = r"^(|[A-Za-z0-9.-]+:[0-9]{1,5}|\[[0-9a-fA-F:.]+\]:[0-9]{1,5})$"
NAME = r"^[a-z0-9][a-z0-9_-]*$"


class ConfigError(Exception):
    """The configuration is wrong; the text says where."""


class ConnectionSettings(BaseModel):
    """A database that jobs may name. ``url`` is ``sqlite:///`` and an absolute path, or one that libpq reads.

    The password of a database stands apart from the URL, in one of three places.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(pattern=r"^(sqlite:////?[^/]|postgres(ql)?://)")
    password_file: Path | None = None
    """A file with nothing but the password."""
    password_env: str = ""
    """The name of a variable in the daemon's environment."""
    password_credential: str = ""
    """The name of a systemd credential (LoadCredential=)."""
    ledger_schema: str = Field(default="lading", min_length=1, max_length=63)
    """The schema of PostgreSQL that the ledger of imports is kept in."""

    @model_validator(mode="after")
    def _secret_apart(self) -> Self:
        places = [self.password_file, self.password_env, self.password_credential]
        if sum(1 for place in places if place) > 1:
            raise ValueError("name one place of the password: password_file, password_env or password_credential")
        parts = urlsplit(self.url)
        if parts.password or "password" in parse_qs(parts.query):
            raise ValueError(
                "the url holds a password; name password_file, password_env or password_credential instead"
            )
        if parts.scheme == "sqlite" and any(places):
            raise ValueError("SQLite has no password")
        return self


class ClientSettings(BaseModel):
    """Who a client certificate stands for. Connections and roots are a submitter's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role
    connections: frozenset[str] = frozenset()
    roots: frozenset[str] = frozenset()


class TlsSettings(BaseModel):
    """Serving beyond the machine. There is no way to do so without TLS.

    A client shows a token at ``listen``, and a certificate of ``client_ca`` at ``listen_mutual``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: str = Field(default="", pattern=ADDRESS)
    """Host and port, as in 127.0.0.1:7443."""
    listen_mutual: str = Field(default="", pattern=ADDRESS)
    certificate: Path
    """PEM: the server's, and those between it and the authority. Read anew when it changes, like the others."""
    key: Path
    client_ca: Path | None = None
    clients: dict[str, ClientSettings] = {}
    """By the common name of the certificate. One that is not here has to show a token as well."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not (self.listen or self.listen_mutual):
            raise ValueError("nothing is served: name an address as listen, listen_mutual or both")
        if bool(self.listen_mutual) != (self.client_ca is not None):
            raise ValueError("listen_mutual and client_ca go together")
        if self.clients and not self.listen_mutual:
            raise ValueError("clients are known by their certificates, which only listen_mutual asks for")
        for path in (self.certificate, self.key, self.client_ca):
            if path is not None and not path.is_absolute():
                raise ValueError(f"{path} must be an absolute path")
        return self


class RetentionSettings(BaseModel):
    """How long what is over is kept, and how much of it. 0 means for ever, or all of it. Jobs that may still go on
    are never touched."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    jobs_days: int = Field(default=90, ge=0)
    """Days after which a FINISHED or CANCELED job is deleted, with its journal, its chunks and its rejects."""
    jobs_most: int = Field(default=100_000, ge=0)
    """How many FINISHED and CANCELED jobs are kept; the one that ended first goes first."""
    failed_days: int = Field(default=365, ge=0)
    """Days after which a FAILED job is deleted: until then it can still be started again."""
    files_bytes: int = Field(default=16 << 30, ge=0)
    """Bytes that the rejects of all jobs may take; beyond that FINISHED and CANCELED jobs are deleted, the one that
    ended first goes first."""
    changes_most: int = Field(default=100_000, ge=0)
    """How many of the latest changes of jobs are kept, which a watch that broke off can go on after."""
    audit_days: int = Field(default=365, ge=0)
    """Days after which an entry of the audit trail is forgotten."""
    audit_most: int = Field(default=1_000_000, ge=0)
    """How many entries of the audit trail are kept."""


class MetricsSettings(BaseModel):
    """Numbers for Prometheus, at ``/metrics``. They are for whoever can connect, hence never beyond the machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: str = Field(default="", pattern=ADDRESS)
    """Host and port of the loopback interface, as in 127.0.0.1:9464."""
    socket: Path | None = None
    """A Unix socket in the place of a port."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if bool(self.listen) == (self.socket is not None):
            raise ValueError("name one place to serve metrics at: listen or socket")
        if self.socket is not None and not self.socket.is_absolute():
            raise ValueError(f"{self.socket} must be an absolute path")
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

    model_config = SettingsConfigDict(env_prefix="LADINGD_", env_nested_delimiter="__", extra="forbid", frozen=True)

    state_dir: Path
    """Store, spools, rejects and locks. One daemon at a time."""
    socket: Path
    """The Unix socket that the daemon serves on."""
    socket_role: Literal["viewer", "operator", "admin", "none"] = "admin"
    """What is who can open the socket and shows no token. none: a token is needed here too."""
    tls: TlsSettings | None = None
    """Serving beyond the machine; off where it is not there."""
    slots: int = Field(default=4, ge=1)
    """Jobs that run side by side."""
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    """Worker processes, shared by all jobs. Each takes about 150 MB; more than there are cores gain nothing where the
    database is on the same machine."""
    workers_idle_exit: float = Field(default=60.0, gt=0)
    """How many seconds worker processes stay that have nothing to do. The next job starts them again, which takes half
    a second; without them the daemon takes half the memory."""
    shutdown_grace: float = Field(default=10.0, ge=0)
    """How long chunks in flight may take to finish on shutdown before they are killed."""
    cancel_grace: float = Field(default=10.0, ge=0)
    """The same on cancel, and after an error that stops the job. The job's journal shows the deadline."""
    pause_grace: float = Field(default=30.0, ge=0)
    """The same on pause; what was killed is done again when the job is started."""
    target_patience: float = Field(default=300.0, ge=0)
    """How long a running job tries to reach a target that is away before it is FAILED. 0: it does not try again."""
    idle_exit: float | None = Field(default=None, gt=0)
    """The daemon exits after this long without calls and work. None: never."""
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    log_format: Literal["auto", "text", "json", "journal"] = "auto"
    """The form of the log. auto: to systemd's journal where stderr is connected to it, as text to a terminal, as JSON
    lines elsewhere."""
    metrics: MetricsSettings | None = None
    """Metrics for Prometheus; off where it is not there."""
    connections: dict[Annotated[str, Field(pattern=NAME)], ConnectionSettings] = {}
    roots: dict[Annotated[str, Field(pattern=NAME)], Path] = {}
    """Directories that jobs may name files beneath."""
    upload_limit: int = Field(default=64 << 30, gt=0)
    """How many bytes a file that a client sends may have."""
    uploads_limit: int = Field(default=256 << 30, gt=0)
    """How many bytes all of them may have together."""
    disk_reserve: int = Field(default=64 << 20, ge=0)
    """Bytes that must be free on the disk of ``state_dir``. With fewer, running jobs are paused and nothing begins;
    with half as many again they go on by themselves. 0: jobs run until the disk is full."""
    retention: RetentionSettings = RetentionSettings()

    @field_validator("roots")
    @classmethod
    def _not_ours(cls, roots: dict[str, Path]) -> dict[str, Path]:
        if UPLOADS in roots:
            raise ValueError(f"the root {UPLOADS} is the daemon's own; give it another name")
        return roots

    @field_validator("state_dir", "socket")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        if not path.is_absolute():
            raise ValueError("must be an absolute path")
        return path

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, and both over what ``load`` passes as defaults."""
        return env_settings, TomlConfigSettingsSource(settings_cls), init_settings


def load(config: Path | None, *, user: bool) -> Settings:
    """The settings of the system's daemon or of the user's own. Raises ConfigError."""
    defaults = _user_defaults() if user else _system_defaults()
    file = config or (_xdg("XDG_CONFIG_HOME", ".config") / "lading/ladingd.toml" if user else SYSTEM_CONFIG)
    if config is not None and not config.is_file():
        raise ConfigError(f"there is no configuration file {config}")

    class Loaded(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        return Loaded(**defaults)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise ConfigError(f"{file}, or the environment, is not right:\n  " + "\n  ".join(lines)) from error
    except ValueError as error:
        raise ConfigError(f"{file} cannot be read as TOML: {error}") from error


def _system_defaults() -> dict[str, Any]:
    return {"state_dir": Path("/var/lib/lading"), "socket": Path("/run/lading/ladingd.sock")}


def _user_defaults() -> dict[str, Any]:
    state_dir = _xdg("XDG_STATE_HOME", ".local/state") / "lading"
    return {
        "state_dir": state_dir,
        "socket": user_runtime_dir() / "ladingd.sock",
        "idle_exit": 900.0,
        # `lading daemon logs` shows it to a person.
        "log_format": "text",
        "connections": {"local": {"url": f"sqlite:///{state_dir / 'local.db'}"}},
        "roots": {"local": Path("/")},
    }


def user_runtime_dir() -> Path:
    """Where the user's own daemon has its socket."""
    if (runtime := os.environ.get("XDG_RUNTIME_DIR", "")).startswith("/"):
        return Path(runtime) / "lading"
    return Path(tempfile.gettempdir()) / f"lading-{os.getuid()}"


def _xdg(variable: str, fallback: str) -> Path:
    # A relative path is to be ignored, says the XDG specification.
    directory = os.environ.get(variable, "")
    return Path(directory) if directory.startswith("/") else Path.home() / fallback
