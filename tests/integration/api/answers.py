"""Reads the errors of calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_status import rpc_status

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from google.protobuf.message import Message
    from google.rpc.status_pb2 import Status


async def refused(call: Awaitable[Any]) -> tuple[grpc.aio.AioRpcError, Status]:
    """The status and details of a refused call."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value, rpc_status.from_call(_Call(caught.value))


class _Call:
    """The part of a call that ``from_call`` needs, taken from its error."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code, self.details, self.trailing_metadata = error.code, error.details, error.trailing_metadata


def unpacked(status: Status, kind: type[Message]) -> list[Message]:
    found = []
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            found.append(message)
    return found
