"""What work is done for. It goes along from a call to the job, to its attempt and chunks, and into worker processes."""

from __future__ import annotations

import re
import secrets
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ladingd.core.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator


_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The correlation id of the call that wanted it, and the job, attempt and chunk that it belongs to, where known."""

    call: str = ""
    job: str = ""
    uid: str = ""
    """Of the job. It stands in no log."""
    attempt: int | None = None
    chunk: int | None = None
    trace: str = ""
    """The W3C traceparent that came with the call."""

    @property
    def facts(self) -> dict[str, str | int]:
        """What is known of it, by name."""
        known = {"call": self.call, "job": self.job, "attempt": self.attempt, "chunk": self.chunk}
        return {name: value for name, value in known.items() if value not in ("", None)}


_NOWHERE = Origin()
_CURRENT: ContextVar[Origin] = ContextVar("origin", default=_NOWHERE)


def current() -> Origin:
    """What the running task works for."""
    return _CURRENT.get()


def work_for(origin: Origin) -> None:
    """The running task works for this from now on, and the tasks it starts."""
    _CURRENT.set(origin)


@contextmanager
def working_for(origin: Origin) -> Iterator[None]:
    """The block, and the tasks it starts, work for this. The block must not await: a task that is dropped in the middle
    of it could not leave it."""
    before = _CURRENT.set(origin)
    try:
        yield
    finally:
        _CURRENT.reset(before)


@contextmanager
def working_on(chunk: int) -> Iterator[None]:
    """The block works on this chunk of what it works for anyway."""
    with working_for(replace(current(), chunk=chunk)):
        yield


def correlation_id(wanted: str | None) -> str:
    """What a caller wants to be known by, where that is a plain word; otherwise a new one."""
    return wanted if wanted is not None and _SANE.fullmatch(wanted) else secrets.token_hex(8)


@dataclass(slots=True)
class Effect:
    """What a call has changed so far. It holds even if the caller never gets the answer."""

    job: Job | None = None
    upload: str = ""
    """The name of an upload that the call removed, as the API writes it."""


effect: ContextVar[Effect] = ContextVar("effect")
"""Set by whoever wants to know the effect of a call, before the call."""
