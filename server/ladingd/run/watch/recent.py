"""The latest changes, in memory for all watchers."""

from __future__ import annotations

import pickle
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ladingd.core.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ladingd.core.job import Change

KEPT = 2_500
"""How many changes are kept at most."""
KEPT_BYTES = 8 << 20
"""How much memory changes take at most, roughly: a job with 2,000 columns is a thousand times larger than others."""
_CHANGE_BYTES = 1_000
"""What a change takes in addition to its spec and plan, as measured."""


@dataclass(slots=True)
class _Shared:
    """A job that shares its spec and plan with its other changes, how many changes are kept, and the bytes of both."""

    job: Job
    changes: int
    size: int


class Recent:
    """Holds every change after ``floor``. Drops the oldest changes when they are too many or too large."""

    def __init__(self, floor: int, *, most: int = KEPT, most_bytes: int = KEPT_BYTES) -> None:
        self.floor = floor
        self._most = most
        self._most_bytes = most_bytes
        self._changes: deque[Change] = deque()
        self._shared: dict[str, _Shared] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self._changes)

    @property
    def size(self) -> int:
        """The bytes of memory that the changes take, roughly."""
        return self._size

    @property
    def last(self) -> int:
        """The revision of the last change."""
        return self._changes[-1].revision if self._changes else self.floor

    @property
    def room(self) -> int:
        """How many older changes ``prepend`` may add."""
        return self._most - len(self._changes) if self._size < self._most_bytes else 0

    def append(self, change: Change) -> None:
        """Add the change that follows the last one."""
        self._changes.append(self._slim(change))
        while len(self._changes) > 1 and (len(self._changes) > self._most or self._size > self._most_bytes):
            gone = self._changes.popleft()
            self.floor = gone.revision
            self._forget(gone.job.id)

    def prepend(self, older: Iterable[Change], floor: int) -> None:
        """Add all changes from ``floor`` to the first one held. There must be room for them."""
        self._changes.extendleft(map(self._slim, reversed([*older])))
        self.floor = floor

    def after(self, revision: int) -> tuple[Change, ...]:
        """The changes after a revision that is not below ``floor``."""
        newer = []
        for change in reversed(self._changes):
            if change.revision <= revision:
                break
            newer.append(change)
        return tuple(reversed(newer))

    def _slim(self, change: Change) -> Change:
        """The same change, sharing spec and plan with the other changes of its job."""
        job = change.job
        shared = self._shared.get(job.id)
        if shared is None or (shared.job.spec, shared.job.plan) != (job.spec, job.plan):
            # In memory, texts and numbers take three times their pickled size.
            size = 3 * len(pickle.dumps((job.spec, job.plan)))
            kept = shared or _Shared(job, 0, 0)
            shared = self._shared[job.id] = _Shared(job, kept.changes, kept.size + size)
            self._size += size
        else:
            change = replace(change, job=replace(job, spec=shared.job.spec, plan=shared.job.plan))
        shared.changes += 1
        self._size += _CHANGE_BYTES
        return change

    def _forget(self, job_id: str) -> None:
        shared = self._shared[job_id]
        shared.changes -= 1
        self._size -= _CHANGE_BYTES
        if not shared.changes:
            self._size -= shared.size
            del self._shared[job_id]
