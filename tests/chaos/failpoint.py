"""Named moments at which tests can strike the product from outside. Standard library only: every process loads this.

A file named after a moment arms its failpoint. The first process that passes the moment removes the file, so the
failpoint strikes only once.
"""

from __future__ import annotations

import errno
import functools
import importlib
import inspect
import os
import signal
import sqlite3
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VARIABLE = "LADING_CHAOS"
"""The environment variable with the directory of armed failpoints."""


class Moment(StrEnum):
    """The moment of a strike."""

    BEFORE_CLAIM = "before-claim"
    AFTER_CLAIM = "after-claim"
    REJECTS = "rejects"
    """Between writing the rejects' temporary file and its rename."""
    KEYS = "keys"
    """While a chunk publishes its keys to other chunks in flight; PostgreSQL only."""
    BEFORE_COMMIT = "before-commit"
    AFTER_COMMIT = "after-commit"
    """The chunk is committed, but the daemon does not know it yet."""
    SPOOLING = "spooling"
    """A piece of a compressed file is unpacked."""
    SPOOLED = "spooled"
    """The content of a compressed file is unpacked, but does not have its name yet."""
    PUT = "put"
    """The records of a chunk are in the draft of an exported file, but the ledger does not know it yet."""
    ENTERED = "entered"
    """The ledger of an export knows the chunk, but the daemon does not."""
    COMPLETE = "complete"
    """The exported file is complete, but does not have its name yet."""
    PUBLISHED = "published"
    """The exported file has its name, but the daemon does not know it yet."""
    BEGIN = "begin"
    """In the transaction that shuts out earlier attempts."""
    HOOK_RUN = "hook-run"
    """The SQL of a hook has run, but is not committed."""
    HOOK_COMMITTED = "hook-committed"
    """A hook is committed, but the daemon does not know it yet."""
    COLUMNS = "columns"
    """In the transaction that adds columns to a table."""
    COLUMNS_ADDED = "columns-added"
    """Columns are added, but the daemon does not know it yet."""
    NOTED = "noted"
    """The daemon is about to note that a chunk is committed."""
    ORPHANED = "orphaned"
    """The starting daemon has found the jobs of its predecessor, but has not queued them yet."""
    RECOVERED = "recovered"
    """The starting daemon has queued these jobs, but has not run any yet."""
    SETTLED = "settled"
    """The daemon is about to make the counters agree with the ledger."""
    STORE_COMMIT = "store-commit"
    """The same, within the transaction of the store."""


class Action(StrEnum):
    """The effect of a strike."""

    KILL = "kill"
    RAISE = "raise"
    """An unexpected exception."""
    HANG = "hang"
    FULL = "full"
    """A write fails because the disk is full."""
    STORE_FULL = "store-full"
    """The same error, as SQLite reports it."""


class Switch(StrEnum):
    """A safeguard that can be switched off, to check that the harness notices."""

    LEDGER = "ledger"


@dataclass(frozen=True, kw_only=True, slots=True)
class Strike:
    """The moment, effect and process of a strike."""

    moment: Moment
    action: Action
    pid: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Failpoints:
    """The directory of armed failpoints and of past strikes."""

    directory: Path

    @classmethod
    def of_environment(cls) -> Failpoints:
        """The failpoints of this process."""
        return cls(directory=Path(os.environ[VARIABLE]))

    def arm(self, moment: Moment, action: Action, *, passing: int = 0) -> None:
        """Arm an action at a moment, after ``passing`` processes have passed it unharmed."""
        self._put(self.directory / moment, f"{action} {passing}")

    def disarm(self) -> None:
        """Remove all armed failpoints and all strikes."""
        for path in self.directory.iterdir():
            path.unlink()

    def strikes(self) -> list[Strike]:
        """The strikes since the last ``disarm``."""
        names = [path.name.split(" ") for path in self.directory.glob("struck *")]
        return [Strike(moment=Moment(name), action=Action(action), pid=int(pid)) for _, name, action, pid in names]

    def switch_off(self, safeguard: Switch) -> None:
        """Switch off a safeguard until the next ``disarm``."""
        self._put(self.directory / f"without {safeguard}", "")

    def lacks(self, safeguard: Switch) -> bool:
        """Whether a safeguard is switched off."""
        return (self.directory / f"without {safeguard}").exists()

    def strike(self, moment: Moment) -> None:
        """Pass a moment."""
        taken = self.directory / f"taken {moment} {os.getpid()}"
        try:
            (self.directory / moment).rename(taken)
        except FileNotFoundError:
            return
        action, passing = taken.read_text().split(" ")
        if int(passing):
            self.arm(moment, Action(action), passing=int(passing) - 1)
            taken.unlink()
            return
        taken.rename(self.directory / f"struck {moment} {action} {os.getpid()}")
        _ACT[Action(action)]()

    def _put(self, path: Path, text: str) -> None:
        draft = self.directory / f"draft {os.getpid()}"
        draft.write_text(text)
        draft.rename(path)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _raise() -> None:
    raise RuntimeError("nobody foresaw this")


def _hang() -> None:
    while True:
        signal.pause()


def _fill() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _fill_store() -> None:
    raise sqlite3.OperationalError("database or disk is full")


_ACT: dict[Action, Callable[[], None]] = {
    Action.KILL: _kill,
    Action.RAISE: _raise,
    Action.HANG: _hang,
    Action.FULL: _fill,
    Action.STORE_FULL: _fill_store,
}


class Side(Enum):
    """Before or after a call."""

    BEFORE = auto()
    AFTER = auto()


@dataclass(frozen=True, kw_only=True, slots=True)
class Failpoint:
    """A moment before or after a call in the product. ``place`` is ``module:name`` or ``module:class.name``."""

    moment: Moment
    side: Side
    place: str


def install(failpoints: Sequence[Failpoint]) -> None:
    """Wrap functions of the product in this process. Raises LookupError if a function is missing."""
    armed = Failpoints.of_environment()
    for failpoint in failpoints:
        replace(failpoint.place, functools.partial(_wrapped, armed, failpoint))


def replace(place: str, make: Callable[[Any], Any]) -> None:
    """Replace a function by the result of ``make(original)``. Raises LookupError if it is missing."""
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    if name not in vars(owner):
        raise LookupError(f"{place} is gone: what is the moment now that was there?")
    setattr(owner, name, make(vars(owner)[name]))


def _wrapped(armed: Failpoints, failpoint: Failpoint, original: Callable[..., Any]) -> Callable[..., Any]:
    moment, before = failpoint.moment, failpoint.side is Side.BEFORE
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def awaited(*args: object, **kwargs: object) -> object:
            if before:
                armed.strike(moment)
            answer = await original(*args, **kwargs)
            if not before:
                armed.strike(moment)
            return answer

        return awaited

    @functools.wraps(original)
    def called(*args: object, **kwargs: object) -> object:
        if before:
            armed.strike(moment)
        answer = original(*args, **kwargs)
        if not before:
            armed.strike(moment)
        return answer

    return called
