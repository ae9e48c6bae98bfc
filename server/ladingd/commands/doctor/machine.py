"""What the machine provides for the daemon: programs, limits, time, systemd."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.commands.doctor.report import Line, fail, ok, warn
from ladingd.core.clock import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ladingd.config import Settings

UNIT = "ladingd.service"
PACKAGES = ("grpcio", "pyarrow", "psycopg", "duckdb", "adbc-driver-sqlite", "sqlalchemy", "pydantic")
TIMEOUT = 5.0
"""Seconds in which systemd must answer."""
WORKER_BYTES = 150 << 20
DAEMON_BYTES = 120 << 20
_OWN_DESCRIPTORS = 100
_BY_WORKER = 4
_FEW_CLIENTS = 500
_UNLIMITED = 1 << 60


def versions() -> Iterator[Line]:
    """The installed packages. None of them is imported."""
    yield ok("lading", f"{metadata.version('lading')}, Python {platform.python_version()} on {platform.machine()}")
    yield ok("SQLite", sqlite3.sqlite_version)
    found, missing = [], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            missing.append(package)
    yield ok("packages", ", ".join(found))
    if missing:
        yield fail("packages", f"not installed: {', '.join(missing)}", "install lading again, with its dependencies")


def clock() -> Iterator[Line]:
    """The clock of this machine. The clocks of the databases are reported with the connections."""
    now = utc_now()
    zone = time.strftime("%Z (%z)")
    installed = datetime.fromtimestamp(Path(__file__).stat().st_mtime, UTC)
    if now < installed:
        yield fail(
            "time",
            f"{now:%Y-%m-%d %H:%M:%S} UTC is before this program was installed",
            "set the clock, and keep it synchronised: timedatectl set-ntp true",
        )
    else:
        yield ok("time", f"{now:%Y-%m-%d %H:%M:%S} UTC; time zone {zone}")


def limits(settings: Settings, pid: int | None) -> Iterator[Line]:
    """The resource limits of the daemon. If no daemon runs, the limits of one that would be started here."""
    try:
        yield _descriptors(settings, pid)
        yield _memory(settings, pid)
    except OSError as error:
        # The process has ended, or /proc is mounted with hidepid.
        yield warn("process", f"the limits of process {pid} cannot be read: {error.strerror}", "try again, or as root")
    cores = os.cpu_count() or 1
    if settings.workers > cores:
        advice = "more workers than cores gain nothing if the database is on this machine"
        yield warn("cores", f"{cores} for {settings.workers} workers", advice)
    else:
        yield ok("cores", f"{cores} for {settings.workers} workers")


def _descriptors(settings: Settings, pid: int | None) -> Line:
    rows = Path(f"/proc/{pid or 'self'}/limits").read_text().splitlines()
    (soft,) = (row.split()[3] for row in rows if row.startswith("Max open files"))
    if soft == "unlimited":
        return ok("open files", soft)
    limit = int(soft)
    clients = max(limit - _OWN_DESCRIPTORS - _BY_WORKER * settings.workers, 0)
    text = f"{limit}: enough for {clients:,} clients and watchers at a time"
    if clients < _FEW_CLIENTS:
        return warn("open files", text, "raise it: LimitNOFILE=65536 in the unit, or ulimit -n")
    return ok("open files", text)


def _memory(settings: Settings, pid: int | None) -> Line:
    total, free = _machine_memory()
    limit = memory_limit(Path("/proc") / (str(pid) if pid else "self") / "cgroup", Path("/sys/fs/cgroup"))
    wanted = settings.workers * WORKER_BYTES + DAEMON_BYTES
    text = f"{_size(free)} of {_size(total)} free"
    if limit is not None:
        text += f"; the control group allows {_size(limit)}"
    text += f"; {settings.workers} workers and the daemon take about {_size(wanted)}"
    if wanted > min(total, limit or total):
        return warn(
            "memory", text, "use fewer workers or more memory (MemoryMax= in the unit): the kernel kills workers"
        )
    return ok("memory", text)


def _machine_memory() -> tuple[int, int]:
    rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return (int(rows["MemTotal"].split()[0]) << 10), (int(rows["MemAvailable"].split()[0]) << 10)


def memory_limit(cgroup: Path, mounted: Path) -> int | None:
    """The lowest limit of a process's control group and its parents; None if there is no limit."""
    limits = []
    for line in cgroup.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, name = mounted, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = mounted / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = top / path.lstrip("/")
        for each in (group, *group.parents):
            if each.is_relative_to(top) and (each / name).is_file():
                text = (each / name).read_text().strip()
                limits += [int(text)] if text.isdecimal() and int(text) < _UNLIMITED else []
    return min(limits, default=None)


def systemd() -> Iterator[Line]:
    """The unit, if systemd runs here."""
    if not Path("/run/systemd/system").is_dir():
        yield ok("systemd", "does not run here")
        return
    wanted = "LoadState,ActiveState,SubState,Result,UnitFileState,NRestarts,NeedDaemonReload"
    try:
        answer = subprocess.run(
            ["systemctl", "show", UNIT, f"--property={wanted}"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        yield warn("systemd", f"systemctl does not answer: {error}", "check systemctl status")
        return
    yield from unit_state(dict(line.split("=", 1) for line in answer.splitlines() if "=" in line))


def unit_state(unit: dict[str, str]) -> Iterator[Line]:
    """The findings about the properties of the unit."""
    if unit.get("LoadState") != "loaded":
        yield warn(UNIT, f"{unit.get('LoadState') or 'unknown'}", "to create it: ladingd systemd install")
        return
    state = f"{unit['ActiveState']} ({unit['SubState']})"
    if unit["ActiveState"] == "failed":
        yield fail(UNIT, f"{state}: {unit['Result']}", f"to see why: journalctl -u {UNIT} -n 50")
    elif unit["ActiveState"] in ("inactive", "deactivating"):
        yield warn(UNIT, state, f"systemctl start {UNIT}")
    else:
        yield ok(UNIT, state)
    if unit.get("NRestarts", "0") != "0":
        yield warn(UNIT, f"restarted {unit['NRestarts']} times by systemd", f"to see why: journalctl -u {UNIT} -n 200")
    if unit.get("UnitFileState") == "disabled":
        yield warn(UNIT, "is not started with the machine", f"systemctl enable {UNIT}")
    if unit.get("NeedDaemonReload") == "yes":
        yield warn(UNIT, "its file has changed since systemd read it", "systemctl daemon-reload")


def _size(number: int) -> str:
    return f"{number / (1 << 30):.1f} GiB" if number >= 1 << 30 else f"{number / (1 << 20):.0f} MiB"
