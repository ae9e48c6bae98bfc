"""The chunks of one attempt: cut ahead of the workers, handed out phase by phase."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ladingd.core.job import Job, Note
    from ladingd.core.plan import Chunk
    from ladingd.core.ports import ChunkStore, Transfer
    from ladingd.run.workers.calls import JobCalls

CUT_AHEAD = 16
"""Chunks that are cut at a time, except the first ones."""


class Supply:
    """Cuts the chunks of a plan, writes them down and keeps those that wait for a worker.

    Only chunks of the current phase wait. The next phase begins with ``advance``, once all of them are committed.
    """

    def __init__(self, *, ahead: int, chunks: ChunkStore, transfer: Transfer, calls: JobCalls) -> None:
        """``ahead``: cut more when no more than this many chunks wait."""
        self._ahead = ahead
        self._chunks = chunks
        self._transfer = transfer
        self._calls = calls
        self._waiting: deque[Chunk] = deque()
        self._last: Chunk | None = None
        self._phase = 0
        self._first = 0
        """The ordinal of the first chunk of the current phase."""
        self._all_cut = False
        """No chunk of the current phase is left to cut."""

    def resume(self, cut: Sequence[Chunk], committed: Collection[int]) -> None:
        """Continue after the chunks that earlier attempts cut. ``committed`` are the ordinals of those that are done.

        An interrupted attempt may have advanced to a phase without cutting it. The supply advances again then.
        """
        self._waiting = deque(chunk for chunk in cut if chunk.ordinal not in committed)
        self._last = cut[-1] if cut else None
        self._phase = phase_of(cut)
        self._first = next((chunk.ordinal for chunk in cut if chunk.phase == self._phase), 0)
        self._all_cut = False

    def take(self) -> Chunk | None:
        """The next chunk to process; None if none is ready."""
        return self._waiting.popleft() if self._waiting else None

    def put_back(self, chunk: Chunk) -> None:
        """Hand out a chunk again before all others: its call failed."""
        self._waiting.appendleft(chunk)

    @property
    def wants_cut(self) -> bool:
        """Whether more chunks have to be cut, or workers will wait for them."""
        return not self._all_cut and len(self._waiting) <= self._ahead

    @property
    def phase_handed_out(self) -> bool:
        """Whether all chunks of the current phase were handed out."""
        return self._all_cut and not self._waiting

    def in_last_phase(self, job: Job) -> bool:
        """Whether no phase follows the current one."""
        return self._phase + 1 >= len(job.plan.phases)

    @property
    def phase(self) -> int:
        """The current phase."""
        return self._phase

    async def of_phase(self, job: Job) -> list[Chunk]:
        """The chunks of the current phase, in order."""
        return [kept.chunk for kept in await self._chunks.chunks(job.id, first=self._first)]

    async def cut(self, job: Job) -> None:
        """Cut further chunks of the current phase and write them down before any is handed out."""
        # Workers wait for the first chunks: cut no more than can be handed out.
        limit = self._ahead + 1 if self._last is None else CUT_AHEAD
        chunks = await self._calls.call(self._transfer.cut, job.uid, job.plan, self._last, limit, self._phase)
        if chunks:
            await self._chunks.add_chunks(job.id, chunks)
            self._last = chunks[-1]
            self._waiting.extend(chunks)
        self._all_cut = len(chunks) < limit

    async def advance(self, job: Job, chunks: Sequence[Chunk]) -> tuple[Note, ...]:
        """Begin the next phase, and return what users should know. ``chunks`` are those of the current one, all
        committed."""
        phase = self._phase + 1
        notes = await self._calls.call(self._transfer.advance, job.uid, job.attempt, job.plan, phase, chunks)
        self._first = self._last.ordinal + 1 if self._last else 0
        self._phase, self._all_cut = phase, False
        return notes


def phase_of(cut: Sequence[Chunk]) -> int:
    """The phase in which a job continues after these chunks."""
    return cut[-1].phase if cut else 0
