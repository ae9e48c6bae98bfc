"""What watchers receive."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from ladingd.core.clock import utc_now
from ladingd.core.job import EDITS, ChangeKind, Job
from ladingd.core.selection import Field

if TYPE_CHECKING:
    from ladingd.core.job import Change
    from ladingd.core.selection import Selection


class WatchKind(StrEnum):
    """What a watch event says."""

    SNAPSHOT = "SNAPSHOT"
    CHANGED = "CHANGED"
    PROGRESS = "PROGRESS"
    DELETED = "DELETED"
    WITHDRAWN = "WITHDRAWN"
    """The watcher may no longer see the job, and receives only its uid, id and type."""
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchEvent:
    """A fact about a job; a bookmark has no job. A watch that broke off continues after ``revision``."""

    kind: WatchKind
    revision: int
    time: datetime
    job: Job | None = None


def event_of(change: Change, selection: Selection) -> WatchEvent | None:
    """The event of a change for a watcher of these jobs; None if the change does not concern the watcher."""
    if change.kind is ChangeKind.WITHDRAWN and selection.visible_to not in (None, change.job.owner):
        kind = WatchKind.WITHDRAWN
    elif not _concerns(selection, change):
        return None
    else:
        kind = WatchKind.DELETED if change.kind is ChangeKind.DELETED else WatchKind.CHANGED
    return WatchEvent(kind=kind, revision=change.revision, time=change.time, job=change.job)


def bookmark(revision: int) -> WatchEvent:
    """The watcher has seen everything up to this revision."""
    return WatchEvent(kind=WatchKind.BOOKMARK, revision=revision, time=utc_now())


def _concerns(selection: Selection, change: Change) -> bool:
    """Whether the selection holds the job after this change, or may have held it before."""
    if change.kind in EDITS:
        return selection.without(Field.LABEL, Field.TYPE, Field.SHARED).holds(change.job)
    if selection.holds(change.job):
        return True
    return change.from_state is not None and selection.holds(replace(change.job, state=change.from_state))
