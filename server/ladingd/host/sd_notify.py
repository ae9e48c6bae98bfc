"""What the service manager is told, by the protocol of sd_notify(3): lines in a datagram to $NOTIFY_SOCKET.

Not a package: the protocol is these few lines, and the packages there are block on a socket that is full, or send one
variable at a time.
"""

from __future__ import annotations

import logging
import os
import socket
import time

log = logging.getLogger(__name__)

TIMEOUT = 0.2
"""How many seconds a datagram may wait for room in the manager's queue: the event loop waits as well."""


class SdNotify:
    """Tells the service manager how the daemon is. Where there is none to tell, nothing happens."""

    def __init__(self, address: str = "", *, watchdog_seconds: float | None = None) -> None:
        """``address`` is a path, or the name of an abstract socket behind an ``@``. It is silent where it is empty."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._failed = False
        self._stopping = False
        self.watchdog_seconds = watchdog_seconds if address else None
        """The manager ends a daemon that has not said for so long that it is alive. None: it does not look."""

    @classmethod
    def from_environment(cls) -> SdNotify:
        """As the manager wants it. Its variables are taken out of the environment: they are not for child processes."""
        address = os.environ.pop("NOTIFY_SOCKET", "")
        microseconds = os.environ.pop("WATCHDOG_USEC", "")
        meant = os.environ.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        watched = meant and microseconds.isdecimal() and int(microseconds) > 0
        return cls(address, watchdog_seconds=int(microseconds) / 1e6 if watched else None)

    @property
    def listened_to(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """The daemon serves, for the first time or again after a reload."""
        self._send("READY=1", _status(status))

    def status(self, text: str) -> None:
        """What the daemon is doing, in a line for people."""
        self._send(_status(text))

    def reloading(self) -> None:
        """The configuration is being read again; ``ready`` ends that. The time counts only in the same datagram: it
        tells the manager which reload it is."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        """The daemon has begun to shut down. From now on only ``extend`` is heard: nothing takes that back."""
        self._send("STOPPING=1", _status(status))
        self._stopping = True

    def extend(self, seconds: float) -> None:
        """What the daemon is at, starting or stopping, may take so long from now before the manager loses patience."""
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
            # The daemon does its work all the same, and has said so.
            if not self._failed:
                log.warning("the service manager cannot be told (%s): %s", lines[0], error)
            self._failed = True


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())}"
