"""Checks the files and directories that the settings name on this machine."""

from __future__ import annotations

import difflib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.config.certificates import faults
from ladingd.config.finding import ConfigError, Severity, in_order
from ladingd.config.loader import read
from ladingd.config.overlap import overlaps
from ladingd.config.side_by_side import TIMEOUT, side_by_side
from ladingd.core.access import Role
from ladingd.core.clock import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ladingd.config.finding import Finding
    from ladingd.config.loader import Source
    from ladingd.config.settings import ConnectionSettings, Settings

_MACHINE = Path("/")


def checked(config: Path | None, *, user: bool) -> tuple[Settings, tuple[Finding, ...]]:
    """The settings of the daemon, and warnings about them. Raises ConfigError."""
    settings, findings = examine(config, user=user)
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if errors or settings is None:
        raise ConfigError(errors)
    return settings, findings


def examine(config: Path | None, *, user: bool) -> tuple[Settings | None, tuple[Finding, ...]]:
    """All findings about a configuration, and its settings if they can be read."""
    reading = read(config, user=user)
    if reading.settings is None:
        return None, reading.findings
    around = _findings(reading.settings, reading.source, user=user)
    return reading.settings, in_order((*reading.findings, *around))


def _findings(settings: Settings, source: Source, *, user: bool) -> Iterator[Finding]:
    yield from _secrets(settings, source)
    yield from _tls(settings, source)
    looks = _looks(settings.roots)
    yield from _roots(settings, source, looks)
    places = {name: look.place for name, look in looks.items() if look.place != _MACHINE}
    yield from overlaps(settings, source, places)
    if not user:  # The user's own root is the whole machine, by default.
        yield from _machine_roots(source, looks)
    if settings.uploads_limit < settings.upload_limit:
        message = f"one upload may have {settings.upload_limit} bytes, but all uploads only {settings.uploads_limit}"
        yield source.finding(Severity.WARNING, ("uploads_limit",), message)


# Secrets


def _secrets(settings: Settings, source: Source) -> Iterator[Finding]:
    for name, connection in settings.connections.items():
        for severity, key, message in _of_secret(connection):
            yield source.finding(severity, ("connections", name, key), message)


def _of_secret(connection: ConnectionSettings) -> Iterator[tuple[Severity, str, str]]:
    if connection.password_env and connection.password_env not in os.environ:
        message = (
            f"the variable {connection.password_env} is not set; in a systemd unit: Environment= or EnvironmentFile="
        )
        yield Severity.ERROR, "password_env", message
    if path := connection.password_file:
        yield from ((severity, "password_file", message) for severity, message in _of_secret_file(path))
    if name := connection.password_credential:
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if directory is None:
            message = (
                f"the credential {name} cannot be checked outside the unit: $CREDENTIALS_DIRECTORY is not set; "
                f"systemd sets it for a unit with LoadCredential={name}:FILE"
            )
            yield Severity.WARNING, "password_credential", message
        elif not os.access(Path(directory) / name, os.R_OK):
            message = f"the unit has no credential {name}; to add it to the unit: LoadCredential={name}:FILE"
            yield Severity.ERROR, "password_credential", message


def _of_secret_file(path: Path) -> Iterator[tuple[Severity, str]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}; let the daemon's user read it"
        yield Severity.ERROR, message
        return
    if not content.strip():
        yield Severity.ERROR, f"{path} is empty: write the password in it"
    elif len(content.splitlines()) > 1:
        yield Severity.WARNING, f"{path} has several lines, and all of them form the password"
    if path.stat().st_mode & 0o007:
        yield Severity.WARNING, f"everybody on this machine may read {path}; to change that: chmod 640 {path}"


# TLS


def _tls(settings: Settings, source: Source) -> Iterator[Finding]:
    tls = settings.tls
    if tls is None:
        return
    for fault in faults(tls, utc_now()):
        yield source.finding(fault.severity, ("tls", fault.key), fault.message)
    for name, client in tls.clients.items():
        for key, named, known in (
            ("connections", client.connections, settings.connections),
            ("roots", client.roots, settings.roots),
        ):
            for stranger in sorted(named - known.keys()):
                message = f"there is no {key[:-1]} {stranger!r}{_nearest(stranger, known)}"
                yield source.finding(Severity.WARNING, ("tls", "clients", name, key), message)
        if client.role is Role.SUBMITTER and not client.connections:
            message = "a submitter without connections cannot create any job"
            yield source.finding(Severity.WARNING, ("tls", "clients", name), message)


def _nearest(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; there is {', '.join(sorted(known)) or 'none at all'}"


# Roots


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """What is at a path. ``problem`` is empty if it is a readable directory."""

    place: Path
    severity: Severity = Severity.WARNING
    problem: str = ""


def _roots(settings: Settings, source: Source, looks: Mapping[str, _Look]) -> Iterator[Finding]:
    """The state directory and the roots must not overlap. A right to one root must not give access to another."""
    state_dir = Path(os.path.realpath(settings.state_dir))
    for name, look in looks.items():
        if look.problem:
            yield source.finding(look.severity, ("roots", name), look.problem)
    places = {name: look.place for name, look in looks.items() if look.place != _MACHINE}
    for name, place in places.items():
        if place.is_relative_to(state_dir):
            message = f"{place} lies in state_dir ({state_dir}), which is the daemon's own: choose another directory"
            yield source.finding(Severity.ERROR, ("roots", name), message)
        elif state_dir.is_relative_to(place):
            message = f"state_dir ({state_dir}) lies beneath it: move one; jobs must not reach the daemon's files"
            yield source.finding(Severity.ERROR, ("roots", name), message)
        for other, beneath in places.items():
            if other != name and beneath.is_relative_to(place) and (beneath != place or other > name):
                message = f"the root {other} lies beneath it: whoever may use {name} reaches the files of {other} too"
                yield source.finding(Severity.WARNING, ("roots", name), message)


def _looks(roots: Mapping[str, Path]) -> dict[str, _Look]:
    seen = side_by_side(_look, roots)
    return {name: seen.get(name) or _no_answer(path) for name, path in roots.items()}


def _no_answer(path: Path) -> _Look:
    problem = f"{path} does not answer within {TIMEOUT:g} s: check its file system; jobs that name files there hang"
    return _Look(place=path, problem=problem)


def _look(path: Path) -> _Look:
    place = Path("/", os.path.realpath(path).lstrip("/"))  # POSIX lets "//" differ from "/"; here both are the same.
    try:
        mode = place.stat().st_mode
    except FileNotFoundError:
        # A disk may be mounted here later. All other jobs need not wait for it.
        return _Look(
            place=place, problem=f"{path} does not exist: jobs that name files there are refused until it does"
        )
    except OSError as error:
        return _Look(place=place, problem=f"{path} cannot be checked: {error.strerror}")
    if not stat.S_ISDIR(mode):
        return _Look(place=place, severity=Severity.ERROR, problem=f"{path} is not a directory")
    if not os.access(place, os.R_OK | os.X_OK):
        return _Look(place=place, problem=f"the user {os.getuid()} may not read {path}: imports from there are refused")
    return _Look(place=place)


def _machine_roots(source: Source, looks: Mapping[str, _Look]) -> Iterator[Finding]:
    for name, look in looks.items():
        if look.place == _MACHINE:
            message = (
                "it is the whole machine: jobs reach every file that the daemon's user can read or write, except the "
                "daemon's own files and its databases; name only the directories that jobs need"
            )
            yield source.finding(Severity.WARNING, ("roots", name), message)
