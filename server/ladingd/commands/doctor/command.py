"""Runs all checks of the doctor and prints the page."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from ladingd.commands.connections import try_all
from ladingd.commands.doctor import machine, places, serving
from ladingd.commands.doctor.report import Chapter, Line, Verdict, facts, fail, healthy, ok, page, warn
from ladingd.commands.doctor.store import store
from ladingd.config.finding import Severity
from ladingd.config.settings import config_file, missing
from ladingd.config.surroundings import examine
from ladingd.core.errors import LadingError, TargetUnavailable
from ladingd.host.instance_lock import record_in

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ladingd.config import Settings
    from ladingd.config.finding import Finding

SKEW = 2.0
"""Seconds that clocks may differ."""


def run(arguments: argparse.Namespace) -> int:
    """Run all checks and print the page. Returns 1 if a check fails."""
    chapters = list(_round(arguments.config, user=arguments.user))
    if arguments.output == "json":
        sys.stdout.write(json.dumps(facts(chapters)) + "\n")
    else:
        colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        sys.stdout.writelines(f"{line}\n" for line in page(chapters, colours=colours))
    return 0 if healthy(chapters) else 1


def _round(config: Path | None, *, user: bool) -> Iterator[Chapter]:
    yield "Versions", list(machine.versions())
    settings, findings = examine(config, user=user)
    yield "Configuration", list(_configuration(config_file(config, user=user), settings, findings))
    if settings is not None:
        socket = _socket(settings)
        found = serving.find(socket)
        running = isinstance(found, serving.Daemon)
        pid = found.pid if isinstance(found, serving.Daemon) else None
        yield "Paths", list(places.paths(settings, socket, user=user))
        yield "Daemon", list(serving.serving(settings, socket, found, user=user))
        yield "Store", list(store(settings, running=running))
        stranger = os.geteuid() != places.daemon_user(settings.state_dir)
        yield "Connections", list(_connections(settings, stranger=stranger))
        yield "Limits", list(machine.limits(settings, pid))
    yield "Clock", list(machine.clock())
    if not user:
        yield "systemd", list(machine.systemd())


def _socket(settings: Settings) -> Path:
    """The socket of the daemon that holds the state directory, or else the socket that a new daemon would use."""
    record = record_in(settings.state_dir)
    return settings.socket if record is None else record.socket


def _configuration(file: Path, settings: Settings | None, findings: Sequence[Finding]) -> Iterator[Line]:
    yield ok("file", f"{file} does not exist: the defaults apply" if missing(file) else str(file))
    for finding in findings:
        verdict = Verdict.FAIL if finding.severity is Severity.ERROR else Verdict.WARN
        where = finding.place.variable or (f"line {finding.place.line}" if finding.place.line else "")
        name = where if len(where) <= 14 else "environment"
        told = [where if name != where else "", finding.key, finding.message]
        yield Line(verdict=verdict, name=name, text=": ".join(part for part in told if part))
    if settings is None:
        yield fail("rest", "not checked", "correct the errors above first; `ladingd config check` shows them too")


def _connections(settings: Settings, *, stranger: bool) -> Iterator[Line]:
    """``stranger``: the daemon runs as another user, who may reach databases that we cannot. PostgreSQL may check the
    user of its peer, and root is a different user too."""
    if not settings.connections:
        yield warn("connections", "none: no job can be created", "add databases as [connections.NAME]")
    for name, answer in try_all(settings).items():
        if isinstance(answer, LadingError):
            text = " ".join(answer.message.split()).removeprefix(f"connection {name}: ")
            away = isinstance(answer, TargetUnavailable)
            advice = "is the database up, and can this machine reach it?" if away else "correct the url or the password"
            yield warn(name, text, "check as the daemon's user") if stranger else fail(name, text, advice)
            continue
        if answer.reservation:
            yield warn(name, f"{answer.server}: {answer.reservation}")
        else:
            yield ok(name, answer.server)
        if answer.ahead is not None and abs(answer.ahead) > SKEW:
            apart = f"{abs(answer.ahead):.0f} s {'ahead of' if answer.ahead > 0 else 'behind'} ours"
            advice = "set both clocks by NTP: times in the journal and in the database do not match"
            yield warn(name, f"its clock is {apart}", advice)
