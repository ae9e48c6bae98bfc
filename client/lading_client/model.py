"""Jobs and what belongs to them, as the daemon shows them. The fields are named as in `protos/lading/v1`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from lading_client.spec import ColumnMapping, JobSpec, Table

if TYPE_CHECKING:
    from collections.abc import Set


class State(StrEnum):
    """The state of a job. UNSPECIFIED stands for a state of a newer daemon that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    EDITING = "EDITING"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSING = "PAUSING"
    PAUSED = "PAUSED"
    CANCELING = "CANCELING"
    CANCELED = "CANCELED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    INTERRUPTED = "INTERRUPTED"


ENDED: Set[State] = frozenset({State.FINISHED, State.FAILED, State.CANCELED})
"""The job has an end time."""

AT_REST: Set[State] = ENDED | {State.PAUSED, State.INTERRUPTED}
"""The job rests until somebody, or the next start of the daemon, continues it."""


class JournalLevel(StrEnum):
    """The severity of a journal entry."""

    UNSPECIFIED = "UNSPECIFIED"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Connector(StrEnum):
    """The side that rejected a record."""

    UNSPECIFIED = "UNSPECIFIED"
    TEXT = "TEXT"
    DATABASE = "DATABASE"


class RejectType(StrEnum):
    """What was rejected: the record, or only one of its fields."""

    UNSPECIFIED = "UNSPECIFIED"
    ERROR = "ERROR"
    WARNING = "WARNING"


class WatchKind(StrEnum):
    """The kind of a watch event."""

    UNSPECIFIED = "UNSPECIFIED"
    SNAPSHOT = "SNAPSHOT"
    CHANGED = "CHANGED"
    PROGRESS = "PROGRESS"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a job stopped. ``code`` is a stable word in UPPER_SNAKE_CASE."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FileProgress:
    """The file that an import of several reads: ``number`` counts from 1, ``percent`` is from 0 to 100.

    The files before it are complete, and those after it have not begun.
    """

    name: str
    number: int
    count: int
    percent: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """The progress of a job: ``percent`` from 0 to 100; ``time_left`` is None while it cannot be estimated, ``file`` if
    the job has one file."""

    percent: float = 0.0
    records_per_second: float = 0.0
    time_left: timedelta | None = None
    file: FileProgress | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Counters:
    """Sums over the committed chunks. ``total`` is None until the whole source has been read."""

    total: int | None = None
    processed: int = 0
    success: int = 0
    empty: int = 0
    errors: int = 0
    warnings: int = 0
    rejects: int = 0
    doubles: int = 0
    duplicates: int = 0
    removed: int = 0
    """Rows of the table that an import with ``replace`` removed. They are no records."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bill:
    """The balance: ``read`` is the sum of all the others."""

    read: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    rejected: int = 0
    filtered: int = 0
    ignored_doubles: int = 0
    empty: int = 0
    pending: int = 0
    """Records that are staged for a later phase of the job; 0 once the job is FINISHED."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One import or export. Times are aware and in UTC; a job that was only validated has no times."""

    name: str
    uid: str = ""
    owner: str = ""
    """The creator of the job; empty for a job from before jobs had owners."""
    shared: bool = False
    label: str = ""
    description: str = ""
    spec: JobSpec
    state: State
    failure: Failure | None = None
    revision: int = 0
    etag: str = ""
    attempt: int = 0
    progress: Progress = Progress()
    counters: Counters = Counters()
    bill: Bill = Bill()
    create_time: datetime | None = None
    update_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    duration: timedelta | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalEntry:
    """One log message of one job."""

    sequence: int
    time: datetime | None
    level: JournalLevel
    code: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reject:
    """A rejected record, or a rejected field of a record. An empty ``column`` means the whole record."""

    type: RejectType
    time: datetime | None
    file: str
    line: int
    record: int
    raw: str
    column: str
    value: str
    connector: Connector
    code: str
    message: str
    group: str = ""
    """The id of its group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectPlace:
    """Where a record is: the file, and the line it starts on."""

    file: str
    line: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectGroup:
    """Rejects that are one problem.

    The ``pattern`` is the value with ``9`` for digits and ``a`` for letters; it is empty if the value does not matter.
    ``places`` are the first ones, ``values`` are some different ones, and ``message`` is that of the first one.
    """

    id: str
    type: RejectType
    connector: Connector
    column: str
    code: str
    pattern: str
    count: int
    places: tuple[RejectPlace, ...]
    values: tuple[str, ...]
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectGroups:
    """The groups of the rejects of a job so far, the greatest first, and the number of records that were ``read``."""

    groups: tuple[RejectGroup, ...]
    read: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewColumn:
    """A column of a file, as an import would read it."""

    source: str
    target: str
    type: str
    inferred: bool = False
    notation: str = ""
    """How the values are written, as it is spelled after the type: ``DD/MM/YYYY``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewRecord:
    """A record as an import would read it: its values as text, or None for null."""

    line: int
    values: tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """What an import would do. The table was not asked about the records."""

    detected: str = ""
    notes: tuple[str, ...] = ()
    columns: tuple[PreviewColumn, ...] = ()
    records: tuple[PreviewRecord, ...] = ()
    """The first records that would be imported."""
    rejects: tuple[Reject, ...] = ()
    """The first records that would be rejected, and warnings about others."""
    read: int = 0
    """How many records were looked at."""
    rejected: int = 0
    filtered: int = 0
    """How many of them would be left out on purpose."""
    whole: bool = False
    """The file has no other records."""
    unused_source_columns: tuple[str, ...] = ()
    """The columns of the file that fill no column and are in no expression."""
    unused_target_columns: tuple[str, ...] = ()
    """The columns of the existing table that nothing fills."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableColumn:
    """A column of an existing table."""

    name: str
    declared: str
    """The type as the database spells it."""
    type: str
    """The type as which its fields are read."""
    nullable: bool = False
    required: bool = False
    """Every import must fill it."""
    generated: bool = False
    """The database computes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableDescription:
    """An existing table, and what people should know before they import into it."""

    table: Table
    columns: tuple[TableColumn, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class MappingSuggestion:
    """How a column of a table would be filled. ``guessed``: the names differ by more than case."""

    mapping: ColumnMapping
    type: str
    """With the way in which values are written: ``date:DD/MM/YYYY``."""
    guessed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SuggestedMapping:
    """How an import would fill its table, and the columns of both sides that it does not use."""

    suggestions: tuple[MappingSuggestion, ...] = ()
    unused_source_columns: tuple[str, ...] = ()
    unused_target_columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectEvent:
    """A reject with its ordinal among the rejects of its job, from 1 on. A watch can resume from it."""

    sequence: int
    reject: Reject


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEntry:
    """A call that changed something or tried to, or that was refused because the caller lacked a right.

    ``resource`` is empty if the call named none; ``outcome`` is gRPC's word, as in OK or PERMISSION_DENIED.
    """

    sequence: int
    time: datetime | None
    principal: str
    role: str
    peer: str
    method: str
    resource: str
    outcome: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchEvent:
    """What happened to a job at ``revision``. Only a bookmark has no job."""

    kind: WatchKind
    revision: int
    job: Job | None
    time: datetime | None
