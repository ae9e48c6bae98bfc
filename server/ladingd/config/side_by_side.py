"""Checks several paths of this machine at once."""

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
"""Seconds in which all paths must answer."""


def side_by_side(look: Callable[[A], T], places: Mapping[K, A]) -> dict[K, T]:
    """The result for each path that answers. A network file system whose server is gone never answers, and must not
    hold up the other paths."""
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
