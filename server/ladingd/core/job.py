"""A job: one import or export, its spec, its state, its counters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from ladingd.core.bill import Counts
from ladingd.core.plan import Plan
from ladingd.core.spec import JobSpec
from ladingd.core.state import ENDED, Event, State, next_state


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a job stopped. ``code`` is a stable word in UPPER_SNAKE_CASE."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FileProgress:
    """The file that an import of several files reads: ``number`` counts from 1, ``fraction`` is from 0 to 1.

    The files before it are complete, and those after it have not begun.
    """

    name: str
    number: int
    count: int
    fraction: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """The progress of a job: ``fraction`` from 0 to 1, ``rate`` in records a second, ``time_left`` if it can be
    estimated."""

    fraction: float = 0.0
    rate: float = 0.0
    time_left: timedelta | None = None
    file: FileProgress | None = None
    """None if the job has one file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A job at ``revision``. ``counts`` are the sums over its committed chunks. ``total`` is the number of records in
    the source, None until all of it was read."""

    id: str
    uid: str
    """Never reused, unlike the id of a deleted job. Targets know the job by its uid."""
    owner: str = ""
    """The name of the principal that made the job; empty if it was made before jobs had owners."""
    shared: bool = False
    """Whether all callers may read the job."""
    label: str = ""
    description: str = ""
    spec: JobSpec
    plan: Plan
    state: State = State.EDITING
    revision: int = 0
    attempt: int = 0
    counts: Counts = Counts()
    total: int | None = None
    progress: Progress = Progress()
    failure: Failure | None = None
    settled: bool = True
    """Nothing of the job runs, and ``counts`` agree with the ledger. False from the beginning of an attempt to its end.
    A daemon that finds it false at its start asks the ledger."""
    correlation: str = ""
    """The id of the call that made the job or commanded it last. The job runs on behalf of this call."""
    create_time: datetime
    update_time: datetime
    start_time: datetime | None = None
    end_time: datetime | None = None

    @property
    def etag(self) -> str:
        """Changes whenever the revision does."""
        return f'"{self.revision}"'

    def taken(self, now: datetime) -> timedelta | None:
        """The time from the first start to the end, or to now; at least 0, even if the clock was set back."""
        if self.start_time is None:
            return None
        return max((self.end_time or now) - self.start_time, timedelta())

    def moved(self, event: Event, now: datetime, failure: Failure | None = None) -> Job | None:
        """The job after this event, without its new revision; None if the event cannot happen in its state.

        ``failure`` says why, for a move to FAILED or INTERRUPTED.
        """
        state = next_state(self.state, event)
        if state is None:
            return None
        begins = event is Event.SLOT_FREE
        return replace(
            self,
            state=state,
            failure=failure if state in (State.FAILED, State.INTERRUPTED) else None,
            attempt=self.attempt + 1 if begins else self.attempt,
            settled=False if begins else self.settled,
            update_time=now,
            start_time=(self.start_time or now) if begins else self.start_time,
            end_time=now if state in ENDED else None,
        )


class ChangeKind(StrEnum):
    """The kind of a change. The values are stored and never change."""

    CREATED = "CREATED"
    MOVED = "MOVED"
    """From one state to another."""
    EDITED = "EDITED"
    """Label, description or spec."""
    SHARED = "SHARED"
    """Others can now read the job. Texts and spec may have changed as well."""
    WITHDRAWN = "WITHDRAWN"
    """Others can no longer read the job. Texts and spec may have changed as well."""
    DELETED = "DELETED"


EDITS = frozenset({ChangeKind.EDITED, ChangeKind.SHARED, ChangeKind.WITHDRAWN})
"""Changes of a job's texts, spec or sharing, not of its state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A fact: at this revision the job became ``job``."""

    revision: int
    kind: ChangeKind
    job: Job
    time: datetime
    from_state: State | None = None
    cause: Event | None = None
    correlation: str = ""
    """The id of the call that caused the change, directly or indirectly; empty if none did."""


class Level(StrEnum):
    """The severity of a journal entry."""

    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Note(NamedTuple):
    """What users should know about a result."""

    text: str
    level: Level = Level.INFO


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalEntry:
    """One log message of one job. ``sequence`` grows over all jobs."""

    sequence: int
    job_id: str
    time: datetime
    level: Level
    code: str
    message: str


class Connector(StrEnum):
    """The side that rejected a record."""

    TEXT = "TEXT"
    DATABASE = "DATABASE"


class RejectType(StrEnum):
    """What was rejected: the record, or only a field of it."""

    ERROR = "ERROR"
    WARNING = "WARNING"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reject:
    """A rejected record. ``line`` is the physical line it starts on (1 = first line of the file), ``record`` its
    ordinal (1 = first after the header), ``raw`` its text without the line end. An empty ``column`` means the whole
    record."""

    type: RejectType = RejectType.ERROR
    time: datetime
    file: str
    line: int
    record: int
    raw: str
    column: str = ""
    value: str = ""
    connector: Connector
    code: str
    message: str
    group: str = ""
    """The id of its group, see `reject_group.py`."""
