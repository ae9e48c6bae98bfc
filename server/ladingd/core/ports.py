"""What the domain needs from the outside, and the obligations of each implementation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from ladingd.core.bill import Counts
from ladingd.core.plan import Chunk, CommittedChunk, Moment, Plan
from ladingd.core.reject_group import ALL_REJECTS, RejectFilter, RejectGroup
from ladingd.core.selection import EVERY, NEWEST_FIRST, Order, Selection
from ladingd.core.spec import ImportSpec, JobSpec, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from ladingd.core.access import AuditEntry, Deed, Token
    from ladingd.core.job import Change, Failure, Job, JournalEntry, Level, Note, Progress, Reject
    from ladingd.core.preview import Preview
    from ladingd.core.state import Event, State
    from ladingd.core.tables import Suggestion, TableDescription

T = TypeVar("T")
SpecT = TypeVar("SpecT", bound=JobSpec)
PlanT = TypeVar("PlanT", bound=Plan)


Check = Callable[["Job"], None]
"""Raises if the caller may not do what they want with this job."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[T]):
    """Some items, and the token of the next page; empty on the last page."""

    items: tuple[T, ...]
    next_token: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptChunk:
    """A chunk in the store. ``counts`` is None until the store knows that the chunk is committed."""

    chunk: Chunk
    counts: Counts | None = None


# The store
#
# Every method of a store is one transaction and durable when it returns; a method that raises has changed nothing. A
# change of a job, its revision and its journal entry are one transaction. Revisions and sequence numbers grow in the
# order of commits: a reader who has seen everything up to one never misses an earlier one. Methods that name a job
# raise JobNotFound if it does not exist. A ``check`` is called in the transaction, with the job as it is, before
# anything is changed or returned, and before etags are compared.


class JobStore(ABC):
    """Jobs and their states.

    Only ``Job.moved`` assigns a state. Changes that a caller asks for (create, edit, delete, command) carry the call of
    ``origin.current()``; changes that follow from them carry the call of the job.
    """

    @abstractmethod
    async def create(self, job: Job, *, request_id: str = "", request_digest: str = "") -> Job:
        """Store a new job and return it with its revision. Write the notes of its plan into its journal.

        If the job's owner has used this ``request_id`` before with the same digest, store nothing and return the job
        that it made, as it is now. Raises like ``made_by``, and JobExists if the id is taken.
        """

    @abstractmethod
    async def made_by(self, owner: str, request_id: str, request_digest: str) -> Job | None:
        """The job that an earlier request of this owner made under this id, as it is now.

        Requests from before requests had owners belong to everybody. Raises RequestIdReused if the digest differs,
        RequestJobDeleted if the job is gone: requests outlive their jobs.
        """

    @abstractmethod
    async def get(self, job_id: str) -> Job: ...

    @abstractmethod
    async def list(
        self, *, size: int, token: str = "", selection: Selection = EVERY, order: Order = NEWEST_FIRST
    ) -> Page[Job]:
        """The selected jobs in this order. Jobs that are created meanwhile shift no page.

        Raises InvalidRequest (field ``page_token``) for a token that this list did not issue.
        """

    @abstractmethod
    async def in_states(self, states: Set[State]) -> tuple[Job, ...]:
        """All jobs in these states. The job that is longest in its state comes first."""

    @abstractmethod
    async def numbers(self) -> Mapping[State, int]:
        """How many jobs there are in each state."""

    @abstractmethod
    async def unsettled(self) -> tuple[Job, ...]:
        """All jobs whose ``settled`` is false."""

    @abstractmethod
    async def edit(
        self,
        job_id: str,
        *,
        label: str | None = None,
        description: str | None = None,
        shared: bool | None = None,
        spec: JobSpec | None = None,
        plan: Plan | None = None,
        etag: str = "",
        validate_only: bool = False,
        check: Check | None = None,
    ) -> Job:
        """Change every argument that is not None. A new spec needs its plan, and a job that is EDITING.

        Writes the notes of a new plan into the journal. ``validate_only`` stores nothing and returns the job as it
        would be. Raises EtagMismatch, CommandNotAllowed (command ``edit the spec of``).
        """

    @abstractmethod
    async def delete(self, job_id: str, *, etag: str = "", check: Check | None = None) -> Job:
        """Remove the job with its journal and chunks, and return it as it was.

        Raises EtagMismatch, and CommandNotAllowed (command ``delete``) outside ``core.state.DELETABLE``.
        """

    @abstractmethod
    async def command(self, job_id: str, command: Event, *, etag: str = "", check: Check | None = None) -> Job:
        """Apply a command. If the job already does what the command asks for, change nothing and return the job.

        Raises EtagMismatch, CommandNotAllowed.
        """

    @abstractmethod
    async def move(
        self, job_id: str, event: Event, *, failure: Failure | None = None, settled: bool = False
    ) -> Job | None:
        """Apply an event of the job's run. If the job's state does not allow it, change nothing and return None.

        ``settled``: the event brings the job to rest, and its counts agree with the ledger.
        """

    @abstractmethod
    async def move_all(self, states: Set[State], event: Event, *, failure: Failure | None = None) -> tuple[Job, ...]:
        """Apply an event to every job in these states that allows it, all in one transaction."""

    @abstractmethod
    async def written(self) -> None:
        """Wait until everything that was to be written before is written, or waits for a lock or for disk space.

        A disk that hangs shows here.
        """

    @abstractmethod
    async def replan(self, job_id: str, plan: Plan) -> Job:
        """Replace the plan, remove all chunks, and write the plan's notes into the journal.

        The job gets no new revision: nothing that users see changes.
        """


