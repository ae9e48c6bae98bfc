"""What exports need of a database, and what whoever provides it must keep to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from ladingd.core.plan import Column
from ladingd.core.report import report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from _typeshed import ReadableBuffer

    from ladingd.core.plan import Chunk, ExportPlan
    from ladingd.core.spec import Table

FIELD = "source.table"

FIRST_KEY, LAST_KEY = -(1 << 63), (1 << 63) - 1
"""The keys that there can be. A chunk that ends at the last one includes it; others end before their end."""

MOST_CHUNKS = 10_000
DOUBLING = 1000
"""After so many chunks they have twice as many rows, and so on: MOST_CHUNKS are enough for any table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceTable:
    """A table to export. Its rows had keys from ``start`` up to, but not including, ``end`` when it was looked at.

    ``key`` is None, ``start`` 0 and ``end`` 1, where the table has nothing that ranges can be made of.
    """

    name: str
    columns: tuple[Column, ...]
    key: str | None
    start: int
    end: int
    notes: tuple[str, ...] = ()
    """What people should know before they start."""
    identity: str = ""
    """By what it is told from another table of its name."""


class Counted:
    """A file that is written record by record, and reports them: for a chunk that is a whole table.

    ``expected`` is how many records there should be, which may be an estimate.
    """

    _EVERY = 1 << 12

    def __init__(self, file: BinaryIO, expected: int) -> None:
        self._write = file.write
        self._expected = expected
        self._records = 0

    def write(self, record: ReadableBuffer) -> int:
        """Write one record."""
        self._records += 1
        if not self._records % self._EVERY:
            report(self._records, self._expected)
        return self._write(record)


def chunk_sizes(plan: ExportPlan, previous: Chunk | None, limit: int) -> list[int]:
    """How many rows the next chunks shall have, at most ``limit`` of them; none where only the last chunk is left."""
    first = 0 if previous is None else previous.ordinal + 1
    ordinals = range(first, min(first + limit, MOST_CHUNKS - 1))
    return [min(plan.chunk_keys << (ordinal // DOUBLING), LAST_KEY) for ordinal in ordinals]


class TableSource(ABC):
    """A database that records are exported from. Nothing is changed in it.

    All methods block and may be repeated. They raise TargetUnavailable where trying again later may help; no text of
    theirs holds a secret.
    """

    @abstractmethod
    def inspect(self, table: Table) -> SourceTable:
        """The table as it is now. Raises InvalidSpec where it is not there or cannot be exported."""

    @abstractmethod
    def verify(self, plan: ExportPlan, exported: Callable[[], int]) -> None:
        """See that the table is the planned one and can still have the rows that were exported. Raises SourceChanged.

        ``exported`` says how many there are; it is asked only where the table has changed in some way.
        Rows that others delete are not noticed.
        """

    @abstractmethod
    def end_sessions(self, job_uid: str, attempt: int) -> None:
        """End what earlier attempts have left running in the database; the attempt that calls, what it has left."""

    @abstractmethod
    def ends(self, plan: ExportPlan, previous: Chunk | None, limit: int) -> Sequence[int]:
        """The keys that the next chunks end before, at most ``limit``; the last chunk of all ends at LAST_KEY.

        Chunks hold about as many rows as `chunk_sizes` says, however many gaps the keys have. The ends grow, also
        where the table has changed since, and there are at most MOST_CHUNKS in all. Raises SourceUnreadable.
        """

    @abstractmethod
    def write(self, plan: ExportPlan, chunk: Chunk, file: BinaryIO) -> int:
        """Write the rows of a chunk as delimited records, in the order of their keys; return how many there are.

        A chunk that is a whole table reports how far it is.

        The format is that of ``CsvWriter`` whatever the database: NULL is an unquoted nothing and empty text a quoted
        one; a NULL that is alone in its record is quoted as well. Raises SourceUnreadable, SourceChanged
        where another table has the name, and OSError of the file.
        """
