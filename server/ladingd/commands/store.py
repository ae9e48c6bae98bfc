"""``ladingd store``: checks the store, copies it and makes it smaller."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ladingd.commands.error import CommandError
from ladingd.commands.replaceable import check_replaceable
from ladingd.commands.terminal import write
from ladingd.config import load
from ladingd.config.settings import config_file
from ladingd.host.instance_lock import without_daemon
from ladingd.store.migration import HEAD
from ladingd.store.sqlite import backup
from ladingd.store.sqlite.database import STORE
from ladingd.store.sqlite.inspection import inspect
from ladingd.store.sqlite.lane import is_busy
from ladingd.store.sqlite.lock import holder

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ladingd.config import Settings
    from ladingd.store.sqlite.inspection import Inspection

EXIT_UNSOUND = 3
"""The check has found problems."""


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit status. Raises CommandError, ConfigError, StoreUnusable."""
    settings = load(arguments.config, user=arguments.user)
    path = store_of(settings, arguments)
    facts: Mapping[str, Any]
    match arguments.action:
        case "check":
            seen = inspect(path)
            facts, lines = {"store": str(path), "sound": not seen.problems} | asdict(seen), _lines(path, seen)
            status = EXIT_UNSOUND if seen.problems else 0
        case "backup":
            check_replaceable(arguments.file, settings, config_file(arguments.config, user=arguments.user))
            size = _backup(path, arguments.file, force=arguments.force)
            facts = {"store": str(path), "backup": str(arguments.file.absolute()), "bytes": size}
            lines, status = iter([f"{arguments.file}: {size:,} bytes, verified"]), 0
        case _:
            before, after = _vacuum(settings.state_dir, path)
            facts = {"store": str(path), "bytes_before": before, "bytes_after": after}
            lines, status = iter([f"{path}: {before:,} bytes before, {after:,} after"]), 0
    write([json.dumps(facts)] if arguments.output == "json" else lines)
    return status


def store_of(settings: Settings, arguments: argparse.Namespace) -> Path:
    """The existing store of the daemon. No command creates a store: it could be for the wrong daemon.

    Raises CommandError.
    """
    path = settings.state_dir / STORE
    implied = arguments.config is None and not arguments.user
    hint = ". To ask about your own daemon: ladingd --user …; about another one: ladingd --config FILE …"
    other = hint if implied else ""
    try:
        owner = settings.state_dir.stat().st_uid
        there = path.is_file()
    except FileNotFoundError:
        owner, there = os.geteuid(), False
    except OSError as error:
        raise CommandError(
            f"the state directory {settings.state_dir} cannot be read: {error.strerror}{other}"
        ) from error
    if owner != os.geteuid():
        # Even a reader creates files beside the store, and the daemon could not write to them.
        raise CommandError(
            f"the state directory {settings.state_dir} belongs to the user {owner}: run this as that user{other}"
        )
    if not there:
        raise CommandError(f"there is no store {path}: the daemon creates it at its first start{other}")
    return path


def _backup(path: Path, to: Path, *, force: bool) -> int:
    try:
        return backup.copy(path, to, replace=force)
    except FileExistsError as error:
        raise CommandError(f"{to} already exists; --force replaces it") from error
    except OSError as error:
        raise CommandError(f"{to} cannot be written: {error.strerror}") from error
    except sqlite3.Error as error:
        raise CommandError(f"the store {path} cannot be copied: {error}") from error


def _vacuum(state_dir: Path, path: Path) -> tuple[int, int]:
    with without_daemon(state_dir):
        before = backup.size_of(path)
        try:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            if is_busy(error):
                raise CommandError(
                    f"the store {path} is unchanged: it is locked by {holder(path)}; wait for that process or end it"
                ) from error
            raise CommandError(
                f"the store {path} is unchanged: {error}. Vacuum needs as much free disk space as the store's size"
            ) from error
        return before, backup.size_of(path)


def _lines(path: Path, seen: Inspection) -> Iterator[str]:
    schema = (
        "current" if seen.schema == HEAD else f"older than {HEAD} of this program; the next start migrates the store"
    )
    states = ", ".join(f"{number:,} {state}" for state, number in seen.jobs.items())
    yield f"store   {path}, {seen.size:,} bytes"
    yield f"schema  {seen.schema}, {schema}"
    yield f"jobs    {sum(seen.jobs.values()):,}{': ' if states else ''}{states}"
    if seen.held:
        yield f"held    {seen.held:,} jobs wait for free disk space"
    if seen.pending:
        yield f"left    {seen.pending:,} deleted jobs still have data in a target that could not be reached"
    for check in seen.checks:
        found = [each.problem for each in seen.problems if each.check == check]
        yield f"{'NOT OK' if found else 'ok':6}  {check}"
        for problem in found:
            yield f"        {problem}"
