"""How many calls of each class run at a time, and how long a call may take that has no deadline of its own.

gRPC's own limit counts watchers and health checks alike: a thousand of the first would keep out the second.
"""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from ladingd.api.rpc_handler import behaviour_of, run_to_end, with_behaviour, within
from ladingd.core.errors import TooManyCalls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from ladingd.api.rpc_handler import Context, Handler

    Req = TypeVar("Req")
    Res = TypeVar("Res")


class CallClass(StrEnum):
    """What calls have their limit in common. The values are told to callers."""

    COMMANDS = "commands"
    """Change something."""
    READS = "reads"
    WATCHES = "watches"
    """Stay until something ends them."""
    TRANSFERS = "transfers"
    """Carry the bytes of files."""


CLASSES: Mapping[str, CallClass] = MappingProxyType(
    {
        "/lading.v1.JobService/CreateJob": CallClass.COMMANDS,
        "/lading.v1.JobService/UpdateJob": CallClass.COMMANDS,
        "/lading.v1.JobService/CloneJob": CallClass.COMMANDS,
        "/lading.v1.JobService/DeleteJob": CallClass.COMMANDS,
        "/lading.v1.JobService/StartJob": CallClass.COMMANDS,
        "/lading.v1.JobService/PauseJob": CallClass.COMMANDS,
        "/lading.v1.JobService/CancelJob": CallClass.COMMANDS,
        "/lading.v1.JobService/GetJob": CallClass.READS,
        "/lading.v1.JobService/ListJobs": CallClass.READS,
        "/lading.v1.JobService/ListJournalEntries": CallClass.READS,
        "/lading.v1.JobService/ListRejects": CallClass.READS,
        "/lading.v1.JobService/WatchJobs": CallClass.WATCHES,
        "/lading.v1.JobService/WatchJournal": CallClass.WATCHES,
        "/lading.v1.JobService/WatchRejects": CallClass.WATCHES,
        "/lading.v1.FileService/UploadFile": CallClass.TRANSFERS,
        "/lading.v1.FileService/DownloadFile": CallClass.TRANSFERS,
        "/lading.v1.FileService/GetUpload": CallClass.READS,
        "/lading.v1.FileService/DeleteUpload": CallClass.COMMANDS,
        "/lading.v1.AuditService/ListAuditEntries": CallClass.READS,
    }
)
"""A method that is not here has no limit: health and reflection, which must answer whatever else goes on."""


class Limits(grpc.aio.ServerInterceptor):
    """Lets so many calls of each class run at a time and refuses the others at once, by TooManyCalls.

    A call that is answered by one message and came without a deadline gets one: ``command_seconds`` or
    ``read_seconds``, then it is cancelled and DeadlineExceeded is raised; the same becomes of a transfer whose client
    takes nothing for ``transfer_patience`` seconds. Belongs inside the guard, which maps both.
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
        transfer_patience: float = 300.0,
    ) -> None:
        self._transfer_patience = transfer_patience
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
        call_class = CLASSES.get(handler_call_details.method)
        return handler if handler is None or call_class is None else self._limited(handler, call_class)

    def _limited(self, handler: Handler, call_class: CallClass) -> Handler:
        behaviour = behaviour_of(handler)
        seconds = self._seconds.get(call_class)
        # Whoever stops reading a file must not keep others from theirs. Watchers may: there is room for many.
        patience = self._transfer_patience if call_class is CallClass.TRANSFERS else None

        async def limited(request: Any, context: Context) -> Any:
            with self._place(call_class):
                answer = run_to_end(behaviour(request, context), context, patience)
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
