"""The calls of one job that are in flight."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ladingd.core.bill import Counts
    from ladingd.core.plan import Chunk


class InFlight:
    """Chunks that are processed, and at most one step beside them: begin, cut, advance or finish."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self.chunks: dict[asyncio.Task[Counts], Chunk] = {}
        self.step: asyncio.Task[None] | None = None
        self.abandoned = False
        """Tasks were cancelled, but their work may continue in a database."""

    def send(self, chunk: Chunk, call: Coroutine[Any, Any, Counts]) -> None:
        """Begin to process a chunk."""
        self.chunks[asyncio.create_task(call, name=f"{self._job_id} chunk {chunk.ordinal}")] = chunk

    def prepare(self, name: str, step: Coroutine[Any, Any, None]) -> None:
        """Begin a step."""
        self.step = asyncio.create_task(step, name=f"{self._job_id} {name}")

    @property
    def tasks(self) -> list[asyncio.Task[Any]]:
        """All tasks that ``ended`` has not returned yet."""
        return [*self.chunks, *([self.step] if self.step is not None else [])]

    @property
    def names(self) -> list[str]:
        """The names of the tasks that are not done, as the journal shows them."""
        return [task.get_name().removeprefix(f"{self._job_id} ") for task in self.tasks if not task.done()]

    async def land(self, bell: asyncio.Event, timeout: float | None) -> None:  # noqa: ASYNC109
        """Wait until a task is done, the bell rings, or the timeout is over."""
        ringing = asyncio.create_task(bell.wait(), name=f"{self._job_id} bell")
        try:
            await asyncio.wait({ringing, *self.tasks}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ringing.cancel()

    def give_up(self) -> None:
        """Cancel all tasks, which kills their worker processes."""
        for task in self.tasks:
            self.abandoned = True
            if not task.cancelling():  # A second cancel would not wait for the end of the process.
                task.cancel()

    def ended(self) -> list[tuple[asyncio.Task[Any], Chunk | None]]:
        """Take out the tasks that are done, each with its chunk if it has one."""
        done: list[tuple[asyncio.Task[Any], Chunk | None]] = []
        done += [(task, self.chunks.pop(task)) for task in list(self.chunks) if task.done()]
        if self.step is not None and self.step.done():
            done.append((self.step, None))
            self.step = None
        return done
