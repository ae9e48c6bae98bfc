"""The outermost layer around every handler: errors leave as the table says, and no handler is lost sight of."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from ladingd.api.rpc_handler import behaviour_of, run_to_end, with_behaviour
from ladingd.api.status import internal_status, status_of
from ladingd.core.deadline import answer_within
from ladingd.core.errors import InvalidRequest, ShuttingDown, StoreUnusable
from ladingd.core.origin import Origin, correlation_id, current, work_for
from ladingd.telemetry.internal_errors import record_internal_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from ladingd.api.rpc_handler import Context, Handler

    Task = asyncio.Task[Any]
    _Behaviour = Callable[[Any, Context], Any]
    _Decode = Callable[[bytes], Any]
    Req = TypeVar("Req")
    Res = TypeVar("Res")

CORRELATION = "x-correlation-id"
"""The metadata that callers may send with a call, and get back in its trailers: the id it has in the log."""

TRACE = "traceparent"
"""The metadata of the W3C that says which trace a call belongs to."""

Begun: TypeAlias = "Callable[[str], Callable[[str], None]]"
"""Takes the method of a call that begins, and returns what takes gRPC's word for its outcome when it is over."""

DEFAULT_TIMEOUT = 20.0
"""Seconds that a call may wait for the store that has no deadline of its own."""
_MARGIN = 1.0
"""Seconds before its deadline by which a caller has an answer."""

_log = logging.getLogger(__name__)


class Guard(grpc.aio.ServerInterceptor):
    """Maps the errors of handlers and keeps account of the handlers that run.

    Belongs first among a server's interceptors, so that nothing of ours runs outside of it.
    """

    def __init__(self, observers: Sequence[Begun] = ()) -> None:
        """``observers`` are told of every call that begins, and when it is over, in the call's own task."""
        self._observers = observers
        self._running: dict[Task, str] = {}
        self._ended: set[Task] = set()
        self._quiet_since = time.monotonic()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Req, Res] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Req, Res] | None:
        handler = await continuation(handler_call_details)
        return None if handler is None else self._guarded(handler, handler_call_details.method)

    async def drained(self, within: float) -> bool:
        """Wait until no handler runs any more, at most so many seconds; False where some still do."""
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=within)
        return not self._running

    def idle_seconds(self) -> float:
        """How long no handler has been running."""
        return 0.0 if self._running else time.monotonic() - self._quiet_since

    def end(self, service: str) -> None:
        """End the calls of one service that run at present; the callers are told that we are shutting down."""
        for task, method in self._running.items():
            if method.startswith(f"/{service}/") and task not in self._ended:
                self._ended.add(task)
                task.cancel()

    def _guarded(self, handler: Handler, method: str) -> Handler:
        behaviour = behaviour_of(handler)
        handle = _handle_stream if handler.request_streaming else _handle

        async def guarded(encoded: Any, context: Context) -> Any:
            call = correlation_id(_shown(CORRELATION, context))
            context.set_trailing_metadata(((CORRELATION, call),))
            work_for(Origin(call=call, trace=_shown(TRACE, context) or ""))
            answer_within(_timeout(context.time_remaining()))
            with self._observed(method, context):
                return await answered(encoded, context)

        async def answered(encoded: Any, context: Context) -> Any:
            task = self._entered(method)
            try:
                return await handle(behaviour, encoded, handler.request_deserializer, context)
            except asyncio.CancelledError:
                if self._cancelled_by_grpc(task):
                    raise
                # Without an answer of ours the client would wait until its deadline.
                answer = _answer(ShuttingDown(), method)
            except grpc.aio.BaseError:
                # The call was aborted or its connection is gone: grpc's own affair, nothing can be sent any more.
                raise
            except Exception as error:
                if isinstance(error, NotImplementedError) and context.code() is grpc.StatusCode.UNIMPLEMENTED:
                    # What a generated class has for a method that ours does not.
                    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "there is no such method")
                if isinstance(error, StoreUnusable):
                    # The daemon is about to stop, and says why.
                    _log.error("%s", error)
                    error = ShuttingDown()
                answer = _answer(error, method)
            return await context.abort(
                answer.code, answer.details, (*answer.trailing_metadata, (CORRELATION, current().call))
            )

        # Bytes that are no message are an error like others only where they are read in here.
        return with_behaviour(handler, guarded, encoded=True)

    @contextmanager
    def _observed(self, method: str, context: Context) -> Iterator[None]:
        over = [begun(method) for begun in self._observers]
        code = grpc.StatusCode.CANCELLED
        try:
            yield
            code = grpc.StatusCode.OK
        finally:
            for tell in over:
                tell((context.code() or code).name)

    def _entered(self, method: str) -> Task:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a handler runs outside of a task")
        self._running[task] = method
        # Not when the handler returns: grpc sends its answer after that, in the same task.
        task.add_done_callback(self._left)
        return task

    def _left(self, task: Task) -> None:
        self._running.pop(task, None)
        self._ended.discard(task)
        self._quiet_since = time.monotonic()

    def _cancelled_by_grpc(self, task: Task) -> bool:
        """Whether the client or the server's stop cancelled the call, and not ``end`` or the handler itself."""
        return (task.uncancel() if task in self._ended else task.cancelling()) > 0


def _timeout(remaining: float | None) -> float:
    """For how many seconds an answer may be waited for so that it comes before the caller gives up."""
    return DEFAULT_TIMEOUT if remaining is None else remaining - min(_MARGIN, remaining / 2)


def _shown(name: str, context: Context) -> str | None:
    """What came with a call under this name, once and as text."""
    shown = [value for key, value in context.invocation_metadata() or () if key == name]
    return shown[0] if len(shown) == 1 and isinstance(shown[0], str) else None


def _decoded(encoded: Any, decode: _Decode | None) -> Any:
    if decode is None:
        return encoded
    try:
        return decode(encoded)
    except DecodeError as error:
        raise InvalidRequest("request", "is not encoded as this method's message") from error


async def _handle(behaviour: _Behaviour, encoded: Any, decode: _Decode | None, context: Context) -> Any:
    return await run_to_end(behaviour(_decoded(encoded, decode), context), context)


async def _handle_stream(behaviour: _Behaviour, encoded: Any, decode: _Decode | None, context: Context) -> Any:
    # A handler may leave the stream before its end, which grpc would leave to the garbage collector then.
    async with aclosing(aiter(encoded)) as pieces, aclosing(_decoded_stream(pieces, decode)) as requests:
        return await run_to_end(behaviour(requests, context), context)


async def _decoded_stream(pieces: AsyncIterator[Any], decode: _Decode | None) -> AsyncGenerator[Any, None]:
    async for piece in pieces:
        yield _decoded(piece, decode)


def _answer(error: Exception, method: str) -> grpc.Status:
    status = status_of(error)
    if status is None:
        status = internal_status(record_internal_error(error, method, method=method))
    answer: grpc.Status = rpc_status.to_status(status)
    return answer
