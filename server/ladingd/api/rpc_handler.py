"""Handlers of gRPC as interceptors need them: one function for unary calls and streams alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from ladingd.core.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = grpc.RpcMethodHandler[Any, Any]

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_KINDS: dict[tuple[bool, bool], Callable[..., Handler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def behaviour_of(handler: Handler) -> Callable[[Any, Context], Any]:
    """The function of a handler."""
    behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    return behaviour  # type: ignore[no-any-return]


def with_behaviour(handler: Handler, behaviour: Callable[[Any, Context], Any], *, encoded: bool = False) -> Handler:
    """The same handler with another function. ``encoded``: the function gets requests as bytes instead of messages.

    The function may answer with bytes: a message for many clients is encoded once.
    """
    return _KINDS[handler.request_streaming, handler.response_streaming](
        behaviour, None if encoded else handler.request_deserializer, _unless_encoded(handler.response_serializer)
    )


def _unless_encoded(encode: Callable[[Any], bytes] | None) -> Callable[[Any], bytes]:
    return lambda answer: answer if encode is None or isinstance(answer, bytes) else encode(answer)


async def run_to_end(call: Any, context: Context, seconds: float | None = None) -> Any:
    """Await a handler, or send what it yields. Raises DeadlineExceeded if the client does not take a message within
    ``seconds``.

    gRPC could run the generator itself, but leaves it suspended if the client goes away during a write.
    """
    if not isinstance(call, AsyncGenerator):
        return await call
    async with aclosing(call) as messages:
        async for message in messages:
            if seconds is None:
                await context.write(message)
            else:
                await within(seconds, context.write(message))
    return None


async def within(seconds: float, call: Awaitable[Any]) -> Any:
    """The result of a call. Raises DeadlineExceeded if the call takes longer."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await call
    except TimeoutError:
        if limit.expired():
            raise DeadlineExceeded(seconds) from None
        raise
