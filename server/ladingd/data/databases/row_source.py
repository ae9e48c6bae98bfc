"""What exports need of a database, and what each kind of database must keep to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from ladingd.core.plan import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import pyarrow as pa

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """A moment of a database. All reads at one moment see the same rows."""

    name: str
    """Equal names stand for the same rows."""
    snapshot: str = ""
    """How other sessions join it, if the database keeps it for them."""
    time: datetime


class MomentLost(Exception):
    """The database does not show this moment any more. Nothing was read yet."""


def chunk_sizes(plan: ExportPlan, previous: Chunk | None, limit: int) -> list[int]:
    """How many rows the next chunks shall have, at most ``limit`` of them; none where only the last chunk is left."""
    first = 0 if previous is None else previous.ordinal + 1
    ordinals = range(first, min(first + limit, MOST_CHUNKS - 1))
    return [min(plan.chunk_keys << (ordinal // DOUBLING), LAST_KEY) for ordinal in ordinals]


class RowSource(ABC):
    """A database that rows are exported from. It changes nothing there.

    All methods block and may be repeated. They raise TargetUnavailable if a later try may help. Their messages hold no
    secret.
    """

    keeps_moments: ClassVar[bool] = False
    """Sessions can see a moment that is past. Otherwise only a single read is sure to see one moment."""

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

    def hold_moment(self, plan: ExportPlan) -> Moment | None:
        """The present moment of the table. None: the database cannot tell one moment from another.

        A database with snapshots keeps this one for the attempt that calls, until `end_sessions` ends it or the process
        ends. Other databases only notice that others have written since.
        """
        return None

    def at(self, moment: Moment) -> RowSource:
        """This source, with reads that see one moment. They raise MomentLost."""
        return self

    @abstractmethod
    def read(self, plan: ExportPlan, chunk: Chunk) -> Generator[pa.RecordBatch, None, None]:
        """The rows of a chunk in the order of their keys, in batches of bounded size.

        A batch has the columns of the plan, as text; null is NULL. A chunk that is a whole table reports how far it
        is. Raises SourceUnreadable, and SourceChanged if another table has the name now.
        """

    def write_text(self, plan: ExportPlan, chunk: Chunk, file: BinaryIO) -> int | None:
        """Write the same rows as delimited records; return how many. None: the database does not write text itself.

        The records are those that ``CsvWriter`` makes of ``read``: NULL is empty, empty text is quoted, and a NULL
        that is alone in its record is quoted as well. Raises as ``read`` does, and OSError of the file.
        """
        return None
