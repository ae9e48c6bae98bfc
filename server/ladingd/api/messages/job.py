"""Converts the domain's objects to messages of the API, with one function for each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from lading.v1 import job_pb2, job_service_pb2, spec_pb2
from ladingd.api.messages.spec import spec_message
from ladingd.core.bill import OUTCOMES

if TYPE_CHECKING:
    from datetime import timedelta

    from ladingd.core.bill import Counts
    from ladingd.core.job import Failure, FileProgress, Job, JournalEntry, Progress, Reject
    from ladingd.core.reject_group import RejectGroup
    from ladingd.run.watch.events import WatchEvent


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def job_name(job_id: str) -> str:
    return f"jobs/{job_id}"


def job_message(job: Job, now: datetime) -> job_pb2.Job:
    """The message of a job. ``now`` is the end of the duration of a job that has not ended."""
    return job_pb2.Job(
        name=job_name(job.id),
        uid=job.uid,
        owner=job.owner,
        shared=job.shared,
        label=job.label,
        description=job.description,
        spec=spec_message(job.spec),
        state=f"STATE_{job.state.name}",
        failure=None if job.failure is None else failure_message(job.failure),
        revision=job.revision,
        etag=job.etag,
        attempt=job.attempt,
        progress=progress_message(job.progress),
        counters=counters_message(job.counts, job.total),
        bill=bill_message(job.counts),
        create_time=timestamp(job.create_time),
        update_time=timestamp(job.update_time),
        start_time=None if job.start_time is None else timestamp(job.start_time),
        end_time=None if job.end_time is None else timestamp(job.end_time),
        duration=None if (taken := job.taken(now)) is None else duration(taken),
    )


def failure_message(failure: Failure) -> job_pb2.Failure:
    return job_pb2.Failure(code=failure.code, message=failure.message)


def progress_message(progress: Progress) -> job_pb2.Progress:
    return job_pb2.Progress(
        percent=100 * progress.fraction,
        records_per_second=progress.rate,
        time_left=None if progress.time_left is None else duration(progress.time_left),
        file=None if progress.file is None else _file_progress_message(progress.file),
    )


def _file_progress_message(progress: FileProgress) -> job_pb2.FileProgress:
    return job_pb2.FileProgress(
        name=progress.name, number=progress.number, count=progress.count, percent=100 * progress.fraction
    )


def counters_message(counts: Counts, total: int | None) -> job_pb2.Counters:
    return job_pb2.Counters(
        total=total,
        processed=counts.read,
        success=counts.success,
        empty=counts.empty,
        errors=counts.errors,
        warnings=counts.warnings,
        rejects=counts.rejected,
        doubles=counts.doubles,
        duplicates=counts.duplicates,
        removed=counts.removed,
    )


def bill_message(counts: Counts) -> job_pb2.Bill:
    outcomes = {name: getattr(counts, name) for name in OUTCOMES}
    return job_pb2.Bill(read=counts.read, pending=counts.pending, **outcomes)


def journal_entry_message(entry: JournalEntry) -> job_pb2.JournalEntry:
    return job_pb2.JournalEntry(
        sequence=entry.sequence,
        time=timestamp(entry.time),
        level=f"JOURNAL_LEVEL_{entry.level.name}",
        code=entry.code,
        message=entry.message,
    )


def reject_message(reject: Reject) -> job_pb2.Reject:
    return job_pb2.Reject(
        type=f"REJECT_TYPE_{reject.type.name}",
        time=timestamp(reject.time),
        file=reject.file,
        line=reject.line,
        record=reject.record,
        raw=reject.raw,
        column=reject.column,
        value=reject.value,
        connector=f"CONNECTOR_{reject.connector.name}",
        code=reject.code,
        message=reject.message,
        group=reject.group,
    )


def reject_group_message(group: RejectGroup) -> job_pb2.RejectGroup:
    return job_pb2.RejectGroup(
        id=group.id,
        type=f"REJECT_TYPE_{group.type.name}",
        connector=f"CONNECTOR_{group.connector.name}",
        column=group.column,
        code=group.code,
        pattern=group.pattern,
        count=group.count,
        places=[job_pb2.RejectGroup.Place(file=place.file, line=place.line) for place in group.places],
        values=group.values,
        message=group.message,
    )


def watch_message(event: WatchEvent) -> job_service_pb2.WatchJobsResponse:
    """The message of an event, the same whenever it is sent: the event's time ends the duration of a running job."""
    return job_service_pb2.WatchJobsResponse(
        kind=f"KIND_{event.kind.name}",
        revision=event.revision,
        job=None if event.job is None else job_message(event.job, event.time),
        time=timestamp(event.time),
    )


def withdrawn_message(job: Job, revision: int, time: datetime) -> job_service_pb2.WatchJobsResponse:
    """The message for a watcher who may no longer see a job: deleted, with only the fields that never change."""
    empty = spec_pb2.JobSpec()
    getattr(empty, f"{job.spec.kind}_spec").SetInParent()
    return job_service_pb2.WatchJobsResponse(
        kind=job_service_pb2.WatchJobsResponse.KIND_DELETED,
        revision=revision,
        job=job_pb2.Job(name=job_name(job.id), uid=job.uid, spec=empty),
        time=timestamp(time),
    )


def timestamp(time: datetime) -> Timestamp:
    # Integer arithmetic: FromDatetime would take half the time of converting a job.
    since = time - _EPOCH
    return Timestamp(seconds=since.days * 86400 + since.seconds, nanos=since.microseconds * 1000)


def duration(span: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(span)
    return message
