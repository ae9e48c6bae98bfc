"""Looking at several places of this machine at once."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

K = TypeVar("K")
A = TypeVar("A")
T = TypeVar("T")

TIMEOUT = 5.0
"""Seconds that all have to answer."""


def side_by_side(look: Callable[[A], T], places: Mapping[K, A]) -> dict[K, T]:
    """What is seen at each place, without those that do not answer: a network file system whose server is gone never
    does, and the daemon has others."""
    seen: dict[K, T] = {}

    def put(name: K, place: A) -> None:
        seen[name] = look(place)

    threads = [
        threading.Thread(target=put, args=item, daemon=True, name=f"look at {item[1]}") for item in places.items()
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + TIMEOUT
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0.0))
    return {name: seen[name] for name in places if name in seen}
