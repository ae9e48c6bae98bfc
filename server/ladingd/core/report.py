"""How far a call is that takes long: said by whoever does the work, heard by whoever waits for it."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A running call has done this ``share`` of its work, from 0 to 1, and read so many records. Nothing of it is
    committed yet."""

    share: float
    records: int


_HEARER: ContextVar[Callable[[Report], None] | None] = ContextVar("hearer", default=None)


def report(records: int, expected: int) -> None:
    """Say how far the running call is: so many records of those that are expected, which may be an estimate.

    Cheap, but not free: not for each record. Costs nothing where nobody listens.
    """
    if (hearer := _HEARER.get()) is not None:
        hearer(Report(share=min(records / max(expected, 1), 1.0), records=records))


@contextmanager
def heard_by(hearer: Callable[[Report], None]) -> Iterator[None]:
    """Whatever the block reports goes to this function."""
    before = _HEARER.set(hearer)
    try:
        yield
    finally:
        _HEARER.reset(before)