class ChangeStore(ABC):
    """The changes of jobs, by revision."""

    @abstractmethod
    async def revision(self) -> int:
        """The last revision that was given out; 0 in a new store."""

    @abstractmethod
    async def changes(self, after: int, *, limit: int) -> tuple[Change, ...]:
        """The changes after a revision, in order. Raises RevisionCompacted if some of them are gone."""

    @abstractmethod
    async def withdrawn(self) -> Mapping[str, int]:
        """The last revision at which each job stopped being shared, by uid, as far as changes are kept."""

    @abstractmethod
    async def compact(self, *, keep: int) -> int:
        """Remove old changes, some thousands at a time, but keep the latest ``keep``.

        Returns the revision up to which changes are gone.
        """


class JournalStore(ABC):
    """The journals of jobs."""

    @abstractmethod
    async def write_journal(self, job_id: str, level: Level, code: str, message: str) -> None: ...

    @abstractmethod
    async def journal(
        self, job_id: str, *, after: int = 0, limit: int, check: Check | None = None
    ) -> tuple[JournalEntry, ...]:
        """The entries of one job with a greater sequence number, in order."""


class ChunkStore(ABC):
    """The chunks of jobs, and the counts that they add up to."""

    @abstractmethod
    async def add_chunks(self, job_id: str, chunks: Sequence[Chunk]) -> None:
        """Write down chunks that were cut, before they are used."""

    @abstractmethod
    async def chunks(self, job_id: str, *, first: int = 0) -> tuple[KeptChunk, ...]:
        """The chunks from this ordinal on, in order."""

    @abstractmethod
    async def commit_chunks(self, job_id: str, committed: Sequence[CommittedChunk], progress: Progress) -> Job:
        """Note chunks as committed and add their counts to the job's. A chunk that is noted already adds nothing."""

    @abstractmethod
    async def settle(
        self,
        job_id: str,
        committed: Sequence[CommittedChunk],
        *,
        uid: str,
        attempt: int,
        total: int | None,
        progress: Progress,
        settled: bool,
    ) -> Job:
        """Make the store's chunks and the job's counts agree with the ledger, as an attempt has seen it.

        Chunks that the ledger lacks are uncommitted again. Nothing changes if a later attempt has begun, or if the job
        of this uid was deleted and its id is in use again. ``settled``: nothing of the job runs any more. A ``total``
        of None keeps the stored one.
        """


