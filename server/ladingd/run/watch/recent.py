"""The latest changes, kept in memory for all watchers."""

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
"""How much memory they take at most, roughly: jobs with 2,000 columns are a thousand times larger than others."""
_CHANGE_BYTES = 1_000
"""What a change takes beside its spec and plan, measured."""


@dataclass(slots=True)
class _Shared:
    """A job whose spec and plan its other changes share, how many of those are kept, and what both take."""

    job: Job
    changes: int
    size: int


class Recent:
    """Every change after ``floor`` is here. The oldest ones go when there are too many, or when they are too large."""

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
        """How many older changes may be put before the others."""
        return self._most - len(self._changes) if self._size < self._most_bytes else 0

    def append(self, change: Change) -> None:
        """Keep a change that follows the last one."""
        self._changes.append(self._slim(change))
        while len(self._changes) > 1 and (len(self._changes) > self._most or self._size > self._most_bytes):
            gone = self._changes.popleft()
            self.floor = gone.revision
            self._forget(gone.job.id)

    def prepend(self, older: Iterable[Change], floor: int) -> None:
        """Keep all changes from ``floor`` to the first one that is here. There must be room for them."""
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
        """The same change, which shares spec and plan with the other changes of its job."""
        job = change.job
        shared = self._shared.get(job.id)
        if shared is None or (shared.job.spec, shared.job.plan) != (job.spec, job.plan):
            # In memory a text or a number takes three times what it takes pickled.
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
