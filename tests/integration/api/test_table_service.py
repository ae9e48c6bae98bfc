"""The service of tables with a real server."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from google.rpc import error_details_pb2

from lading.v1 import spec_pb2
from lading.v1 import table_service_pb2 as pb
from lading.v1.table_service_pb2_grpc import TableServiceStub
from ladingd.core.errors import InvalidSpec, TableNotFound
from tests.integration.api.answers import refused, unpacked
from tests.integration.api.fakes import DEADLINE


async def reason_of(call):
    error, status = await refused(call)
    (info,) = unpacked(status, error_details_pb2.ErrorInfo)
    return error.code(), info.reason


async def violated(call):
    """The field that a call was refused for."""
    error, status = await refused(call)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error.details()
    (bad,) = unpacked(status, error_details_pb2.BadRequest)
    return bad.field_violations[0].field


SPEC = {"files": [{"path": "a.csv"}], "target": {"table": "t"}}


@pytest.fixture
def stub(api):
    return TableServiceStub(api.channel)


async def test_tables_come_in_pages(api, stub):
    first = await stub.ListTables(pb.ListTablesRequest(page_size=2), timeout=DEADLINE)
    rest = await stub.ListTables(
        pb.ListTablesRequest(connection="crm", page_size=2, page_token=first.next_page_token), timeout=DEADLINE
    )
    assert [(each.connection, each.schema, each.table) for each in (*first.tables, *rest.tables)] == [
        ("local", "s", "t0"),
        ("local", "s", "t1"),
        ("crm", "s", "t2"),
    ]
    assert rest.next_page_token == ""


@pytest.mark.parametrize("token", ["x", "eA==", "////"])
async def test_a_token_of_another_list_is_refused(stub, token):
    assert await violated(stub.ListTables(pb.ListTablesRequest(page_token=token), timeout=DEADLINE)) == "page_token"


async def test_a_table_has_its_columns(api, stub):
    table = spec_pb2.Table(connection="crm", schema="s", table="t")
    found = await stub.GetTable(pb.GetTableRequest(table=table), timeout=DEADLINE)
    assert found == pb.TableDescription(
        table=table,
        columns=[pb.TableColumn(name="a", declared="INTEGER", type="integer", required=True)],
        notes=["a note"],
    )


async def test_a_table_that_is_not_there(api, stub):
    api.control.error = TableNotFound("t")
    status, reason = await reason_of(stub.GetTable(pb.GetTableRequest(table={"table": "t"}), timeout=DEADLINE))
    assert (status, reason) == (grpc.StatusCode.NOT_FOUND, "TABLE_NOT_FOUND")
    assert await violated(stub.GetTable(pb.GetTableRequest(), timeout=DEADLINE)) == "table.table"


async def test_a_suggestion_is_a_mapping(api, stub):
    answer = await stub.SuggestMapping(
        pb.SuggestMappingRequest(spec=ParseDict(SPEC, spec_pb2.ImportSpec())), timeout=DEADLINE
    )
    assert [each.mapping.target for each in answer.suggestions] == [
        column.target for column in api.control.job.plan.columns
    ]
    assert (answer.unused_source_columns, answer.unused_target_columns) == (["x"], ["y"])


async def test_the_field_at_fault_is_named_in_the_request(api, stub):
    api.control.error = InvalidSpec("target.connection", "is unknown")
    spec = ParseDict(SPEC, spec_pb2.ImportSpec())
    call = stub.SuggestMapping(pb.SuggestMappingRequest(spec=spec), timeout=DEADLINE)
    assert await violated(call) == "spec.target.connection"
