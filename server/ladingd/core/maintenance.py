"""The ports for upkeep: holds, discards, retention, and the files of jobs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ladingd.core.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set
    from datetime import datetime

    from ladingd.core.job import Job
    from ladingd.core.state import State


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """A job that the daemon has paused because a disk is full, and will start again itself. ``place`` is the full
    directory; empty if it is not on this machine."""

    job_id: str
    place: str = ""


class HoldStore(ABC):
    """Remembers which jobs the daemon has paused. Every method is one transaction.

    The first command of a user on the job ends the hold: from then on the user's command counts.
    """

    @abstractmethod
    async def hold(self, job_id: str, reason: str, place: str = "") -> Job | None:
        """Pause a job that is RUNNING and write the reason into its journal. If it is not RUNNING, change nothing and
        return None."""

    @abstractmethod
    async def hold_all(self, reason: str) -> tuple[Job, ...]:
        """Pause all jobs that are RUNNING."""

    @abstractmethod
    async def note_queued(self, reason: str) -> tuple[str, ...]:
        """Write into the journals of all QUEUED jobs why they wait, unless that is already their last entry. Returns
        the ids of the jobs with a new entry."""

    @abstractmethod
    async def held(self) -> tuple[Hold, ...]:
        """All holds, the oldest first."""

    @abstractmethod
    async def release(self, job_id: str, reason: str) -> Job | None:
        """Forget the hold of a job and start the job. Returns None if it was not held or has ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Discard:
    """A deleted or cancelled job whose data may still be in the target and the work directory."""

    job_id: str
    uid: str
    plan: Plan
    deleted: bool = True
    """False: the job was cancelled, and only what its continuation would need must go."""


class DiscardStore(ABC):
    """The leftovers of deleted and cancelled jobs, until they are cleared away. The transaction that deletes or cancels
    a job notes them."""

    @abstractmethod
    async def pending(self) -> tuple[Discard, ...]:
        """All leftovers, the oldest first."""

    @abstractmethod
    async def done(self, discard: Discard) -> None:
        """Note that these leftovers are cleared away. A deletion since then stays noted."""

    @abstractmethod
    async def known(self) -> Set[str]:
        """The uids of all jobs and of all leftovers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedJob:
    """A job that has ended. ``etag`` is its etag when it was found."""

    id: str
    uid: str
    etag: str


class JobDeleter(Protocol):
    """Deletes jobs in the same way as the API, so that watchers see the deletion."""

    async def delete(self, job_id: str, *, etag: str = "", wait: bool = True) -> None:
        """Delete a job and its leftovers. With ``wait``, return when the leftovers are gone.

        Raises JobNotFound, EtagMismatch, CommandNotAllowed.
        """


class RetentionStore(ABC):
    """Finds and trims old data. Every method is one short transaction."""

    @abstractmethod
    async def overdue(
        self, states: Set[State], *, before: datetime | None = None, keep: int | None = None, limit: int
    ) -> tuple[EndedJob, ...]:
        """Jobs in these states that ended before a time, or that are not among the latest ``keep``. The job that ended
        first comes first."""

    @abstractmethod
    async def ended(self, states: Set[State], uids: Sequence[str]) -> tuple[tuple[datetime, EndedJob], ...]:
        """Those of the given jobs that are in these states, with their end times."""

    @abstractmethod
    async def trim_requests(self, *, before: datetime) -> int:
        """Delete requests from before a time whose jobs are gone, some thousands at a time. Returns how many."""

    @abstractmethod
    async def trim_audit(self, *, before: datetime | None = None, keep: int | None = None) -> int:
        """Delete audit entries from before a time and all but the latest ``keep``, some thousands at a time. Returns
        how many."""


class JobFiles(ABC):
    """The files that jobs keep in the work directory: rejects, parts, spools. No method blocks the event loop."""

    @abstractmethod
    async def sizes(self) -> Mapping[str, int]:
        """The sizes in bytes of all jobs' files, by uid."""

    @abstractmethod
    async def forget(self, uid: str) -> None:
        """Remove the files of a job. Raises DestinationRefused."""

    @abstractmethod
    async def set_aside(self, uid: str) -> None:
        """Move the files of an unknown job out of the way. Raises DestinationRefused."""

    @abstractmethod
    async def forget_orphans(self, before: datetime) -> None:
        """Remove files that were set aside before a time. Raises DestinationRefused."""
