"""Converts previews to messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lading.v1 import job_service_pb2
from ladingd.api.messages.job import reject_message

if TYPE_CHECKING:
    from ladingd.core.preview import Preview, PreviewedRecord

_MOST_BYTES = 2 << 20
"""The most bytes of records in an answer. A client takes 4 MB by default."""


def preview_message(preview: Preview) -> job_service_pb2.PreviewImportResponse:
    """The message of a preview. It leaves out records that would make it too large."""
    plan = preview.plan
    message = job_service_pb2.PreviewImportResponse(
        detected=plan.detected,
        notes=plan.notes,
        rejects=map(reject_message, preview.rejects),
        read=preview.read,
        rejected=preview.rejected,
        filtered=preview.filtered,
        whole=preview.whole,
        unused_source_columns=preview.unused_fields,
        unused_target_columns=preview.unused_columns,
    )
    for column in plan.columns:
        message.columns.add(
            source=column.source,
            target=column.target,
            type=column.type,
            inferred=column.inferred,
            notation=column.notation,
        )
    size = 0
    for record in preview.records:
        shown = _record_message(record)
        size += shown.ByteSize()
        if size > _MOST_BYTES:
            break
        message.records.append(shown)
    return message


def _record_message(record: PreviewedRecord) -> job_service_pb2.PreviewRecord:
    message = job_service_pb2.PreviewRecord(line=record.line)
    message.values.extend(record.values)
    return message
