"""What the domain needs of the world, and what whoever provides it must keep to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from ladingd.core.bill import Counts
from ladingd.core.plan import Chunk, CommittedChunk, Plan
from ladingd.core.selection import EVERY, NEWEST_FIRST, Order, Selection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from ladingd.core.access import AuditEntry, Deed, Token
    from ladingd.core.job import Change, Failure, Job, JournalEntry, Level, Progress, Reject
    from ladingd.core.spec import JobSpec
    from ladingd.core.state import Event, State

T = TypeVar("T")


Check = Callable[["Job"], None]
"""Whether somebody may do something with a job: it raises where they may not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[T]):
    """Some items, and the token that the next ones begin with; empty where there are none."""

    items: tuple[T, ...]
    next_token: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptChunk:
    """A chunk as the store knows it; ``counts`` is None until the store has heard that it is committed."""

    chunk: Chunk
    counts: Counts | None = None


class JobStore(ABC):
    """Jobs, their changes, their journals and their chunks, durably.

    Every method is one transaction and durable when it returns; one that raises has changed nothing. A change of a
    job, its revision and its journal entry are one transaction. Revisions and sequence numbers grow in the order
    of commits: whoever has read up to one never misses an earlier one. A state is assigned by ``Job.moved`` alone.
    Methods that name a job raise JobNotFound where it is not there. What a call wants (create, edit, delete, command)
    is written down with the call of ``origin.current()``, what comes of it by itself with the job's.
    A ``check`` is called in the transaction with the job as it is before anything is done or told of it, etags too.
    """

    # Jobs

    @abstractmethod
    async def create(self, job: Job, *, request_id: str = "", request_digest: str = "") -> Job:
        """Store a new job and return it with its revision. The notes of its plan go into its journal.

        With a ``request_id`` that the job's owner used before and the same digest, return the job of that time as it
        is now and store nothing. Raises like ``made_by``, and JobExists where the id is taken.
        """

    @abstractmethod
    async def made_by(self, owner: str, request_id: str, request_digest: str) -> Job | None:
        """The job that an earlier request of this owner with this id made, as it is now.

        A request that was made before requests had owners is everybody's. Raises RequestIdReused where the digest
        differs, RequestJobDeleted where the job is gone: requests outlive their jobs.
        """

    @abstractmethod
    async def get(self, job_id: str) -> Job: ...

    @abstractmethod
    async def list(
        self, *, size: int, token: str = "", selection: Selection = EVERY, order: Order = NEWEST_FIRST
    ) -> Page[Job]:
        """The selected jobs in this order. Jobs that are made meanwhile shift no page.

        Raises InvalidRequest (field ``page_token``) for a token that this list did not give out.
        """

    @abstractmethod
    async def in_states(self, states: Set[State]) -> tuple[Job, ...]:
        """All jobs in these states, the one longest in its state first."""

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
        """Change what is not None. A new spec comes with its plan, and only while the job is EDITING.

        The notes of a new plan go into the journal. ``validate_only``: nothing is stored, and the job returned as it
        would be. Raises EtagMismatch, CommandNotAllowed (command ``edit the spec of``).
        """

    @abstractmethod
    async def delete(self, job_id: str, *, etag: str = "", check: Check | None = None) -> Job:
        """Remove the job with its journal and chunks, and return it as it was.

        Raises EtagMismatch, and CommandNotAllowed (command ``delete``) outside ``core.state.DELETABLE``.
        """

    # Changes of state

    @abstractmethod
    async def command(self, job_id: str, command: Event, *, etag: str = "", check: Check | None = None) -> Job:
        """Apply a command of people or programs. One that is under way already changes nothing and returns the job.

        Raises EtagMismatch, CommandNotAllowed.
        """

    @abstractmethod
    async def move(
        self, job_id: str, event: Event, *, failure: Failure | None = None, settled: bool = False
    ) -> Job | None:
        """Apply an event of the job's run; None, and no change, where it cannot happen in the job's state.

        ``settled``: the job is at rest with it, and its counts agree with the ledger.
        """

    @abstractmethod
    async def move_all(self, states: Set[State], event: Event, *, failure: Failure | None = None) -> tuple[Job, ...]:
        """Apply an event to every job in these states that it can happen to, all in one transaction."""

    # Following

    @abstractmethod
    async def revision(self) -> int:
        """The last revision that was given out; 0 in a new store."""

    @abstractmethod
    async def written(self) -> None:
        """All that was to be written before this is written, or waits for a lock or for room: a disk that hangs is
        noticed here."""

    @abstractmethod
    async def changes(self, after: int, *, limit: int) -> tuple[Change, ...]:
        """The changes after a revision, in order. Raises RevisionCompacted where some of them are gone."""

    @abstractmethod
    async def withdrawn(self) -> Mapping[str, int]:
        """By uid, the last revision at which each job ceased to be shared, as far as changes are kept."""

    @abstractmethod
    async def compact(self, *, keep: int) -> int:
        """Forget old changes, some thousands at a time, but never so many of the latest; the revision up to which they
        are gone."""

    # Journal

    @abstractmethod
    async def write_journal(self, job_id: str, level: Level, code: str, message: str) -> None: ...

    @abstractmethod
    async def journal(
        self, job_id: str, *, after: int = 0, limit: int, check: Check | None = None
    ) -> tuple[JournalEntry, ...]:
        """The entries of one job with a greater sequence number, in order."""

    # Chunks

    @abstractmethod
    async def replan(self, job_id: str, plan: Plan) -> Job:
        """Replace the plan, forget all chunks, and put the plan's notes into the journal. No revision: what people see
        does not change by it."""

    @abstractmethod
    async def add_chunks(self, job_id: str, chunks: Sequence[Chunk]) -> None:
        """Write cut chunks down before they are used."""

    @abstractmethod
    async def chunks(self, job_id: str, *, first: int = 0) -> tuple[KeptChunk, ...]:
        """In the order of their ordinals, from this one on."""

    @abstractmethod
    async def commit_chunks(self, job_id: str, committed: Sequence[CommittedChunk], progress: Progress) -> Job:
        """Note chunks as committed and add their counts to the job's. One that is noted already adds nothing."""

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
        """Make the store's chunks and the job's counts agree with the ledger, as it was seen during an attempt.

        Chunks that the ledger lacks are uncommitted again. Where a later attempt has begun, or the job of that uid was
        deleted and its id given out again, nothing changes.
        ``settled``: nothing of the job runs any more. A ``total`` of None leaves the one that is there.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of the database. Methods that are waiting finish first."""


