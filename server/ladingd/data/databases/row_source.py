"""The port for exports: what a database must provide."""

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
"""The smallest and the largest key. ``end`` is exclusive, except that a chunk ending at LAST_KEY includes it."""

MOST_CHUNKS = 10_000
DOUBLING = 1000
"""The number of rows doubles after every this many chunks, so that MOST_CHUNKS are enough for any table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceTable:
    """A table to export. At inspection its keys were from ``start`` up to, but not including, ``end``.

    If the table has no column for ranges, ``key`` is None, ``start`` is 0 and ``end`` is 1.
    """

    name: str
    columns: tuple[Column, ...]
    key: str | None
    start: int
    end: int
    notes: tuple[str, ...] = ()
    """What users should know before they start the export."""
    identity: str = ""
    """The identity of the table, which another table of the same name lacks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """A moment of a database. All reads at one moment see the same rows."""

    name: str
    """Moments with equal names show the same rows."""
    snapshot: str = ""
    """The snapshot by which other sessions can see this moment, if the database keeps one."""
    time: datetime


class MomentLost(Exception):
    """The database no longer has this moment. Nothing was read."""


def chunk_sizes(plan: ExportPlan, previous: Chunk | None, limit: int) -> list[int]:
    """The numbers of rows of the next chunks, at most ``limit``; empty if only the last chunk is left."""
    first = 0 if previous is None else previous.ordinal + 1
    ordinals = range(first, min(first + limit, MOST_CHUNKS - 1))
    return [min(plan.chunk_keys << (ordinal // DOUBLING), LAST_KEY) for ordinal in ordinals]


class RowSource(ABC):
    """A database from which rows are exported. Methods do not change the database.

    All methods block and may be repeated. They raise TargetUnavailable if a later try may help. Their messages hold no
    secret.
    """

    keeps_moments: ClassVar[bool] = False
    """Whether sessions can see a past moment. Otherwise only a single read surely sees one moment."""

    @abstractmethod
    def inspect(self, table: Table) -> SourceTable:
        """The current table. Raises InvalidSpec if the table is missing or cannot be exported."""

    @abstractmethod
    def verify(self, plan: ExportPlan, exported: Callable[[], int]) -> None:
        """Check that the table is the planned one and can still contain the exported rows. Raises SourceChanged.

        ``exported`` returns the number of exported rows. It is called only if the table has changed in some way.
        Deleted rows are not noticed.
        """

    @abstractmethod
    def end_sessions(self, job_uid: str, attempt: int) -> None:
        """End the sessions that this and earlier attempts have left in the database."""

    @abstractmethod
    def ends(self, plan: ExportPlan, previous: Chunk | None, limit: int) -> Sequence[int]:
        """The ends of the next chunks, at most ``limit``. The last chunk of the table ends at LAST_KEY.

        Chunks hold about as many rows as `chunk_sizes` says, even if the keys have gaps. The ends increase, even if the
        table has changed, and there are at most MOST_CHUNKS in total. Raises SourceUnreadable.
        """

    def hold_moment(self, plan: ExportPlan) -> Moment | None:
        """The present moment of the table. None: the database cannot distinguish moments.

        A database with snapshots keeps the moment until `end_sessions` or the end of the process. Other databases only
        notice later writes.
        """
        return None

    def at(self, moment: Moment) -> RowSource:
        """This source with reads at the given moment. Reads raise MomentLost."""
        return self

    @abstractmethod
    def read(self, plan: ExportPlan, chunk: Chunk) -> Generator[pa.RecordBatch, None, None]:
        """The rows of a chunk in the order of their keys, in batches of bounded size.

        A batch has the columns of the plan, as text; null is NULL. The chunk of a whole table reports its progress.
        Raises SourceUnreadable, and SourceChanged if the table was replaced.
        """

    def write_text(self, plan: ExportPlan, chunk: Chunk, file: BinaryIO) -> int | None:
        """Write the same rows as delimited records, and return their number. None: the database does not write text
        itself.

        The records equal those of ``CsvWriter``: NULL is empty, empty text is quoted, and a NULL that is alone in its
        record is quoted too. Raises the same errors as ``read``, and OSError of the file.
        """
        return None
