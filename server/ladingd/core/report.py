"""Reports the progress of a long call from the code that does the work to the code that waits for it."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The progress of a running call: the ``share`` of its work, from 0 to 1, and the records read. Nothing is
    committed yet."""

    share: float
    records: int


_HEARER: ContextVar[Callable[[Report], None] | None] = ContextVar("hearer", default=None)


def report(records: int, expected: int) -> None:
    """Report that the running call has read ``records`` of ``expected`` records, which may be an estimate.

    Too slow to call for each record. Costs nothing if nobody listens.
    """
    if (hearer := _HEARER.get()) is not None:
        hearer(Report(share=min(records / max(expected, 1), 1.0), records=records))


@contextmanager
def heard_by(hearer: Callable[[Report], None]) -> Iterator[None]:
    """Send the reports of a block to this function."""
    before = _HEARER.set(hearer)
    try:
        yield
    finally:
        _HEARER.reset(before)
