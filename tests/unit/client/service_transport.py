"""A transport that calls the methods of servicers in this process, without a channel."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2

from lading_client.transport.error_mapping import error_from
from lading_client.transport.transport import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

M = TypeVar("M", bound=Message)

WINDOW = 16
"""The number of answers of a stream that may be in transit, like the window of HTTP/2."""


class ServiceTransport(Transport):
    """Replaces a daemon with these servicers."""

    def __init__(self, *servicers: object) -> None:
        self._servicers = servicers

    async def unary(self, method: str, request: Message, *, deadline: float, wait_for_ready: bool = False) -> Any:
        try:
            async with asyncio.timeout(deadline), _errors():
                # Like a call over a network, let other tasks run.
                await asyncio.sleep(0)
                return _copy(await self._method(method)(_copy(request), _Context()))
        except TimeoutError:
            raise error_from(status_pb2.Status(code=code_pb2.DEADLINE_EXCEEDED)) from None

    async def server_stream(self, method: str, request: Message) -> AsyncGenerator[Any, None]:
        answers: asyncio.Queue[Message | BaseException | None] = asyncio.Queue(WINDOW)
        serving = asyncio.create_task(self._serve(method, _copy(request), answers))
        try:
            while isinstance(answer := await answers.get(), Message):
                yield answer
            if answer is not None:
                raise answer
        finally:
            serving.cancel()
            await asyncio.wait([serving])

    async def _serve(self, method: str, request: Message, answers: asyncio.Queue[Any]) -> None:
        try:
            async with _errors(), aclosing(self._method(method)(request, _Context())) as served:
                async for answer in served:
                    await answers.put(_copy(answer))
        except Exception as error:
            await answers.put(error)
        else:
            await answers.put(None)

    async def client_stream(self, method: str, requests: AsyncGenerator[Message, None]) -> Any:
        context = _Context()
        received: asyncio.Queue[Message | None] = asyncio.Queue(1)
        await received.put(_copy(await anext(requests)))
        serving = asyncio.create_task(self._method(method)(_each(received), context))
        sending = asyncio.create_task(_send(requests, received, context.accepted))
        try:
            await asyncio.wait([serving, sending], return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not serving.done():
                # All requests are sent, or the caller failed to make one.
                await sending
            async with _errors():
                return _copy(await serving)
        finally:
            for task in (sending, serving):
                task.cancel()
            await asyncio.wait([sending, serving])

    def _method(self, name: str) -> Any:
        [method] = [getattr(each, name) for each in self._servicers if hasattr(each, name)]
        return method


class _Context:
    """The part of grpc.aio's context that servicers use."""

    def __init__(self) -> None:
        self.accepted = asyncio.Event()

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    async def send_initial_metadata(self, _metadata: object) -> None:
        self.accepted.set()

    async def abort_with_status(self, status: Any) -> None:
        raise _Aborted(status_pb2.Status.FromString(dict(status.trailing_metadata)["grpc-status-details-bin"]))


class _Aborted(Exception):
    def __init__(self, status: status_pb2.Status) -> None:
        self.status = status
        super().__init__(status.message)


@asynccontextmanager
async def _errors() -> AsyncIterator[None]:
    try:
        yield
    except _Aborted as aborted:
        raise error_from(aborted.status) from None


async def _each(received: asyncio.Queue[Message | None]) -> AsyncGenerator[Message, None]:
    while (request := await received.get()) is not None:
        yield request


async def _send(
    requests: AsyncGenerator[Message, None], received: asyncio.Queue[Message | None], accepted: asyncio.Event
) -> None:
    await accepted.wait()
    async for request in requests:
        await received.put(_copy(request))
    await received.put(None)


def _copy(message: M) -> M:
    """A copy, as if sent over a network: changes on one side do not affect the other."""
    return type(message).FromString(message.SerializeToString())
