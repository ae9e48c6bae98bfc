"""The service of tables: convert, call, return."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lading.v1 import spec_pb2
from lading.v1 import table_service_pb2 as pb
from lading.v1.spec_pb2 import JobSpec as JobSpecMessage
from lading.v1.table_service_pb2_grpc import TableServiceServicer
from ladingd.api.messages.paging import name_in, name_token
from ladingd.api.messages.request import page_size_in
from ladingd.api.messages.spec import beneath, import_spec_from, named_in_request, table_from, table_message
from ladingd.api.messages.tables import description_message, suggestion_message
from ladingd.api.permits import DEFAULT

if TYPE_CHECKING:
    from ladingd.api.rpc_handler import Context
    from ladingd.run.control import Control


class TableServicer(TableServiceServicer):
    """Makes no decisions."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def ListTables(self, request: pb.ListTablesRequest, context: Context) -> pb.ListTablesResponse:
        size, after = page_size_in(request.page_size), name_in(request.page_token)
        tables = await self._control.tables(request.connection or DEFAULT)
        left = [table for table in tables if (table.schema, table.table) > after]
        last = left[size - 1] if len(left) > size else None
        return pb.ListTablesResponse(
            tables=map(table_message, left[:size]),
            next_page_token="" if last is None else name_token((last.schema, last.table)),
        )

    async def GetTable(self, request: pb.GetTableRequest, context: Context) -> pb.TableDescription:
        with beneath("table"):
            table = table_from(request.table)
        return description_message(await self._control.describe(table))

    async def SuggestMapping(self, request: pb.SuggestMappingRequest, context: Context) -> pb.SuggestMappingResponse:
        message: spec_pb2.JobSpec = JobSpecMessage(import_spec=request.spec)
        with named_in_request(message, "spec"):
            return suggestion_message(await self._control.suggest(import_spec_from(message.import_spec)))
