"""What a daemon has to remember and to clear away: holds, discards, what is old, and the files of jobs."""

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
    """A job that the daemon has paused for want of room, and starts again by itself. ``place`` is the directory that
    was full; empty where it is none of this machine."""

    job_id: str
    place: str = ""


class HoldStore(ABC):
    """Which jobs the daemon has paused, durably. Every method is one transaction.

    A hold ends with the first command that people give the job: what they want counts from then on.
    """

    @abstractmethod
    async def hold(self, job_id: str, reason: str, place: str = "") -> Job | None:
        """Pause a job that is RUNNING, and write the reason into its journal; None, and no change, where it is not."""

    @abstractmethod
    async def hold_all(self, reason: str) -> tuple[Job, ...]:
        """Pause all jobs that are RUNNING."""

    @abstractmethod
    async def note_queued(self, reason: str) -> tuple[str, ...]:
        """Write into the journals of jobs that are QUEUED why they wait, where that is not the last word in them
        already; the ids of these jobs."""

    @abstractmethod
    async def held(self) -> tuple[Hold, ...]:
        """All holds, the oldest first."""

    @abstractmethod
    async def release(self, job_id: str, reason: str) -> Job | None:
        """Start a job that is still held, and forget the hold; None where nothing was to be started."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Discard:
    """A job that was deleted, and that target and work directory may still know."""

    job_id: str
    uid: str
    plan: Plan


class DiscardStore(ABC):
    """What deleted jobs have left, until it is cleared away. It is noted in the transaction that deletes the job."""

    @abstractmethod
    async def pending(self) -> tuple[Discard, ...]:
        """The oldest first."""

    @abstractmethod
    async def done(self, uid: str) -> None:
        """All that the job left is cleared away."""

    @abstractmethod
    async def known(self) -> Set[str]:
        """The uids of all jobs, and of what is pending."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedJob:
    """A job that nothing happens to by itself any more. ``etag`` is that of the job as it was found."""

    id: str
    uid: str
    etag: str


class JobDeleter(Protocol):
    """Deletes jobs as a caller of the API does, so that watchers hear of it."""

    async def delete(self, job_id: str, *, etag: str = "", wait: bool = True) -> None:
        """Delete a job and what it left; with ``wait``, return when that is gone.

        Raises JobNotFound, EtagMismatch, CommandNotAllowed.
        """


class RetentionStore(ABC):
    """Finds what is old. Every method is one short transaction."""

    @abstractmethod
    async def overdue(
        self, states: Set[State], *, before: datetime | None = None, keep: int | None = None, limit: int
    ) -> tuple[EndedJob, ...]:
        """Jobs in these states that ended before a time, or that are not among the latest ones to keep; the one that
        ended first comes first."""

    @abstractmethod
    async def ended(self, states: Set[State], uids: Sequence[str]) -> tuple[tuple[datetime, EndedJob], ...]:
        """Those of some jobs that are in these states, with their end."""

    @abstractmethod
    async def trim_requests(self, *, before: datetime) -> int:
        """Forget requests of before a time whose jobs are gone, some thousands at a time; how many they were."""

    @abstractmethod
    async def trim_audit(self, *, before: datetime | None = None, keep: int | None = None) -> int:
        """Forget entries of the audit trail, some thousands at a time: those before a time, and all but the latest;
        how many they were."""


class JobFiles(ABC):
    """The files that jobs keep in the work directory: rejects, parts, spools. No method blocks the event loop."""

    @abstractmethod
    async def sizes(self) -> Mapping[str, int]:
        """The uids of all jobs that have some, with their bytes."""

    @abstractmethod
    async def forget(self, uid: str) -> None:
        """Remove those of a job. Raises DestinationRefused."""

    @abstractmethod
    async def set_aside(self, uid: str) -> None:
        """Put those of a job that nobody knows where they are in nobody's way. Raises DestinationRefused."""

    @abstractmethod
    async def forget_orphans(self, before: datetime) -> None:
        """Remove what was set aside before a time. Raises DestinationRefused."""
