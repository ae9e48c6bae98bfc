"""Notifications to the service manager by the protocol of sd_notify(3): lines in a datagram to $NOTIFY_SOCKET.

The protocol takes only a few lines of code. Existing packages block on a full socket, or send only one variable at a
time.
"""

from __future__ import annotations

import logging
import os
import socket
import time

log = logging.getLogger(__name__)

TIMEOUT = 0.2
"""Seconds that a datagram may wait for room in the manager's queue. The event loop is blocked for this time."""


class SdNotify:
    """Tells the service manager the state of the daemon. Without a service manager, it does nothing."""

    def __init__(self, address: str = "", *, watchdog_seconds: float | None = None) -> None:
        """``address`` is a path, or ``@`` and the name of an abstract socket. If it is empty, nothing is sent."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._failed = False
        self._stopping = False
        self.watchdog_seconds = watchdog_seconds if address else None
        """The manager kills a daemon that gives no sign of life for this long. None: there is no watchdog."""

    @classmethod
    def from_environment(cls) -> SdNotify:
        """As the manager's variables say. They are removed from the environment: child processes must not see them."""
        address = os.environ.pop("NOTIFY_SOCKET", "")
        microseconds = os.environ.pop("WATCHDOG_USEC", "")
        meant = os.environ.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        watched = meant and microseconds.isdecimal() and int(microseconds) > 0
        return cls(address, watchdog_seconds=int(microseconds) / 1e6 if watched else None)

    @property
    def listened_to(self) -> bool:
        """Whether a service manager listens."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """The daemon serves, for the first time or again after a reload."""
        self._send("READY=1", _status(status))

    def status(self, text: str) -> None:
        """What the daemon is doing, in a line for people."""
        self._send(_status(text))

    def reloading(self) -> None:
        """The daemon reads its configuration again; ``ready`` ends the reload. The manager identifies the reload by the
        time, which must be in the same datagram."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        """The daemon has begun to shut down. This is final: from now on only ``extend`` has an effect."""
        self._send("STOPPING=1", _status(status))
        self._stopping = True

    def extend(self, seconds: float) -> None:
        """Allow the current start or stop this many more seconds, from now, before the manager gives up."""
        self._deliver(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def alive(self) -> None:
        """The sign of life that the watchdog waits for."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._stopping:
            self._deliver(*lines)

    def _deliver(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(TIMEOUT)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            # The daemon works without the manager, and logs the failure.
            if not self._failed:
                log.warning("the service manager cannot be notified (%s): %s", lines[0], error)
            self._failed = True


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())}"
