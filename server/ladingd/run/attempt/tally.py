"""The chunks of one attempt: which of them are committed, and with what counts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ladingd.core.bill import total
from ladingd.core.errors import BillImbalance
from ladingd.core.plan import CommittedChunk
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
        self._throughput = Throughput(plan.end - plan.start, time.monotonic)
        self._counts: dict[int, Counts] = {}
        self._uncertain: set[int] = set()
        self.take_ledger(committed)

    def take_ledger(self, committed: Sequence[CommittedChunk], *, final: bool = True) -> None:
        """Believe the ledger. ``final``: this attempt is shut out, so the ledger can get no more of its chunks."""
        self._counts = {chunk.ordinal: chunk.counts for chunk in committed}
        if final:
            self._uncertain.clear()

    def begin(self, kept: Sequence[Chunk]) -> None:
        """Start the measurement. Earlier attempts have cut these chunks."""
        self._throughput.restart(sum(self._extent(chunk) for chunk in kept if chunk.ordinal in self._counts))

    def add(self, chunk: Chunk, counts: Counts) -> None:
        """A chunk is committed."""
        self._counts[chunk.ordinal] = counts
        self._uncertain.discard(chunk.ordinal)
        self._throughput.add(chunk.ordinal, self._extent(chunk), counts.read)

    def hear(self, chunk: Chunk, report: Report) -> None:
        """A running chunk reports its progress. Its records count once it is committed."""
        self._throughput.hear(chunk.ordinal, report.share * self._extent(chunk), report.records)

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
        return self._throughput.rest() if at_rest else self._throughput.progress()

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

    def _extent(self, chunk: Chunk) -> int:
        """How many of the plan's units a chunk takes. The outer chunks of a table are open to one side."""
        return max(min(chunk.end, self._plan.end) - max(chunk.start, self._plan.start), 0)
