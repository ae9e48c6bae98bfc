"""Messages about jobs as objects of the model. No message leaves the client's own modules."""

from __future__ import annotations

from dataclasses import fields

from lading.v1 import audit_service_pb2, job_pb2, job_service_pb2
from lading_client.messages.enums import duration_of, enum_values, time_of
from lading_client.messages.spec import spec_from
from lading_client.model import (
    AuditEntry,
    Bill,
    Connector,
    Counters,
    Failure,
    FileProgress,
    Job,
    JournalEntry,
    JournalLevel,
    Progress,
    Reject,
    RejectEvent,
    RejectGroup,
    RejectGroups,
    RejectPlace,
    RejectType,
    State,
    WatchEvent,
    WatchKind,
)

_COUNTERS = ("processed", "success", "empty", "errors", "warnings", "rejects", "doubles", "duplicates", "removed")
_BILL = tuple(field.name for field in fields(Bill))
_STATES = enum_values(State, job_pb2.State.DESCRIPTOR, "STATE_")
_LEVELS = enum_values(JournalLevel, job_pb2.JournalLevel.DESCRIPTOR, "JOURNAL_LEVEL_")
_CONNECTORS = enum_values(Connector, job_pb2.Connector.DESCRIPTOR, "CONNECTOR_")
_REJECT_TYPES = enum_values(RejectType, job_pb2.RejectType.DESCRIPTOR, "REJECT_TYPE_")
_KINDS = enum_values(WatchKind, job_service_pb2.WatchJobsResponse.Kind.DESCRIPTOR, "KIND_")


def job(message: job_pb2.Job) -> Job:
    """A job as the daemon sent it."""
    failure = Failure(code=message.failure.code, message=message.failure.message)
    return Job(
        name=message.name,
        uid=message.uid,
        label=message.label,
        description=message.description,
        owner=message.owner,
        shared=message.shared,
        spec=spec_from(message.spec),
        state=_STATES.get(message.state, State.UNSPECIFIED),
        failure=failure if message.HasField("failure") else None,
        revision=message.revision,
        etag=message.etag,
        attempt=message.attempt,
        progress=Progress(
            percent=message.progress.percent,
            records_per_second=message.progress.records_per_second,
            time_left=duration_of(message.progress, "time_left"),
            file=_file_progress(message.progress.file) if message.progress.HasField("file") else None,
        ),
        counters=Counters(
            total=message.counters.total if message.counters.HasField("total") else None,
            **{name: getattr(message.counters, name) for name in _COUNTERS},
        ),
        bill=Bill(**{name: getattr(message.bill, name) for name in _BILL}),
        create_time=time_of(message, "create_time"),
        update_time=time_of(message, "update_time"),
        start_time=time_of(message, "start_time"),
        end_time=time_of(message, "end_time"),
        duration=duration_of(message, "duration"),
    )


def _file_progress(message: job_pb2.FileProgress) -> FileProgress:
    return FileProgress(name=message.name, number=message.number, count=message.count, percent=message.percent)


def journal_entry(message: job_pb2.JournalEntry) -> JournalEntry:
    """A journal entry as the daemon sent it."""
    return JournalEntry(
        sequence=message.sequence,
        time=time_of(message, "time"),
        level=_LEVELS.get(message.level, JournalLevel.UNSPECIFIED),
        code=message.code,
        message=message.message,
    )


def watched_entry(message: job_service_pb2.WatchJournalResponse) -> JournalEntry:
    """A journal entry as a watch sends it."""
    return journal_entry(message.journal_entry)


def reject(message: job_pb2.Reject) -> Reject:
    """A reject as the daemon sent it."""
    return Reject(
        type=_REJECT_TYPES.get(message.type, RejectType.UNSPECIFIED),
        time=time_of(message, "time"),
        file=message.file,
        line=message.line,
        record=message.record,
        raw=message.raw,
        column=message.column,
        value=message.value,
        connector=_CONNECTORS.get(message.connector, Connector.UNSPECIFIED),
        code=message.code,
        message=message.message,
        group=message.group,
    )


def reject_groups(message: job_service_pb2.ListRejectGroupsResponse) -> RejectGroups:
    """The groups as the daemon sent them."""
    return RejectGroups(groups=tuple(map(_reject_group, message.groups)), read=message.read)


def _reject_group(message: job_pb2.RejectGroup) -> RejectGroup:
    return RejectGroup(
        id=message.id,
        type=_REJECT_TYPES.get(message.type, RejectType.UNSPECIFIED),
        connector=_CONNECTORS.get(message.connector, Connector.UNSPECIFIED),
        column=message.column,
        code=message.code,
        pattern=message.pattern,
        count=message.count,
        places=tuple(RejectPlace(file=place.file, line=place.line) for place in message.places),
        values=tuple(message.values),
        message=message.message,
    )


def reject_event(message: job_service_pb2.WatchRejectsResponse) -> RejectEvent:
    """A reject and its ordinal, as the daemon sent them."""
    return RejectEvent(sequence=message.sequence, reject=reject(message.reject))


def audit_entry(message: audit_service_pb2.AuditEntry) -> AuditEntry:
    """An entry of the audit trail as the daemon sent it."""
    return AuditEntry(
        sequence=message.sequence,
        time=time_of(message, "time"),
        principal=message.principal,
        role=message.role,
        peer=message.peer,
        method=message.method,
        resource=message.resource,
        outcome=message.outcome,
    )


def watch_event(message: job_service_pb2.WatchJobsResponse) -> WatchEvent:
    """An event as the daemon sent it."""
    return WatchEvent(
        kind=_KINDS.get(message.kind, WatchKind.UNSPECIFIED),
        revision=message.revision,
        job=job(message.job) if message.HasField("job") else None,
        time=time_of(message, "time"),
    )
