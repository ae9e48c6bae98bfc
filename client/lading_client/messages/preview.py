"""Messages about previews as objects of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lading_client.messages.job import reject
from lading_client.model import Preview, PreviewColumn, PreviewRecord

if TYPE_CHECKING:
    from lading.v1 import job_service_pb2


def preview(message: job_service_pb2.PreviewImportResponse) -> Preview:
    """A preview as the daemon sent it."""
    return Preview(
        detected=message.detected,
        notes=tuple(message.notes),
        columns=tuple(
            PreviewColumn(
                source=each.source,
                target=each.target,
                type=each.type,
                inferred=each.inferred,
                notation=each.notation,
            )
            for each in message.columns
        ),
        records=tuple(
            PreviewRecord(line=each.line, values=tuple(None if value is None else str(value) for value in each.values))
            for each in message.records
        ),
        rejects=tuple(map(reject, message.rejects)),
        read=message.read,
        rejected=message.rejected,
        filtered=message.filtered,
        whole=message.whole,
        unused_source_columns=tuple(message.unused_source_columns),
        unused_target_columns=tuple(message.unused_target_columns),
    )
