"""The calls that a client makes: which of them are repeated, and how long one may take."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from lading_client.errors import ShuttingDown, TooManyCalls, Unavailable
from lading_client.transport.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from google.protobuf.message import Message

    from lading_client.transport.transport import Transport

T = TypeVar("T")

_TRIES = 5


class Calls:
    """Makes calls through a transport. ``timeout`` is for each call with one answer, in seconds.

    If the daemon turns out to be gone or to be shutting down, ``renew`` is awaited, once. It returns the transport to
    use from then on, or None to stay with the present one. Then the call is made again.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        timeout: float,
        renew: Callable[[], Awaitable[Transport | None]] | None = None,
    ) -> None:
        self._transport = transport
        self._timeout = timeout
        self._renew = renew
        self._is_open = False
        self._answered = False

    def open(self) -> None:
        """Get ready for calls. Raises BadCredentials."""
        self._transport.open()
        self._is_open = True

    async def close(self) -> None:
        """End every open call and disconnect."""
        if self._is_open:
            self._is_open = False
            await self._transport.close()

    async def once(self, method: str, request: Message) -> Any:
        """Make a call that must not be repeated. Only ``renew`` leads to a second attempt."""
        try:
            return await self._unary(method, request)
        except Unavailable as error:
            # A daemon that has answered before and is gone now was stopped on purpose: do not bring it back.
            gone = not error.reason and not self._answered
            if self._renew is None or not (gone or isinstance(error, ShuttingDown)):
                raise
            renew, self._renew = self._renew, None
        transport = await renew()
        if transport is not None:
            await self.close()
            self._transport = transport
            self.open()
        # The present transport may still consider the daemon unreachable.
        return await self._unary(method, request, wait_for_ready=True)

    async def repeatable(self, method: str, request: Message) -> Any:
        """Make a call that has the same effect however often it is made.

        It is tried again while the daemon cannot be reached or is too busy.
        """
        backoff = Backoff()
        for _ in range(_TRIES - 1):
            try:
                return await self.once(method, request)
            except TooManyCalls as error:
                await asyncio.sleep(backoff.after(error.retry_delay))
            except Unavailable as error:
                if error.reason:
                    # The daemon itself said so: it can be reached.
                    raise
                await asyncio.sleep(backoff.next())
        return await self.once(method, request)

    async def pages(self, method: str, request: Any) -> AsyncGenerator[Any, None]:
        """Every page of a list."""
        while True:
            response = await self.repeatable(method, request)
            yield response
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def stream(
        self, method: str, request: Message, convert: Callable[[Any], T], *, silence: float | None = None
    ) -> AsyncGenerator[T, None]:
        """Every answer of a stream, converted. Raises Unavailable if none comes for ``silence`` seconds."""
        timer = _SilenceTimer(silence)
        try:
            async with aclosing(self._opened().server_stream(method, request)) as answers:
                timer.start()
                async for answer in answers:
                    timer.stop()
                    yield convert(answer)
                    timer.start()
        except asyncio.CancelledError as error:
            if not timer.expired():
                raise
            raise Unavailable(f"the daemon has sent nothing for {silence:g} s", code="UNAVAILABLE") from error
        finally:
            timer.close()

    async def send(self, method: str, requests: AsyncGenerator[Message, None]) -> Any:
        """Send every request and return the one answer; the second request is taken once the first is accepted."""
        async with aclosing(requests):
            return await self._opened().client_stream(method, requests)

    def _opened(self) -> Transport:
        if not self._is_open:
            raise RuntimeError("the client is not open: use `async with Client(address) as client`")
        return self._transport

    async def _unary(self, method: str, request: Message, *, wait_for_ready: bool = False) -> Any:
        answer = await self._opened().unary(method, request, deadline=self._timeout, wait_for_ready=wait_for_ready)
        self._answered = True
        return answer


class _SilenceTimer:
    """Cancels a task that has waited for an answer for too long.

    There is one timer for the whole stream: a timeout around each answer would cost as much as the answer.
    """

    def __init__(self, seconds: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._expired = False
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._look, seconds)

    def start(self) -> None:
        """The current task waits for an answer from now on."""
        if self._timer is not None:
            self._task = asyncio.current_task()
            self._cancelling = 0 if self._task is None else self._task.cancelling()
            self._since = self._loop.time()

    def stop(self) -> None:
        """The answer has come."""
        self._since = None

    def expired(self) -> bool:
        """Whether this timer alone canceled the task. The cancellation is withdrawn, so ask once."""
        if not self._expired or self._task is None:
            return False
        return self._task.uncancel() <= self._cancelling

    def close(self) -> None:
        """Stop for good."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, seconds: float) -> None:
        waited = 0.0 if self._since is None else self._loop.time() - self._since
        if waited >= seconds and self._task is not None:
            self._expired = True
            self._task.cancel()
        else:
            self._timer = self._loop.call_later(seconds - waited, self._look, seconds)
