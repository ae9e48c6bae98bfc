"""The outermost layer around every handler: maps errors to status codes and keeps track of running handlers."""

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
"""The metadata key of the id that a call has in the log. Callers may send one; the trailers return it."""

TRACE = "traceparent"
"""The W3C metadata key that says which trace a call belongs to."""

Begun: TypeAlias = "Callable[[str], Callable[[str], None]]"
"""Called with the method when a call begins. Returns a function to call with the name of its status code at its end."""

DEFAULT_TIMEOUT = 20.0
"""Seconds that a call without a deadline may wait for the store."""
_MARGIN = 1.0
"""A caller gets the answer this many seconds before the deadline."""

_log = logging.getLogger(__name__)


class Guard(grpc.aio.ServerInterceptor):
    """Maps the errors of handlers and keeps track of the handlers that run.

    It must be the first interceptor of a server, so that all our code runs inside it.
    """

    def __init__(self, observers: Sequence[Begun] = ()) -> None:
        """``observers`` are called at the begin and end of every call, in the task of the call."""
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
        """Wait until no handler runs, at most ``within`` seconds. False if some still run."""
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=within)
        return not self._running

    def idle_seconds(self) -> float:
        """How many seconds no handler has been running."""
        return 0.0 if self._running else time.monotonic() - self._quiet_since

    def end(self, service: str) -> None:
        """End the running calls of one service. Their callers get ShuttingDown."""
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
                # Without our answer the client would wait until its deadline.
                answer = _answer(ShuttingDown(), method)
            except grpc.aio.BaseError:
                # The call was aborted or its connection is gone: gRPC deals with it, and nothing can be sent.
                raise
            except Exception as error:
                if isinstance(error, NotImplementedError) and context.code() is grpc.StatusCode.UNIMPLEMENTED:
                    # Raised by the generated base class for a method that our servicer lacks.
                    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "there is no such method")
                if isinstance(error, StoreUnusable):
                    # The daemon is about to stop: log why.
                    _log.error("%s", error)
                    error = ShuttingDown()
                answer = _answer(error, method)
            return await context.abort(
                answer.code, answer.details, (*answer.trailing_metadata, (CORRELATION, current().call))
            )

        # Requests are decoded in here, so that undecodable bytes are mapped like other errors.
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
        # The task outlives the handler: gRPC sends the answer in the same task.
        task.add_done_callback(self._left)
        return task

    def _left(self, task: Task) -> None:
        self._running.pop(task, None)
        self._ended.discard(task)
        self._quiet_since = time.monotonic()

    def _cancelled_by_grpc(self, task: Task) -> bool:
        """Whether the client or the stopping server cancelled the call, rather than ``end`` or the handler itself."""
        return (task.uncancel() if task in self._ended else task.cancelling()) > 0


def _timeout(remaining: float | None) -> float:
    """How many seconds a handler may wait, so that its answer comes before the caller gives up."""
    return DEFAULT_TIMEOUT if remaining is None else remaining - min(_MARGIN, remaining / 2)


def _shown(name: str, context: Context) -> str | None:
    """The metadata of this name; None unless there is exactly one, as text."""
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
    # A handler may leave the stream before its end. gRPC would leave the open stream to the garbage collector.
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
