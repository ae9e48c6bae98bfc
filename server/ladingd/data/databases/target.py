"""The port for imports: what a database must provide."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ladingd.data.databases.commit import BatchCommit, SliceCommit
from ladingd.data.values.types import FieldType

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from ladingd.core.bill import Counts
    from ladingd.core.plan import Chunk, CommittedChunk, ImportPlan
    from ladingd.core.spec import Table
    from ladingd.data.databases.commit import Opening
    from ladingd.data.databases.hooks import Hook, HookRun, HookTransaction
    from ladingd.data.mapping.batch import Batch
    from ladingd.data.rejects.fault import Faults
    from ladingd.data.values.converters import Reading


Defaults = Mapping[str, Sequence[tuple["str | None", int]]]
"""By the name of a column, the values of its default as text, and how often each was the result."""

Attempt = tuple[str, int]
"""The uid of a job, and the number of its attempt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetColumn:
    """An existing column."""

    name: str
    declared: str
    """The type as the database spells it."""
    type: FieldType
    """The type that its fields are read as."""
    nullable: bool
    """Whether it can be NULL."""
    optional: bool
    """Whether a file may lack this column."""
    generated: bool
    """Whether the database computes it, so that imports cannot write it."""
    defaulted: bool = False
    """Whether it cannot be NULL and has a default."""
    exact: bool = False
    """Whether two values are equal for the database exactly if they are identical."""
    note: str = ""
    """What users should know before they import into the column."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetTable:
    """An existing table."""

    name: str
    columns: tuple[TargetColumn, ...]
    uniques: tuple[tuple[str, ...], ...] = ()
    """The columns of each unique key that holds for all rows."""
    entangled: bool = False
    """Whether rows may depend on each other otherwise: by foreign keys to the table itself, exclusion constraints, or
    unique keys with expressions or conditions."""
    notes: tuple[str, ...] = ()
    """What users should know before they import into the table."""


class ReadingsOutdated(Exception):
    """The table has changed since ``readings``. The chunk was rolled back: its fields must be read anew."""


class Target(ABC):
    """A database into which records are imported. It also holds the ledger.

    All methods block and may be repeated. They raise TargetUnavailable if a later try may help, otherwise
    TargetRefused. Their messages hold no secret.
    """

    dialect: ClassVar[str]
    """What sqlglot calls its SQL."""
    slice_bytes: ClassVar[int] = 160 << 20
    """About how many bytes of files a slice of staged records comes from."""
    column_limit: ClassVar[int]
    """The most columns of a table."""
    name_bytes: ClassVar[int] = 1 << 20
    """The most bytes of a name."""
    reserved_names: ClassVar[frozenset[str]] = frozenset()
    """Names that a column of a new table cannot have."""

    @abstractmethod
    def table(self, table: Table) -> TargetTable | None:
        """The table to import into; None if it is missing. Raises InvalidSpec if it cannot be imported into."""

    @abstractmethod
    def tables(self) -> Sequence[tuple[str, str]]:
        """The schema and name of each table, in order. The default schema is empty. The ledger's tables are left out,
        and those of schemas that the account may not use."""

    @abstractmethod
    def check_type(self, kind: FieldType) -> None:
        """Raises ValueError if no column can store this type."""

    @abstractmethod
    def readings(self, plan: ImportPlan, attempt: Attempt | None = None) -> Sequence[Reading]:
        """How fields are read for each column of a plan.

        The table may be looked at once for each attempt of a job; ``write`` notices later changes. Without an attempt,
        it is looked at now.
        """

    def run_hook(self, job_uid: str, attempt: int, hook: Hook, check: Callable[[], None]) -> HookRun:
        """Shut out earlier attempts, and run a hook unless the ledger says that it has run.

        ``check`` is called before the hook runs. Raises TargetRefused if the hook fails, AttemptSuperseded, and what
        ``check`` raises.
        """
        return hook.run(job_uid, attempt, self.hooking, check)

    @abstractmethod
    def hooking(self, job_uid: str, attempt: int) -> AbstractContextManager[HookTransaction]:
        """Begin the transaction of a hook. Create the ledger if it is missing, and shut out earlier attempts. At the
        end of the ``with``, what is not committed is rolled back."""

    @abstractmethod
    def check_addable(self, table: Table) -> None:
        """Raises InvalidSpec (field ``add_columns``) if nobody can add columns to this existing table, or the account
        may not."""

    @abstractmethod
    def add_columns(self, job_uid: str, attempt: int, plan: ImportPlan) -> tuple[str, ...]:
        """Shut out earlier attempts, and add the columns of the plan that the table lacks, unless a chunk is committed.

        Returns the names of those that were missing. Raises TargetChanged if the table is not the planned one.
        """

    @abstractmethod
    def begin(self, job_uid: str, attempt: int, plan: ImportPlan) -> tuple[CommittedChunk, ...]:
        """Create the table, the ledger and the staging of the plan if missing, shut out earlier attempts, and return
        the committed chunks. Raises TargetChanged if the table is no longer the planned one."""

    @abstractmethod
    def committed(self, job_uid: str, attempt: int) -> tuple[CommittedChunk, ...]:
        """Shut out earlier attempts and return the committed chunks. Creates nothing."""

    @abstractmethod
    def defaults(self, plan: ImportPlan, numbers: Mapping[str, int]) -> Defaults:
        """The defaults of columns of the table, evaluated so many times each."""

    def write(
        self,
        job_uid: str,
        attempt: int,
        plan: ImportPlan,
        chunk: Chunk,
        batch: Batch,
        keep_rejects: Callable[[Faults], None],
    ) -> Counts:
        """Commit the records of a chunk with their ledger entry, into the table or into the job's staging. Returns the
        balanced counts.

        ``keep_rejects`` gets the faults of the chunk, including those that the table found, and makes them durable
        before the commit. If the chunk is committed already, nothing is written and its counts are returned. Raises
        AttemptSuperseded, TargetChanged, ReadingsOutdated.
        """
        commit = BatchCommit(job_uid=job_uid, attempt=attempt, chunk=chunk, batch=batch, keep_rejects=keep_rejects)
        with self.opening(job_uid, plan, chunk) as opening:
            return commit.run(opening)

    @abstractmethod
    def check_merge(self, plan: ImportPlan) -> None:
        """Check that the existing table allows the merge of a plan. Raises InvalidSpec: if its key is not unique, or if
        the account may not change rows."""

    @abstractmethod
    def begin_merge(self, job_uid: str, attempt: int, plan: ImportPlan) -> None:
        """All records are staged: prepare the staging for the merge. May be repeated. Raises AttemptSuperseded."""

    def merge(
        self,
        job_uid: str,
        attempt: int,
        plan: ImportPlan,
        chunk: Chunk,
        keep_rejects: Callable[[Faults], None],
        read_again: Callable[[int], Batch],
    ) -> Counts:
        """Merge the slice that a chunk stands for, and commit it with its ledger entry, like ``write``. The indexes of
        the faults are places, see `staging.places`. ``read_again`` reads a chunk whose staged records are lost."""
        commit = SliceCommit(
            job_uid=job_uid,
            attempt=attempt,
            chunk=chunk,
            plan=plan,
            keep_rejects=keep_rejects,
            read_again=read_again,
        )
        with self.opening(job_uid, plan, chunk) as opening:
            return commit.run(opening)

    @abstractmethod
    def end_merge(self, job_uid: str, plan: ImportPlan) -> None:
        """Drop the staging of a job. May be repeated."""

    @abstractmethod
    def opening(self, job_uid: str, plan: ImportPlan, chunk: Chunk) -> AbstractContextManager[Opening]:
        """Prepare to write a chunk. The value of the ``with`` begins its transactions."""

    @abstractmethod
    def verify(self, job_uid: str, plan: ImportPlan) -> None:
        """Check, after the last chunk, that all chunks went into this table and that it was not emptied since.
        ``begin`` and ``write`` check the same. Deleted rows are not noticed. Raises TargetChanged."""

    @abstractmethod
    def discard(self, job_uid: str) -> None:
        """Delete the job from the ledger, and its staging. Its records stay."""
