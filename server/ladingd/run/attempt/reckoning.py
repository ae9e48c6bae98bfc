"""The counts of one attempt: the sums of committed chunks, corrected by the target's ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.core.bill import OUTCOMES
from ladingd.core.errors import AllRejected, BillImbalance, EmptyReplacement, LedgerLost, TooManyRejects
from ladingd.core.job import Level
from ladingd.core.plan import CommittedChunk
from ladingd.run.attempt.tally import Tally
from ladingd.run.workers.calls import answer_within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ladingd.core.bill import Counts
    from ladingd.core.errors import LadingError
    from ladingd.core.job import Job
    from ladingd.core.plan import Chunk, Plan
    from ladingd.core.ports import ChunkStore, KeptChunk, Transfer
    from ladingd.core.spec import JobSpec
    from ladingd.run.workers.calls import JobCalls

LEDGER_TIMEOUT = 5.0
"""Seconds that a ledger has to report the chunks whose calls were cancelled."""

_COLUMNS = 40
"""How many columns a journal entry names."""

_FEW_RECORDS = 1_000
"""The percentage of rejects among fewer records says nothing yet."""

BUSY_LEDGER_TIMEOUT = 2.0
"""The same while others hold the target: the ledger of a file cannot answer then, and nobody should wait for it."""


class Reckoning:
    """Keeps the job's counts in the store equal to those of the chunks that are committed.

    Each method returns the job as the store has it afterwards. ``observe`` receives the job before and after each
    change of its counts, and how many of the plan's units the newly committed chunks take.
    """

    def __init__(
        self,
        job: Job,
        *,
        chunks: ChunkStore,
        transfer: Transfer,
        calls: JobCalls,
        observe: Callable[[Job, Job, int], None] | None = None,
    ) -> None:
        self._chunks = chunks
        self._transfer = transfer
        self._calls = calls
        self._observe = observe
        self.tally = Tally(job.plan)

    def resume(self, job: Job, kept: Sequence[KeptChunk], committed: Sequence[CommittedChunk], end: int) -> None:
        """Continue from the chunks that the ledger has. ``end``: the end of the current phase. Raises like
        ``check_ledger``."""
        check_ledger(kept, committed)
        self.tally = Tally(job.plan, committed)
        self.tally.begin([one.chunk for one in kept], end)

    async def commit(self, job: Job, done: Sequence[tuple[Chunk, Counts]]) -> Job:
        """Add the counts of chunks that were committed."""
        for chunk, counts in done:
            self.tally.add(chunk, counts)
        committed = [CommittedChunk(ordinal=chunk.ordinal, counts=counts) for chunk, counts in done]
        after = await self._chunks.commit_chunks(job.id, committed, self.tally.progress())
        moved = [chunk for chunk, _ in done if not job.plan.merges(chunk.phase)]
        self._observed(job, after, sum(map(self.tally.extent, moved)))
        return after

    async def settle(self, job: Job, total: int | None = None) -> Job:
        """Write the tally to the store. ``total`` is the number of records in the source, once it is known."""
        after = await self._chunks.settle(
            job.id,
            self.tally.committed,
            uid=job.uid,
            attempt=job.attempt,
            total=total,
            progress=self.tally.progress(at_rest=True),
            settled=False,
        )
        self._observed(job, after, 0)
        return after

    async def ask_ledger(self, job: Job, *, final: bool, busy: bool) -> tuple[CommittedChunk, ...]:
        """End the work of earlier attempts, and return the committed chunks in the ledger. ``final`` shuts out this
        attempt as well. ``busy``: others hold the target. Raises TargetUnavailable if the answer takes too long,
        because the job must come to rest."""
        attempt = job.attempt + 1 if final else job.attempt
        async with answer_within(BUSY_LEDGER_TIMEOUT if busy else LEDGER_TIMEOUT):
            return await self._calls.call(self._transfer.committed, job.uid, attempt, job.plan)

    async def take_ledger(self, job: Job, committed: Sequence[CommittedChunk], *, final: bool) -> None:
        """Believe the ledger. Raises like ``check_ledger``."""
        check_ledger(await self._chunks.chunks(job.id), committed)
        self.tally.take_ledger(committed, final=final)

    def _observed(self, before: Job, after: Job, extent: int) -> None:
        if self._observe is not None:
            self._observe(before, after, extent)


def bill_notice(counts: Counts) -> tuple[Level, str, str]:
    """The journal entry of a bill that balances."""
    doubles = "ignored double" if counts.ignored_doubles == 1 else "ignored doubles"
    parts = {
        "staged": counts.pending,
        **{doubles if name == "ignored_doubles" else name: getattr(counts, name) for name in OUTCOMES},
        "warning" if counts.warnings == 1 else "warnings": counts.warnings,
    }
    said = ", ".join(f"{number:,} {what}" for what, number in parts.items() if number)
    records = f"{counts.read:,} record{'' if counts.read == 1 else 's'}"
    removed = f"; {counts.removed:,} rows of the table removed" if counts.removed else ""
    return Level.INFO, "BILL", f"{records} read: {said or 'nothing to do'}{removed}"


def nulls_notice(nulls: Mapping[str, int]) -> tuple[Level, str, str]:
    """The journal entry about the values that were read as null."""
    said = [f"{name} {number:,}" for name, number in [*nulls.items()][:_COLUMNS]]
    more = [f"{len(nulls) - _COLUMNS:,} more columns"] if len(nulls) > _COLUMNS else []
    return Level.INFO, "NULLS", f"values read as null: {', '.join([*said, *more])}"


def check_not_all_rejected(counts: Counts) -> None:
    """Raises AllRejected if no record reached the target because all were rejected."""
    if counts.all_rejected:
        which = "the only record was" if counts.rejected == 1 else f"all {counts.rejected:,} records were"
        raise AllRejected(f"{which} rejected; nothing was loaded")


def check_reject_limit(spec: JobSpec, counts: Counts, *, complete: bool = False) -> None:
    """Raises TooManyRejects. ``complete``: all records have been read. Before that, a percentage of a few records says
    nothing."""
    if spec.kind != "import":
        return
    limit, rejected = spec.reject_limit, counts.rejected
    if limit.records is not None and rejected > limit.records:
        raise _too_many(counts, f"{limit.records:,}")
    early = not complete and counts.read < _FEW_RECORDS
    if limit.percent is not None and not early and 100 * rejected > limit.percent * counts.read:
        raise _too_many(counts, f"{limit.percent:g} %")


def _too_many(counts: Counts, allowed: str) -> TooManyRejects:
    percent = 100 * counts.rejected / counts.read
    return TooManyRejects(
        f"{counts.rejected:,} of {counts.read:,} records are rejected ({percent:.3g} %), and the job allows {allowed}; "
        f"what was written stays"
    )


def check_replacement(plan: Plan, counts: Counts) -> None:
    """Raises EmptyReplacement if records should replace rows and there are none. ``counts``: those of all files."""
    if plan.kind == "import" and plan.merge is not None and plan.merge.replace and not counts.pending:
        raise EmptyReplacement(
            f"there is no record to put in place of the rows of table {plan.target.table}, so it was left as it is; "
            f"to empty it, run DELETE in the database"
        )


def unreadable(error: LadingError) -> tuple[Level, str, str]:
    """The journal entry of a job whose ledger cannot be read: its target is away, or no longer configured."""
    message = f"the ledger cannot be read now, so the counters may be too low: {error.message}"
    return Level.WARNING, "LEDGER_UNREADABLE", message


def check_ledger(kept: Sequence[KeptChunk], committed: Sequence[CommittedChunk]) -> None:
    """Check that store and ledger are of the same time.

    Raises LedgerLost if the ledger lacks a chunk that was committed, BillImbalance if it has one that was never cut.
    """
    in_ledger = {chunk.ordinal for chunk in committed}
    if lost := {one.chunk.ordinal for one in kept if one.counts is not None} - in_ledger:
        raise LedgerLost(
            f"the target's ledger lacks chunk {min(lost)} of this job, which was committed: is this another database,"
            " or an older copy?"
        )
    if unknown := in_ledger - {one.chunk.ordinal for one in kept}:
        raise BillImbalance(
            f"the target's ledger has chunk {min(unknown)} of this job, but the store has not: was the store restored"
            " from an older copy?"
        )
