"""Calls to a daemon: deadlines, what is tried again, errors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from lading.v1 import audit_service_pb2_grpc, file_service_pb2_grpc, job_service_pb2_grpc
from lading_client.errors import ShuttingDown, TooManyCalls, Unavailable
from lading_client.transport.address import target_of
from lading_client.transport.backoff import Backoff
from lading_client.transport.channel import open_channel
from lading_client.transport.error_mapping import error_from

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from lading_client.transport.credentials import Tls

T = TypeVar("T")

_TRIES = 5


class Calls:
    """The methods of a daemon by their names in `lading.v1`. Only the client's own modules use it."""

    def __init__(
        self,
        address: str,
        *,
        token: str | None,
        tls: Tls | None,
        timeout: float,
        renew: Callable[[], Awaitable[object]] | None,
    ) -> None:
        target_of(address)
        self._address = address
        self._token = token
        self._tls = tls
        self._timeout = timeout
        self._renew = renew
        self._answered = False
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, Any] = {}

    def open(self) -> None:
        """Be ready for calls. Raises BadCredentials."""
        self._channel = channel = open_channel(self._address, token=self._token, tls=self._tls)
        stubs: tuple[Any, ...] = (
            job_service_pb2_grpc.JobServiceStub(channel),  # type: ignore[no-untyped-call]
            file_service_pb2_grpc.FileServiceStub(channel),  # type: ignore[no-untyped-call]
            audit_service_pb2_grpc.AuditServiceStub(channel),  # type: ignore[no-untyped-call]
        )
        self._methods = {name: call for stub in stubs for name, call in vars(stub).items()}

    async def close(self) -> None:
        """Hang up. Streams that are open end."""
        if self._channel is not None:
            channel, self._channel, self._methods = self._channel, None, {}
            await channel.close(grace=None)

    def method(self, name: str) -> Any:
        """What makes calls of a method."""
        if self._channel is None:
            raise RuntimeError("the client is not open: use `async with Client(address) as client`")
        return self._methods[name]

    async def once(self, method: str, request: object) -> Any:
        """A call that is not repeated, but for what ``renew`` promises."""
        try:
            return await self._call(method, request)
        except Unavailable as error:
            # A daemon that has answered and is gone now was stopped on purpose: it is not for us to bring it back.
            gone = not error.reason and not self._answered
            if self._renew is None or not (gone or isinstance(error, ShuttingDown)):
                raise
            renew, self._renew = self._renew, None
        address = await renew()
        if isinstance(address, str) and address != self._address:
            await self.close()
            self._address = address
            self.open()
        # The channel may still be sure that nobody is there.
        return await self._call(method, request, wait_for_ready=True)

    async def repeatable(self, method: str, request: object) -> Any:
        """A call that changes nothing when it is made twice: tried again while the daemon cannot be reached, or is
        too busy."""
        backoff = Backoff()
        for _ in range(_TRIES - 1):
            try:
                return await self.once(method, request)
            except TooManyCalls as error:
                await asyncio.sleep(backoff.after(error.retry_delay))
            except Unavailable as error:
                if error.reason:
                    # The daemon itself has said so: it can be reached.
                    raise
                await asyncio.sleep(backoff.next())
        return await self.once(method, request)

    async def pages(self, method: str, request: Any) -> AsyncGenerator[Any, None]:
        """All answers to a request that is answered in pages."""
        while True:
            response = await self.repeatable(method, request)
            yield response
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def stream(
        self, method: str, request: object, convert: Callable[[Any], T], *, silence: float | None = None
    ) -> AsyncGenerator[T, None]:
        """The messages of a stream. Raises Unavailable where none comes for ``silence`` seconds."""
        call = self.method(method)(request)
        patience = _Patience(call, silence)
        try:
            while True:
                patience.begin()
                message = await call.read()
                patience.end()
                if message is grpc.aio.EOF:
                    return
                yield convert(message)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if not patience.lost or (task is not None and task.cancelling()):
                raise
            raise Unavailable(f"the daemon has sent nothing for {silence:g} s", code="UNAVAILABLE") from error
        except grpc.aio.AioRpcError as error:
            raise error_from(error) from error
        finally:
            patience.close()
            call.cancel()

    async def _call(self, method: str, request: object, *, wait_for_ready: bool = False) -> Any:
        call = self.method(method)
        try:
            answer = await call(request, timeout=self._timeout, wait_for_ready=wait_for_ready)
        except grpc.aio.AioRpcError as error:
            raise error_from(error) from error
        self._answered = True
        return answer


class _Patience:
    """Cancels a call that somebody has waited for too long for a message of. ``lost`` says that it has.

    One timer for the whole call: a timeout around each message would cost as much as the message.
    """

    def __init__(self, call: Any, seconds: float | None) -> None:
        self.lost = False
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._look, seconds)

    def begin(self) -> None:
        """Somebody waits for a message from now on."""
        self._since = self._loop.time()

    def end(self) -> None:
        """It has come."""
        self._since = None

    def close(self) -> None:
        """Nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, seconds: float) -> None:
        waited = 0.0 if self._since is None else self._loop.time() - self._since
        if waited >= seconds:
            self.lost = True
            self._call.cancel()
        else:
            self._timer = self._loop.call_later(seconds - waited, self._look, seconds)
