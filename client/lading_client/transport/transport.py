"""The port through which a client reaches a daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from google.protobuf.message import Message


class Transport:
    """Carries calls to one daemon. `GrpcTransport` does so over a network; a test can pass in its own.

    A method has its name in `lading.v1`, without the service: `GetJob`. Requests and answers are messages of
    `lading.v1`. A transport makes each call once and never repeats it. A call that fails raises `DaemonError` or one
    of its subclasses; `Unavailable` without a reason means that the daemon was not reached. Cancelling a call, or
    closing its generator, ends the call on the daemon as well.

    The transport also knows who calls: no method takes a token, because only the transport can tell whether the
    connection may carry one. An implementation may leave out what its clients do not use.
    """

    def open(self) -> None:
        """Get ready for calls. Raises BadCredentials."""

    async def close(self) -> None:
        """End every open call and disconnect."""

    async def unary(self, method: str, request: Message, *, deadline: float, wait_for_ready: bool = False) -> Any:
        """Send one request and return its answer. Raises DeadlineExceeded after ``deadline`` seconds.

        If the daemon cannot be reached, the call fails at once. With ``wait_for_ready`` it waits for a connection,
        at most until the deadline.
        """
        raise NotImplementedError

    def server_stream(self, method: str, request: Message) -> AsyncGenerator[Any, None]:
        """Send one request and yield every answer."""
        raise NotImplementedError

    async def client_stream(self, method: str, requests: AsyncGenerator[Message, None]) -> Any:
        """Send every request and return the one answer.

        The second request is taken from ``requests`` only after the daemon has accepted the first. If the daemon
        answers early, the rest is not taken; a refusal that comes while a request is being sent may be lost, and
        Unavailable is raised instead.
        """
        raise NotImplementedError
