"""The files that belong to a daemon with these settings, each with its description."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.config.side_by_side import side_by_side
from ladingd.data.databases.registry import provider_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ladingd.config.settings import Settings

_UNITS = tuple(map(Path, ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system")))


def own_files(settings: Settings, config: Path) -> dict[str, Path]:
    """All of the daemon's own files. A directory stands for everything beneath it. Some files may not exist."""
    return {**daemon_files(settings, config), **_database_files(settings)}


def daemon_files(settings: Settings, config: Path) -> dict[str, Path]:
    """The files of the daemon itself, and the files with secrets."""
    return {
        "the daemon's state directory": settings.state_dir,
        "the daemon's configuration": config,
        "the daemon's socket": settings.socket,
        "the lock of the daemon's socket": settings.socket.with_name(f"{settings.socket.name}.lock"),
        "the daemon's program": Path(__file__).parents[1],
        **dict(_units()),
        **dict(_served(settings)),
        **dict(_secrets(settings)),
    }


def databases(settings: Settings) -> dict[str, Path]:
    """The database files, by the names of their connections."""
    found = {name: provider_of(one.url).database_file(one.url) for name, one in settings.connections.items()}
    return {name: path for name, path in found.items() if path is not None}


def _database_files(settings: Settings) -> dict[str, Path]:
    files: dict[str, Path] = {}
    found = databases(settings)
    # If the path is a link, the other files are beside the file that it leads to. A reload calls this on the loop.
    leads_to = side_by_side(os.path.realpath, found)
    for name, path in found.items():
        files[f"the database of connection {name!r}"] = path
        beside = provider_of(settings.connections[name].url).files_beside()
        for place in dict.fromkeys((path, Path(leads_to.get(name, path)))):
            said = f" at {place}" if place != path else ""
            for end, what in beside.items():
                files[f"{what} of connection {name!r}{said}"] = place.with_name(place.name + end)
    return files


def _units() -> Iterator[tuple[str, Path]]:
    for directory in _UNITS:
        yield f"the daemon's unit in {directory}", directory / "ladingd.service"
        yield f"the drop-ins of the daemon's unit in {directory}", directory / "ladingd.service.d"


def _served(settings: Settings) -> Iterator[tuple[str, Path]]:
    if settings.metrics is not None and settings.metrics.socket is not None:
        yield "the socket of the daemon's metrics", settings.metrics.socket
    if settings.tls is not None:
        yield "the daemon's certificate", settings.tls.certificate
        yield "the key of the daemon's certificate", settings.tls.key
        if settings.tls.client_ca is not None:
            yield "the authority of the daemon's clients", settings.tls.client_ca


def _secrets(settings: Settings) -> Iterator[tuple[str, Path]]:
    if credentials := os.environ.get("CREDENTIALS_DIRECTORY"):
        yield "the daemon's credentials", Path(credentials)
    for name, connection in settings.connections.items():
        if connection.password_file is not None:
            yield f"the password of connection {name!r}", connection.password_file
        for what, path in provider_of(connection.url).secret_files(connection.url).items():
            yield f"{what} of connection {name!r}", path