class TransferOf(ABC, Generic[SpecT, PlanT]):
    """Moves the records of one kind of job. Its methods block and run in worker processes; an instance is picklable
    and carries no secret.

    The order of calls is plan, the hooks before, add_columns, begin, then cut and process until the phase is committed,
    advance to the next phase, and after the last phase finish and the hooks after. Every call may be repeated after a
    crash. A job is known by its ``uid``. Every method raises InvalidSpec if the spec cannot be carried out,
    TechnicalError if source or target do not allow it.
    """

    @abstractmethod
    def plan(self, spec: SpecT) -> PlanT:
        """Check a spec against the real source and target. Changes nothing. Raises InvalidSpec."""

    @abstractmethod
    def run_hook(self, job_uid: str, attempt: int, plan: PlanT, moment: Moment, number: int) -> Note:
        """Run one of the plan's hooks, counted from 0. Shuts out all earlier attempts.

        Exactly once: if the ledger says that it has run, do nothing. Returns how long it took, now or then. Raises
        AttemptSuperseded.
        """

    @abstractmethod
    def add_columns(self, job_uid: str, attempt: int, plan: PlanT) -> tuple[Note, ...]:
        """Add the columns to the table that the plan adds, unless they are there or a chunk is committed. Shuts out all
        earlier attempts. Returns what was done. Raises PlanOutdated, AttemptSuperseded."""

    @abstractmethod
    def begin(self, job_uid: str, attempt: int, plan: PlanT, phase: int = 0) -> tuple[CommittedChunk, ...]:
        """Begin an attempt that continues in a phase: check that the source is still the planned one, prepare the
        target and the phase, shut out all earlier attempts, and return what the ledger holds. Raises PlanOutdated."""

    @abstractmethod
    def committed(self, job_uid: str, attempt: int, plan: PlanT) -> tuple[CommittedChunk, ...]:
        """Shut out all attempts before this one and return what the ledger holds, without beginning anything."""

    @abstractmethod
    def extent(self, job_uid: str, plan: PlanT, phase: int = 0) -> int:
        """The end of the range of a phase that is prepared. The plan need not know it."""

    @abstractmethod
    def cut(self, job_uid: str, plan: PlanT, previous: Chunk | None, limit: int, phase: int = 0) -> tuple[Chunk, ...]:
        """The next chunks of this phase, at most ``limit``. Fewer than ``limit`` end the phase.

        ``previous`` is the last chunk that was cut. It belongs to an earlier phase if this phase has no chunk yet.
        Ordinals continue across phases, and each chunk names its phase. Deterministic: the same arguments give the same
        chunks.
        """

    @abstractmethod
    def check_source(self, job_uid: str, plan: PlanT, chunks: Sequence[Chunk]) -> None:
        """Raises PlanOutdated if the source no longer holds what these chunks of one phase were cut from."""

    @abstractmethod
    def process(self, job_uid: str, attempt: int, plan: PlanT, chunk: Chunk) -> Counts:
        """Move the records of one chunk and commit them with their ledger entry; return the balanced counts.

        Exactly once: if the ledger has the chunk already, write nothing and return the counts in the ledger. The
        chunk's rejects are durable before the commit. Raises AttemptSuperseded, PlanOutdated.
        """

    @abstractmethod
    def advance(self, job_uid: str, attempt: int, plan: PlanT, phase: int, chunks: Sequence[Chunk]) -> tuple[Note, ...]:
        """All chunks of the phases before this one are committed: complete the phase before, and prepare this one.
        ``chunks`` are those of the phase before.

        Idempotent and durable. It is called before the first chunk of the phase is cut, and again if the attempt ends
        before that chunk is written down. Returns what users should know. Raises AttemptSuperseded.
        """

    @abstractmethod
    def finish(self, job_uid: str, plan: PlanT, chunks: Sequence[Chunk]) -> tuple[Note, ...]:
        """All chunks of all phases are committed: put the result in its place. May be repeated. ``chunks`` are those of
        the last phase.

        Returns what users should know about the result.
        """

    @abstractmethod
    def abandon(self, job_uid: str, plan: PlanT) -> None:
        """The job was cancelled: remove what only its continuation would need. May be repeated. Records in the target,
        ledger entries and rejects stay. Called if the plan ``keeps_work``."""

    @abstractmethod
    def discard(self, job_uid: str, plan: PlanT) -> None:
        """Forget the job: its ledger entries, parts and rejects. Records in the target stay."""


class Transfer(TransferOf[JobSpec, Plan]):
    """Moves the records of jobs of every kind."""

    @abstractmethod
    def preview(self, spec: ImportSpec, records: int) -> Preview:
        """Plan an import and read at most so many of its first records, without a job. Changes nothing. Raises
        InvalidSpec, TechnicalError."""

    @abstractmethod
    def suggest(self, spec: ImportSpec) -> Suggestion:
        """How an import would fill its table. Changes nothing. Raises InvalidSpec, TechnicalError."""

    @abstractmethod
    def tables(self, connection: str) -> tuple[Table, ...]:
        """The tables that imports through a connection can go into, by schema and name. Raises InvalidSpec (field
        ``connection``), TechnicalError."""

    @abstractmethod
    def describe(self, table: Table) -> TableDescription:
        """An existing table. Raises InvalidSpec, TableNotFound, TechnicalError."""


class RejectReader(ABC):
    """Reads the rejects of chunks."""

    @abstractmethod
    async def read(
        self, job_uid: str, chunks: Sequence[int], *, size: int, token: str = "", wanted: RejectFilter = ALL_REJECTS
    ) -> Page[Reject]:
        """The wanted rejects of these chunks in order. Each chunk has some. A page of long rejects is shorter than
        ``size``.

        Raises InvalidRequest (field ``page_token``), and RejectsLost after all others were read.
        """

    @abstractmethod
    async def groups(self, job_uid: str, chunks: Sequence[int]) -> tuple[RejectGroup, ...]:
        """The groups of the rejects of these chunks, the greatest first. Raises RejectsLost."""


class TokenStore(ABC):
    """Tokens. Every method is one transaction. Other processes see a change at their next call."""

    @abstractmethod
    async def add(self, token: Token) -> bool:
        """Store a new token. If a token of its name is in force, store nothing and return False."""

    @abstractmethod
    async def get(self, token_id: str) -> Token | None: ...

    @abstractmethod
    async def list(self) -> tuple[Token, ...]:
        """All tokens, also the revoked ones, the oldest first."""

    @abstractmethod
    async def revoke(self, name: str) -> bool:
        """Revoke the token of this name for good; False if no token of this name is in force."""


class AuditStore(ABC):
    """Who did what. Entries never change. Every method is one transaction."""

    @abstractmethod
    async def add(self, deeds: Sequence[Deed]) -> None:
        """Append entries, in this order."""

    @abstractmethod
    async def list(self, *, size: int, token: str = "") -> Page[AuditEntry]:
        """The newest first. Raises InvalidRequest (field ``page_token``) for a token that this list did not issue."""
