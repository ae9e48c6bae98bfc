"""The origin of work. It is passed on from a call to the job, its attempts and chunks, and into worker processes."""

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
    """The correlation id of the call that caused the work, and the work's job, attempt and chunk, as far as known."""

    call: str = ""
    job: str = ""
    uid: str = ""
    """The uid of the job. It is never logged."""
    attempt: int | None = None
    chunk: int | None = None
    trace: str = ""
    """The W3C traceparent that came with the call."""

    @property
    def facts(self) -> dict[str, str | int]:
        """The known fields that are logged, by name."""
        known = {"call": self.call, "job": self.job, "attempt": self.attempt, "chunk": self.chunk}
        return {name: value for name, value in known.items() if value not in ("", None)}


_NOWHERE = Origin()
_CURRENT: ContextVar[Origin] = ContextVar("origin", default=_NOWHERE)


def current() -> Origin:
    """The origin of the running task."""
    return _CURRENT.get()


def work_for(origin: Origin) -> None:
    """Set the origin of the running task and of tasks that it starts from now on."""
    _CURRENT.set(origin)


@contextmanager
def working_for(origin: Origin) -> Iterator[None]:
    """Set the origin for a block and the tasks that it starts. The block must not await: a task that is dropped in an
    await would never leave the block."""
    before = _CURRENT.set(origin)
    try:
        yield
    finally:
        _CURRENT.reset(before)


@contextmanager
def working_on(chunk: int) -> Iterator[None]:
    """Add this chunk to the current origin for a block."""
    with working_for(replace(current(), chunk=chunk)):
        yield


def correlation_id(wanted: str | None) -> str:
    """The id that the caller sent if it is a plain word; otherwise a new id."""
    return wanted if wanted is not None and _SANE.fullmatch(wanted) else secrets.token_hex(8)


@dataclass(slots=True)
class Effect:
    """What a call has changed so far, even if the caller never gets the answer."""

    job: Job | None = None
    upload: str = ""
    """The API's name of the upload that the call removed."""


effect: ContextVar[Effect] = ContextVar("effect")
"""Code that wants to know the effect of a call sets this before the call."""
