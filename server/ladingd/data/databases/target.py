"""What imports need of a database, and what whoever provides it must keep to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ladingd.data.databases.commit import ChunkCommit
from ladingd.data.values.types import FieldType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from ladingd.core.bill import Counts
    from ladingd.core.plan import Chunk, CommittedChunk, ImportPlan
    from ladingd.core.spec import Table
    from ladingd.data.databases.commit import Opening
    from ladingd.data.mapping.batch import Batch
    from ladingd.data.rejects.fault import Faults
    from ladingd.data.values.converters import Reading


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetColumn:
    """A column that is there already."""

    name: str
    declared: str
    """Its type as the database spells it."""
    type: FieldType
    """What the fields for it are read as."""
    nullable: bool
    """A record may leave it empty."""
    optional: bool
    """A file need not have it."""
    generated: bool
    """Computed by the database, and so no target."""
    note: str = ""
    """What people should know before a file fills it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetTable:
    """A table that is there already."""

    name: str
    columns: tuple[TargetColumn, ...]
    notes: tuple[str, ...] = ()
    """What people should know before they fill it."""


class Target(ABC):
    """A database that records are imported into, with its ledger beside them.

    All methods block and may be repeated. They raise TargetUnavailable where trying again later may help, and
    TargetRefused where it does not; no text of theirs holds a secret.
    """

    column_limit: ClassVar[int]
    """How many columns a table can have."""
    name_bytes: ClassVar[int] = 1 << 20
    """How many bytes of a name the database keeps."""
    reserved_names: ClassVar[frozenset[str]] = frozenset()
    """Names that no column of a new table can have."""

    @abstractmethod
    def table(self, table: Table) -> TargetTable | None:
        """The table to import into; None where it is still to be made. Raises InvalidSpec where it cannot be one."""

    @abstractmethod
    def check_type(self, kind: FieldType) -> None:
        """Raises ValueError for a type of fields that no column can keep."""

    @abstractmethod
    def readings(self, plan: ImportPlan) -> Sequence[Reading]:
        """How fields are read for each column of a plan."""

    @abstractmethod
    def begin(self, job_uid: str, attempt: int, plan: ImportPlan) -> tuple[CommittedChunk, ...]:
        """Make the table and the ledger where they are not there, shut out earlier attempts, say what is committed.

        Raises TargetChanged where the table is not the planned one any more.
        """

    @abstractmethod
    def committed(self, job_uid: str, attempt: int) -> tuple[CommittedChunk, ...]:
        """Shut out earlier attempts and read the ledger, where there is one. Makes nothing."""

    def write(
        self,
        job_uid: str,
        attempt: int,
        plan: ImportPlan,
        chunk: Chunk,
        batch: Batch,
        keep_rejects: Callable[[Faults], None],
    ) -> Counts:
        """Commit the records of a chunk with their ledger entry; return the balanced counts.

        ``keep_rejects`` gets the faults of the chunk, including those that the table found, and makes them durable
        before the commit. If the ledger already has the chunk, nothing is written and the counts of then are returned.
        Raises AttemptSuperseded, TargetChanged.
        """
        commit = ChunkCommit(job_uid=job_uid, attempt=attempt, chunk=chunk, batch=batch, keep_rejects=keep_rejects)
        with self.opening(job_uid, plan, chunk) as opening:
            return commit.run(opening)

    @abstractmethod
    def opening(self, job_uid: str, plan: ImportPlan, chunk: Chunk) -> AbstractContextManager[Opening]:
        """Get ready to write a chunk; the value of the ``with`` begins its transactions."""

    @abstractmethod
    def verify(self, job_uid: str, plan: ImportPlan) -> None:
        """See, after the last chunk, that the table is the one that all chunks went into, and was not emptied since.

        ``begin`` and ``write`` see to the same. Rows that others delete are not noticed. Raises TargetChanged.
        """

    @abstractmethod
    def discard(self, job_uid: str) -> None:
        """Forget the job in the ledger. Its records stay."""
