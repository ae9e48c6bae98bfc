"""The events of jobs and of the daemon that have their own log line, each with its message id."""

from __future__ import annotations

import logging
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING

from ladingd.core.bill import OUTCOMES
from ladingd.core.job import ChangeKind, Level
from ladingd.core.journal import describe
from ladingd.core.state import Event, State

if TYPE_CHECKING:
    from ladingd.core.bill import Counts
    from ladingd.core.job import Change

_log = logging.getLogger("ladingd")


class LogEvent(StrEnum):
    """The value is the MESSAGE_ID in the journal. It identifies the lines of an event and never changes."""

    DAEMON_STARTING = "1f88567d6e5e43d4937eb99c1c376d03"
    DAEMON_READY = "b2430f011969475cbd7c6300d86a9559"
    DAEMON_RELOADING = "e28cc52147554c13a3205f9ac0e23b27"
    DAEMON_STOPPING = "0cb74476b79a4aa6893d1c2289537c68"
    DAEMON_STOPPED = "051aec46ca1b42b6975475e7651a567f"
    STORE_WAITING = "5c1f0e3ab5d94e3f9d3c1f5a7f2f6f0e"
    """Writes to the store wait: another process has locked it, or its disk is full."""
    STORE_WRITABLE = "b8a4c9d27e0f4f6c8f5b6a1de3905c44"
    """The wait is over."""
    JOB_CREATED = "81106d2aafa34efeb575b7d7706f8b83"
    JOB_EDITED = "a3b58d1bf0014159a7432ff407c6bddb"
    JOB_SHARED = "2dec1003286344babc15272c474ccaba"
    JOB_WITHDRAWN = "3c3c9f5d0ce84a49bfd95ab9367cab4f"
    """The job is no longer shared."""
    JOB_STARTED = "cd91536cd81742feb83672fea766e11a"
    """A start command queued the job or ended its pause."""
    JOB_RUNNING = "208b996355834da4807c5a6b483dc34a"
    """The job has a slot, and an attempt begins."""
    JOB_PAUSING = "6c8ec3e267344e729bbe5914a48255b2"
    JOB_PAUSED = "641f3473519545dea8533c4baa6e4bda"
    JOB_CANCELING = "3c0ead1bea22427db60879d70da69323"
    JOB_CANCELED = "d55d1c06fcf34730a7e0cd719bade071"
    JOB_FINISHED = "2eb31a11c51d492592b451310f4a1cd3"
    JOB_FAILED = "ef7cc37b185e40b5af7c1ca818479fd1"
    JOB_INTERRUPTED = "d43c98d193f54a94853322afca46456c"
    JOB_RESUMED = "a613f15071c5443f98217294b47e53aa"
    """The daemon has started, and the job continues by itself."""
    JOB_DELETED = "5b65772815754e509ff0cf75e062e4fc"

    @property
    def fields(self) -> dict[str, object]:
        """The fields that identify a line of this event."""
        return {"event": self.name, "message_id": self.value}


_BY_KIND = {
    ChangeKind.CREATED: LogEvent.JOB_CREATED,
    ChangeKind.EDITED: LogEvent.JOB_EDITED,
    ChangeKind.SHARED: LogEvent.JOB_SHARED,
    ChangeKind.WITHDRAWN: LogEvent.JOB_WITHDRAWN,
    ChangeKind.DELETED: LogEvent.JOB_DELETED,
}
_BY_CAUSE = {
    Event.START: LogEvent.JOB_STARTED,
    Event.SLOT_FREE: LogEvent.JOB_RUNNING,
    Event.RESUME: LogEvent.JOB_RESUMED,
}
_BY_STATE = {
    State.PAUSING: LogEvent.JOB_PAUSING,
    State.PAUSED: LogEvent.JOB_PAUSED,
    State.CANCELING: LogEvent.JOB_CANCELING,
    State.CANCELED: LogEvent.JOB_CANCELED,
    State.FINISHED: LogEvent.JOB_FINISHED,
    State.FAILED: LogEvent.JOB_FAILED,
    State.INTERRUPTED: LogEvent.JOB_INTERRUPTED,
}
_LEVELS = {Level.INFO: logging.INFO, Level.WARNING: logging.WARNING, Level.ERROR: logging.ERROR}


def log_event_of(change: Change) -> LogEvent:
    """The event of a change."""
    if change.kind is not ChangeKind.MOVED:
        return _BY_KIND[change.kind]
    return (change.cause and _BY_CAUSE.get(change.cause)) or _BY_STATE[change.job.state]


def tell(event: LogEvent, message: str, *arguments: object) -> None:
    """Write the line of an event of the daemon."""
    _log.info(message, *arguments, extra={"fields": event.fields})


def tell_wait(waits: bool, message: str) -> None:
    """Write the line that writes to the store wait, or no longer wait. Any thread may call this."""
    event = LogEvent.STORE_WAITING if waits else LogEvent.STORE_WRITABLE
    _log.log(logging.CRITICAL if waits else logging.WARNING, "%s", message, extra={"fields": event.fields})


def tell_change(change: Change) -> None:
    """Write the line of a change of a job."""
    job, event = change.job, log_event_of(change)
    level, code, sentence = describe(change)
    fields = event.fields | {"job": job.id, "revision": change.revision, "code": code, "call": change.correlation}
    if change.from_state is not None:
        fields["from_state"] = change.from_state.value
    if change.kind is not ChangeKind.DELETED:
        fields["state"] = job.state.value
    if change.cause is not None:
        fields["cause"] = change.cause.value
    if job.attempt:
        fields["attempt"] = job.attempt
    if event is LogEvent.JOB_FINISHED:
        fields |= {"bill": asdict(job.counts)}
        sentence = f"{sentence}: {bill(job.counts)}"
    states = (change.from_state, None if change.kind is ChangeKind.DELETED else job.state)
    route = " → ".join(state for state in states if state is not None)
    _log.log(_LEVELS[level], "jobs/%s %s: %s", job.id, route, sentence, extra={"fields": _known(fields)})


def bill(counts: Counts) -> str:
    """The balance as text: the records read are the sum of all outcomes."""
    parts = ((name.replace("_", " "), getattr(counts, name)) for name in (*OUTCOMES, "pending"))
    return f"{counts.read} read = " + (" + ".join(f"{number} {what}" for what, number in parts if number) or "0")


def _known(fields: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value != ""}
