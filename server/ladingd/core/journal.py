"""The journal entries for the changes of a job."""

from __future__ import annotations

from ladingd.core.job import Change, ChangeKind, Level
from ladingd.core.state import Event, State

_SENTENCES: dict[tuple[Event, State], str] = {
    (Event.START, State.QUEUED): "start: waiting for a free slot",
    (Event.START, State.RUNNING): "start: the pause is cancelled",
    (Event.PAUSE, State.PAUSING): "pause: the chunks in flight are finishing",
    (Event.PAUSE, State.PAUSED): "pause: the job had not begun to run",
    (Event.CANCEL, State.CANCELING): "cancel: the chunks in flight are finishing",
    (Event.CANCEL, State.CANCELED): "cancel: the job was not running",
    (Event.QUIESCENT, State.PAUSED): "paused: nothing of the job is running any more; start continues it",
    (Event.QUIESCENT, State.CANCELED): "cancelled: nothing of the job is running any more; committed records stay",
    (Event.COMPLETE, State.FINISHED): "finished: every record is accounted for",
    (Event.SHUTDOWN, State.INTERRUPTED): "the daemon shuts down; the job continues when the daemon starts again",
    (Event.SHUTDOWN, State.PAUSED): "the daemon shuts down during the pause; start continues it",
    (Event.SHUTDOWN, State.CANCELED): "the daemon shuts down during the cancel; committed records stay",
    (Event.ORPHAN, State.INTERRUPTED): "the daemon had died while the job was running",
    (Event.ORPHAN, State.PAUSED): "the daemon had died during the pause; start continues it",
    (Event.ORPHAN, State.CANCELED): "the daemon had died during the cancel; committed records stay",
    (Event.RESUME, State.QUEUED): "the daemon has started: the job continues after its last committed chunk",
}


def describe(change: Change) -> tuple[Level, str, str]:
    """The level, code and sentence of the journal entry that belongs to a change."""
    job = change.job
    if change.kind is ChangeKind.CREATED:
        return Level.INFO, "CREATED", "created"
    if change.kind is ChangeKind.EDITED:
        return Level.INFO, "EDITED", "edited"
    if change.kind is ChangeKind.SHARED:
        return Level.INFO, "SHARED", "shared: all users of this daemon can read the job"
    if change.kind is ChangeKind.WITHDRAWN:
        return Level.INFO, "WITHDRAWN", "no longer shared"
    if change.kind is ChangeKind.DELETED or change.cause is None:
        return Level.INFO, change.kind.value, change.kind.value.lower()
    if change.cause is Event.SLOT_FREE:
        return Level.INFO, "ATTEMPT_BEGINS", f"attempt {job.attempt} begins"
    if change.cause is Event.ERROR and job.failure is not None:
        return Level.ERROR, job.failure.code, job.failure.message
    level = Level.WARNING if change.cause in (Event.SHUTDOWN, Event.ORPHAN) else Level.INFO
    return level, job.state.value, _SENTENCES[change.cause, job.state]
