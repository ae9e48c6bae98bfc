"""The chunks of one attempt: which of them are committed, and with what counts."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

from ladingd.core.bill import total
from ladingd.core.errors import BillImbalance
from ladingd.core.job import FileProgress
from ladingd.core.plan import CommittedChunk
from ladingd.run.attempt.supply import phase_of
from ladingd.run.attempt.throughput import Throughput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.bill import Counts
    from ladingd.core.job import Progress
    from ladingd.core.plan import Chunk, Plan
    from ladingd.core.report import Report


class Tally:
    """Which chunks are committed, with what counts, and which have an outcome that only the ledger knows."""

    def __init__(self, plan: Plan, committed: Sequence[CommittedChunk] = ()) -> None:
        self._plan = plan
        self._phase, self._end = 0, plan.range(0)[1]
        """The current phase, and the end of its range."""
        sizes = [plan.size(phase) for phase in range(len(plan.phases))]
        self._before = [0, *accumulate(sizes)]
        """The units of all phases before each one."""
        self._throughput = Throughput(sum(sizes), time.monotonic)
        self._counts: dict[int, Counts] = {}
        self._uncertain: set[int] = set()
        self.take_ledger(committed)

    def take_ledger(self, committed: Sequence[CommittedChunk], *, final: bool = True) -> None:
        """Believe the ledger. ``final``: this attempt is shut out, so the ledger can get no more of its chunks."""
        self._counts = {chunk.ordinal: chunk.counts for chunk in committed}
        if final:
            self._uncertain.clear()

    def begin(self, kept: Sequence[Chunk], end: int) -> None:
        """Start the measurement. Earlier attempts have cut these chunks. ``end``: the end of the current phase."""
        self._phase, self._end = phase_of(kept), end
        current = [chunk for chunk in kept if chunk.phase == self._phase and chunk.ordinal in self._counts]
        self._throughput.restart(self._before[self._phase] + sum(map(self.extent, current)))

    def enter(self, phase: int, end: int) -> None:
        """A phase begins; all before it are complete. ``end``: the end of its range."""
        self._phase, self._end = phase, end
        self._throughput.reach(self._before[phase])

    def complete(self) -> None:
        """All phases are complete."""
        self._throughput.reach(self._before[-1])

    def add(self, chunk: Chunk, counts: Counts) -> None:
        """A chunk is committed."""
        self._counts[chunk.ordinal] = counts
        self._uncertain.discard(chunk.ordinal)
        self._throughput.add(chunk.ordinal, self.extent(chunk), counts.read)

    def hear(self, chunk: Chunk, report: Report) -> None:
        """A running chunk reports its progress. Its records count once it is committed."""
        self._throughput.hear(chunk.ordinal, report.share * self.extent(chunk), report.records)

    def doubt(self, chunk: Chunk) -> None:
        """The call of a chunk was cancelled or has failed: only the ledger knows its outcome."""
        self._uncertain.add(chunk.ordinal)
        self._throughput.drop(chunk.ordinal)

    @property
    def uncertain(self) -> bool:
        """Whether the ledger may know more than this."""
        return bool(self._uncertain)

    @property
    def committed(self) -> tuple[CommittedChunk, ...]:
        """The chunks that are certainly committed."""
        return tuple(CommittedChunk(ordinal=ordinal, counts=counts) for ordinal, counts in self._counts.items())

    def has(self, chunk: Chunk) -> bool:
        """Whether a chunk is certainly committed."""
        return chunk.ordinal in self._counts

    def progress(self, *, at_rest: bool = False) -> Progress:
        """How far the job is, and how fast."""
        progress = self._throughput.rest() if at_rest else self._throughput.progress()
        several = self._plan.loads > 1 and not self._plan.merges(self._phase)
        return replace(progress, file=self._file()) if several else progress

    def _file(self) -> FileProgress:
        """How far the file of the current phase is."""
        size, done = self._plan.size(self._phase), self._throughput.done - self._before[self._phase]
        return FileProgress(
            name=self._plan.title(self._phase),
            number=self._phase + 1,
            count=self._plan.loads,
            fraction=min(done / size, 1.0) if size else 1.0,
        )

    def of(self, chunks: Sequence[Chunk]) -> Counts:
        """The sums over some chunks, all of which are committed."""
        return total(self._counts[chunk.ordinal] for chunk in chunks)

    def bill(self, chunks: Sequence[Chunk]) -> Counts:
        """The sums over these chunks, all of which must be committed.

        Raises BillImbalance if a record is missing, is counted twice or still waits for a later phase.
        """
        counts = total(self._counts.values())
        # The number of records in a chunk of a table is known only after reading it.
        expected = sum(self._counts[chunk.ordinal].read if chunk.records is None else chunk.records for chunk in chunks)
        if not counts.balances or counts.read != expected:
            raise BillImbalance(
                f"the bill does not balance: {expected} records in the source, {counts.read} read,"
                f" {counts.accounted} accounted for"
            )
        if counts.pending:
            raise BillImbalance(f"the bill does not balance: {counts.pending} records are staged and were not merged")
        return counts

    def extent(self, chunk: Chunk) -> int:
        """How many of the plan's units a chunk of the current phase takes: the bytes of a file, or the keys of a table.

        The outer chunks of a table are open to one side.
        """
        start, size = self._plan.range(self._phase)[0], self._plan.size(self._phase)
        length = max(self._end - start, 1)

        def share(position: int) -> int:
            return size * (min(max(position, start), self._end) - start) // length

        return share(chunk.end) - share(chunk.start)
