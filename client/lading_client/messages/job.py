"""Between the messages of `lading.v1` and the model. Only the client's own modules call it: no message leaves them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from lading.v1 import audit_service_pb2, job_pb2, job_service_pb2, spec_pb2
from lading_client.errors import BadSpec
from lading_client.model import (
    AuditEntry,
    Bill,
    Connector,
    Counters,
    Failure,
    Job,
    JournalEntry,
    JournalLevel,
    Progress,
    Reject,
    RejectEvent,
    RejectType,
    State,
    WatchEvent,
    WatchKind,
)
from lading_client.spec import CsvFormat, ExportSpec, File, Header, ImportSpec, JobSpec, OnRestart, Table

if TYPE_CHECKING:
    from enum import StrEnum

    from google.protobuf.descriptor import EnumDescriptor
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

E = TypeVar("E", bound="StrEnum")

_COUNTERS = ("processed", "success", "empty", "errors", "warnings", "rejects", "doubles", "duplicates")
_BILL = ("read", "inserted", "updated", "deleted", "unchanged", "rejected", "filtered", "ignored_doubles", "empty")


def _values(kind: type[E], enum: EnumDescriptor, prefix: str) -> dict[int, E]:
    return {value.number: kind(value.name.removeprefix(prefix)) for value in enum.values}


_STATES = _values(State, job_pb2.State.DESCRIPTOR, "STATE_")
_LEVELS = _values(JournalLevel, job_pb2.JournalLevel.DESCRIPTOR, "JOURNAL_LEVEL_")
_CONNECTORS = _values(Connector, job_pb2.Connector.DESCRIPTOR, "CONNECTOR_")
_REJECT_TYPES = _values(RejectType, job_pb2.RejectType.DESCRIPTOR, "REJECT_TYPE_")
_KINDS = _values(WatchKind, job_service_pb2.WatchJobsResponse.Kind.DESCRIPTOR, "KIND_")
_ON_RESTART = _values(OnRestart, spec_pb2.OnRestart.DESCRIPTOR, "ON_RESTART_")
_HEADERS = _values(Header, spec_pb2.Header.DESCRIPTOR, "HEADER_")


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
        spec=spec(message.spec),
        state=_STATES.get(message.state, State.UNSPECIFIED),
        failure=failure if message.HasField("failure") else None,
        revision=message.revision,
        etag=message.etag,
        attempt=message.attempt,
        progress=Progress(
            percent=message.progress.percent,
            records_per_second=message.progress.records_per_second,
            time_left=_duration(message.progress, "time_left"),
        ),
        counters=Counters(
            total=message.counters.total if message.counters.HasField("total") else None,
            **{name: getattr(message.counters, name) for name in _COUNTERS},
        ),
        bill=Bill(**{name: getattr(message.bill, name) for name in _BILL}),
        create_time=_time(message, "create_time"),
        update_time=_time(message, "update_time"),
        start_time=_time(message, "start_time"),
        end_time=_time(message, "end_time"),
        duration=_duration(message, "duration"),
    )


def journal_entry(message: job_pb2.JournalEntry) -> JournalEntry:
    """A journal entry as the daemon sent it."""
    return JournalEntry(
        sequence=message.sequence,
        time=_time(message, "time"),
        level=_LEVELS.get(message.level, JournalLevel.UNSPECIFIED),
        code=message.code,
        message=message.message,
    )


def watched_entry(message: job_service_pb2.WatchJournalResponse) -> JournalEntry:
    """A journal entry as a watch brings it."""
    return journal_entry(message.journal_entry)


def reject(message: job_pb2.Reject) -> Reject:
    """A reject as the daemon sent it."""
    return Reject(
        type=_REJECT_TYPES.get(message.type, RejectType.UNSPECIFIED),
        time=_time(message, "time"),
        file=message.file,
        line=message.line,
        record=message.record,
        raw=message.raw,
        column=message.column,
        value=message.value,
        connector=_CONNECTORS.get(message.connector, Connector.UNSPECIFIED),
        code=message.code,
        message=message.message,
    )


def reject_event(message: job_service_pb2.WatchRejectsResponse) -> RejectEvent:
    """A reject and its place, as the daemon sent them."""
    return RejectEvent(sequence=message.sequence, reject=reject(message.reject))


def audit_entry(message: audit_service_pb2.AuditEntry) -> AuditEntry:
    """An entry of the audit trail as the daemon sent it."""
    return AuditEntry(
        sequence=message.sequence,
        time=_time(message, "time"),
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
        time=_time(message, "time"),
    )


def spec(message: spec_pb2.JobSpec) -> JobSpec:
    """A spec from the wire. Raises BadSpec where it says neither import nor export."""
    restart = _ON_RESTART.get(message.on_restart, OnRestart.UNSPECIFIED)
    kind = message.WhichOneof("kind")
    if kind == "import_spec":
        return JobSpec(kind=_import(message.import_spec), on_restart=restart)
    if kind == "export_spec":
        return JobSpec(kind=_export(message.export_spec), on_restart=restart)
    raise BadSpec("the spec has neither importSpec nor exportSpec")


def _import(message: spec_pb2.ImportSpec) -> ImportSpec:
    return ImportSpec(
        files=tuple(_file(file) for file in message.files),
        csv=_csv(message.csv),
        target=_table(message.target),
        types=dict(message.types),
        chunk_bytes=message.chunk_bytes,
    )


def _export(message: spec_pb2.ExportSpec) -> ExportSpec:
    return ExportSpec(
        table=_table(message.table),
        file=_file(message.file),
        csv=_csv(message.csv),
        overwrite=message.overwrite,
        chunk_keys=message.chunk_keys,
    )


def _file(message: spec_pb2.File) -> File:
    return File(root=message.root or "local", path=message.path)


def _table(message: spec_pb2.Table) -> Table:
    return Table(connection=message.connection or "local", schema=message.schema, table=message.table)


def _csv(message: spec_pb2.CsvFormat) -> CsvFormat:
    header = _HEADERS.get(message.header, Header.UNSPECIFIED)
    return CsvFormat(delimiter=message.delimiter, quote=message.quote, header=header)


def spec_message(value: JobSpec) -> spec_pb2.JobSpec:
    """A spec for the wire."""
    restart = f"ON_RESTART_{value.on_restart}"
    if isinstance(value.kind, ImportSpec):
        return spec_pb2.JobSpec(import_spec=_import_message(value.kind), on_restart=restart)
    return spec_pb2.JobSpec(export_spec=_export_message(value.kind), on_restart=restart)


def _import_message(value: ImportSpec) -> spec_pb2.ImportSpec:
    return spec_pb2.ImportSpec(
        files=[_file_message(file) for file in value.files],
        csv=_csv_message(value.csv),
        target=_table_message(value.target),
        types=value.types,
        chunk_bytes=value.chunk_bytes,
    )


def _export_message(value: ExportSpec) -> spec_pb2.ExportSpec:
    return spec_pb2.ExportSpec(
        table=_table_message(value.table),
        file=_file_message(value.file),
        csv=_csv_message(value.csv),
        overwrite=value.overwrite,
        chunk_keys=value.chunk_keys,
    )


def _file_message(value: File) -> spec_pb2.File:
    return spec_pb2.File(root=value.root, path=value.path)


def _table_message(value: Table) -> spec_pb2.Table:
    return spec_pb2.Table(connection=value.connection, schema=value.schema, table=value.table)


def _csv_message(value: CsvFormat) -> spec_pb2.CsvFormat:
    header = f"HEADER_{value.header}"
    return spec_pb2.CsvFormat(delimiter=value.delimiter, quote=value.quote, header=header)


def _time(message: Message, field: str) -> datetime | None:
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    # Like ToDatetime, in a fifth of its time: a watch brings thousands of them a second.
    return datetime.fromtimestamp(stamp.seconds, UTC).replace(microsecond=stamp.nanos // 1000)


def _duration(message: Message, field: str) -> timedelta | None:
    if not message.HasField(field):
        return None
    value: Duration = getattr(message, field)
    return value.ToTimedelta()
