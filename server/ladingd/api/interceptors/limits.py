"""Limits how many calls of each class run at a time, and how long a call without a deadline may take.

gRPC's own limit counts watchers and health checks alike: a thousand watchers would keep out health checks.
"""

from __future__ import annotations

from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from ladingd.api.methods import METHODS
from ladingd.api.rpc_handler import behaviour_of, run_to_end, with_behaviour, within
from ladingd.core.access import CallClass
from ladingd.core.errors import TooManyCalls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from ladingd.api.rpc_handler import Context, Handler

    Req = TypeVar("Req")
    Res = TypeVar("Res")


class Limits(grpc.aio.ServerInterceptor):
    """Limits the running calls of each class. Further calls raise TooManyCalls at once.

    A command or read without a deadline gets one: ``command_seconds`` or ``read_seconds``. After that it is cancelled
    and raises DeadlineExceeded. So does a transfer whose client takes nothing for ``transfer_timeout`` seconds. Belongs
    inside the guard, which maps both errors.
    """

    def __init__(
        self,
        *,
        commands: int = 200,
        reads: int = 200,
        watches: int = 5_000,
        transfers: int = 32,
        command_seconds: float = 30.0,
        read_seconds: float = 30.0,
        transfer_timeout: float = 300.0,
    ) -> None:
        self._transfer_timeout = transfer_timeout
        self._most = {
            CallClass.COMMANDS: commands,
            CallClass.READS: reads,
            CallClass.WATCHES: watches,
            CallClass.TRANSFERS: transfers,
        }
        self._seconds = {CallClass.COMMANDS: command_seconds, CallClass.READS: read_seconds}
        self._running = dict.fromkeys(CallClass, 0)

    @property
    def running(self) -> Mapping[CallClass, int]:
        """How many calls of each class run now."""
        return MappingProxyType(self._running)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Req, Res] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Req, Res] | None:
        handler = await continuation(handler_call_details)
        method = METHODS.get(handler_call_details.method.removeprefix("/"))
        if handler is None or method is None or method.call_class is None:
            return handler
        return self._limited(handler, method.call_class)

    def _limited(self, handler: Handler, call_class: CallClass) -> Handler:
        behaviour = behaviour_of(handler)
        seconds = self._seconds.get(call_class)
        # A client that stops reading a file must not block the others. Watchers may stop: their limit is high.
        timeout = self._transfer_timeout if call_class is CallClass.TRANSFERS else None

        async def limited(request: Any, context: Context) -> Any:
            with self._place(call_class):
                answer = run_to_end(behaviour(request, context), context, timeout)
                if seconds is None or context.time_remaining() is not None:
                    return await answer
                return await within(seconds, answer)

        return with_behaviour(handler, limited)

    @contextmanager
    def _place(self, call_class: CallClass) -> Iterator[None]:
        if self._running[call_class] >= self._most[call_class]:
            raise TooManyCalls(call_class, self._most[call_class])
        self._running[call_class] += 1
        try:
            yield
        finally:
            self._running[call_class] -= 1
