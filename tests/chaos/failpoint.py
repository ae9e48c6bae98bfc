"""Moments at which the product can be struck, from outside of it. Standard library only: every process loads this.

A failpoint is armed by a file named after its moment. The process that passes the moment first takes the file away, and
so it strikes once, whichever of them that is.
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
"""Names the directory of the armed failpoints in the environment of the daemon and its workers."""


class Moment(StrEnum):
    """When a process is struck."""

    BEFORE_CLAIM = "before-claim"
    AFTER_CLAIM = "after-claim"
    REJECTS = "rejects"
    """Between their temporary file and its rename."""
    KEYS = "keys"
    """While a chunk shows its keys to the others in flight; PostgreSQL alone."""
    BEFORE_COMMIT = "before-commit"
    AFTER_COMMIT = "after-commit"
    """The chunk is committed, the daemon does not know it."""
    BEGIN = "begin"
    """In the transaction that shuts out earlier attempts."""
    NOTED = "noted"
    """The daemon is about to write down that a chunk is committed."""
    ORPHANED = "orphaned"
    """At its start the daemon has found the jobs of its predecessor, and not yet queued them."""
    RECOVERED = "recovered"
    """At its start the daemon has queued them, and not yet run any."""
    SETTLED = "settled"
    """The daemon is about to bring the counters in line with the ledger."""
    STORE_COMMIT = "store-commit"
    """The same, within the transaction of the store."""


class Action(StrEnum):
    """What strikes."""

    KILL = "kill"
    RAISE = "raise"
    """Something that nobody foresaw."""
    HANG = "hang"
    FULL = "full"
    """A write finds the disk full."""
    STORE_FULL = "store-full"
    """The same, as SQLite says it."""


class Switch(StrEnum):
    """A safeguard that can be switched off, to see whether the harness notices."""

    LEDGER = "ledger"


@dataclass(frozen=True, kw_only=True, slots=True)
class Strike:
    """Where, how and in which process it has struck."""

    moment: Moment
    action: Action
    pid: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Failpoints:
    """A directory of armed failpoints, and of those that have struck."""

    directory: Path

    @classmethod
    def of_environment(cls) -> Failpoints:
        """Those that this process is to pass."""
        return cls(directory=Path(os.environ[VARIABLE]))

    def arm(self, moment: Moment, action: Action, *, passing: int = 0) -> None:
        """Have an action strike at a moment, after so many processes have passed it unharmed."""
        self._put(self.directory / moment, f"{action} {passing}")

    def disarm(self) -> None:
        """Forget all that is armed and all that has struck."""
        for path in self.directory.iterdir():
            path.unlink()

    def strikes(self) -> list[Strike]:
        """What has struck since all was disarmed."""
        names = [path.name.split(" ") for path in self.directory.glob("struck *")]
        return [Strike(moment=Moment(name), action=Action(action), pid=int(pid)) for _, name, action, pid in names]

    def switch_off(self, safeguard: Switch) -> None:
        """Do without a safeguard until all is disarmed."""
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
    """Of a call."""

    BEFORE = auto()
    AFTER = auto()


@dataclass(frozen=True, kw_only=True, slots=True)
class Failpoint:
    """A moment before or after a call of the product's. ``place`` is ``module:name``, or ``module:class.name``."""

    moment: Moment
    side: Side
    place: str


def install(failpoints: Sequence[Failpoint]) -> None:
    """Put wrappers around functions of the product, in this process. Raises LookupError where one is gone."""
    armed = Failpoints.of_environment()
    for failpoint in failpoints:
        replace(failpoint.place, functools.partial(_wrapped, armed, failpoint))


def replace(place: str, make: Callable[[Any], Any]) -> None:
    """Put something else, made of the original, in its place. Raises LookupError where it is gone."""
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