class Transfer(ABC):
    """Moves records. Its methods block and run in worker processes; an instance is picklable and carries no secret.

    The order of a job's life is plan, begin, cut, process, finish. All of them may be repeated after a crash.
    A job is known by its ``uid``. Any of them raises InvalidSpec where the spec cannot be, TechnicalError where the
    world does not play along.
    """

    @abstractmethod
    def plan(self, spec: JobSpec) -> Plan:
        """Check a spec against the real source and target. Changes nothing. Raises InvalidSpec."""

    @abstractmethod
    def begin(self, job_uid: str, attempt: int, plan: Plan) -> tuple[CommittedChunk, ...]:
        """Begin an attempt: check that the source is still the planned one, make ready what the target needs, shut
        out all earlier attempts, and say what the ledger holds. Raises PlanOutdated."""

    @abstractmethod
    def committed(self, job_uid: str, attempt: int, plan: Plan) -> tuple[CommittedChunk, ...]:
        """Shut out all attempts before this one and say what the ledger holds, without beginning anything."""

    @abstractmethod
    def cut(self, plan: Plan, previous: Chunk | None, limit: int) -> tuple[Chunk, ...]:
        """The next chunks after the previous one, at most ``limit``; none means that the source ends there.

        Deterministic: the same plan and the same previous chunk give the same chunks.
        """

    @abstractmethod
    def check_source(self, plan: Plan, chunks: Sequence[Chunk]) -> None:
        """Raises PlanOutdated where the source does not hold any more what these chunks were cut from."""

    @abstractmethod
    def process(self, job_uid: str, attempt: int, plan: Plan, chunk: Chunk) -> Counts:
        """Move the records of one chunk and commit them with their ledger entry; return the balanced counts.

        Exactly once: where the ledger has the chunk already, nothing is written and the counts of then are returned.
        The chunk's rejects are durable before the commit. Raises AttemptSuperseded, PlanOutdated.
        """

    @abstractmethod
    def finish(self, job_uid: str, plan: Plan, chunks: Sequence[Chunk]) -> None:
        """All chunks are committed: put the result in its place. May be repeated."""

    @abstractmethod
    def discard(self, job_uid: str, plan: Plan) -> None:
        """Forget the job: its ledger entries, parts and rejects. Records in the target stay."""


class RejectReader(ABC):
    """Reads the rejects that chunks have left."""

    @abstractmethod
    async def read(self, job_uid: str, chunks: Sequence[int], *, size: int, token: str = "") -> Page[Reject]:
        """The rejects of these chunks, which all have some, in their order; fewer than ``size`` where they are long.

        Raises InvalidRequest (field ``page_token``), and RejectsLost after all others were read.
        """


class TokenStore(ABC):
    """Tokens, durably. Every method is one transaction. A change counts for every process at the next call."""

    @abstractmethod
    async def add(self, token: Token) -> bool:
        """Keep a new token; False, and nothing kept, where one of its name is in force."""

    @abstractmethod
    async def get(self, token_id: str) -> Token | None: ...

    @abstractmethod
    async def list(self) -> tuple[Token, ...]:
        """All there ever were, the oldest first."""

    @abstractmethod
    async def revoke(self, name: str) -> bool:
        """Make the token of this name invalid for good; False where none of this name is unrevoked."""


class AuditStore(ABC):
    """Who did what, durably. Nothing is ever changed in it. Every method is one transaction."""

    @abstractmethod
    async def add(self, deeds: Sequence[Deed]) -> None:
        """Append entries, in this order."""

    @abstractmethod
    async def list(self, *, size: int, token: str = "") -> Page[AuditEntry]:
        """The newest first. Raises InvalidRequest (field ``page_token``) for a token that is none of ours."""
