"""The service that shows the audit trail to admins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lading.v1 import audit_service_pb2 as pb
from lading.v1.audit_service_pb2_grpc import AuditServiceServicer
from ladingd.api.messages.paging import fitting
from ladingd.api.messages.request import page_size_in

if TYPE_CHECKING:
    from ladingd.api.rpc_handler import Context
    from ladingd.core.access import AuditEntry
    from ladingd.core.ports import AuditStore


class AuditServicer(AuditServiceServicer):
    """Lists audit entries."""

    def __init__(self, store: AuditStore) -> None:
        self._store = store

    async def ListAuditEntries(
        self, request: pb.ListAuditEntriesRequest, context: Context
    ) -> pb.ListAuditEntriesResponse:
        async def page_of(size: int) -> pb.ListAuditEntriesResponse:
            page = await self._store.list(size=size, token=request.page_token)
            return pb.ListAuditEntriesResponse(audit_entries=map(_message, page.items), next_page_token=page.next_token)

        return await fitting(page_of, page_size_in(request.page_size))


def _message(entry: AuditEntry) -> pb.AuditEntry:
    deed = entry.deed
    message = pb.AuditEntry(
        sequence=entry.sequence,
        principal=deed.principal,
        role=deed.role,
        peer=deed.peer,
        method=deed.method,
        resource=deed.resource,
        outcome=deed.outcome,
    )
    message.time.FromDatetime(deed.time)
    return message
