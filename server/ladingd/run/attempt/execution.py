"""One attempt of one job: from the free slot until nothing of it runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ladingd.core.bill import total
from ladingd.core.errors import (
    DiskFull,
    InvalidSpec,
    LadingError,
    PlanOutdated,
    ShuttingDown,
    SpecOutdated,
    StartsOver,
    TargetBusy,
    TargetUnavailable,
    TooManyRejects,
)
from ladingd.core.job import Failure, Level
from ladingd.core.origin import working_on
from ladingd.core.plan import UNKNOWN_END, Moment
from ladingd.core.state import ACTIVE, Event, State
from ladingd.run.attempt.deadline import Deadline, Stop
from ladingd.run.attempt.in_flight import InFlight
from ladingd.run.attempt.outage import Outages
from ladingd.run.attempt.reckoning import (
    Reckoning,
    bill_notice,
    check_ledger,
    check_not_all_rejected,
    check_reject_limit,
    check_replacement,
    nulls_notice,
    unreadable,
)
from ladingd.run.attempt.supply import Supply, phase_of
from ladingd.run.recovery import STOPPED
from ladingd.run.workers.calls import JobCalls

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ladingd.core.bill import Counts
    from ladingd.core.job import Job
    from ladingd.core.plan import Chunk, CommittedChunk
    from ladingd.core.ports import ChunkStore, JobStore, JournalStore, Transfer
    from ladingd.core.report import Report
    from ladingd.run.attempt.timeouts import Timeouts
    from ladingd.run.disk_space import DiskSpace
    from ladingd.run.watch.notifier import Notifier
    from ladingd.run.watch.watch import Watch
    from ladingd.run.workers.pool import Workers


class Execution:
    """Hands out the chunks of one job, and obeys commands meanwhile.

    The notifier wakes it at every change of the job, whose state holds the intent. While the state is RUNNING it hands
    out chunks. In any other state it waits for the calls in flight, and kills their worker processes when the grace is
    over. While the target cannot be reached, one call at a time probes it.
    """

    def __init__(
        self,
        job: Job,
        *,
        jobs: JobStore,
        chunks: ChunkStore,
        journal: JournalStore,
        transfer: Transfer,
        workers: Workers,
        notifier: Notifier,
        watch: Watch,
        timeouts: Timeouts,
        disk_space: DiskSpace,
        observe: Callable[[Job, Job, int], None] | None = None,
    ) -> None:
        """``observe`` receives changes of the job's counts: see ``Reckoning``."""
        self._job = job
        self._jobs = jobs
        self._chunks = chunks
        self._journal = journal
        self._transfer = transfer
        self._workers = workers
        self._notifier = notifier
        self._watch = watch
        self._timeouts = timeouts
        self._disk_space = disk_space
        self._calls = JobCalls(workers=workers, job_id=job.id)
        self._supply = Supply(ahead=workers.size, chunks=chunks, transfer=transfer, calls=self._calls)
        self._reckoning = Reckoning(job, chunks=chunks, transfer=transfer, calls=self._calls, observe=observe)
        self._deadline = Deadline(timeouts)
        self._outages = Outages()
        self._in_flight = InFlight(job.id)
        self._error: LadingError | None = None
        self._begun = False
        self._in_place = False
        """The result is in its place, and the bill is written down. Hooks may be left."""
        self._hooks: set[tuple[Moment, int]] = set()
        """The hooks that have run, as this attempt knows."""
        self._complete = False
        self._shut_down = False
        """The workers are gone because the daemon ends."""

    async def run(self) -> None:
        """Run until the job rests. Errors with its records end in its state and journal; errors of the store are
        raised."""
        resting = False
        try:
            while not resting:
                event = await self._work()
                if event is not Event.COMPLETE:
                    await self._reckon()
                resting = await self._rest(event)
        except asyncio.CancelledError:
            self._in_flight.give_up()
            raise

    def adjust(self, timeouts: Timeouts) -> None:
        """Use these timeouts from now on; a deadline that is set stays."""
        self._timeouts = timeouts
        self._deadline.adjust(timeouts)

    async def abandon(self, error: LadingError) -> None:
        """Bring the job to rest after its run broke off. Its ledger is asked later."""
        self._in_flight.give_up()
        if tasks := self._in_flight.tasks:
            await asyncio.wait(tasks)
        failure = Failure(code=error.code, message=error.message)
        job_id = self._job.id
        if await self._jobs.move(job_id, Event.ERROR, failure=failure) is None:
            await self._jobs.move(job_id, Event.QUIESCENT)
        self._notifier.notify(job_id)

    # The beginning

    async def _begin(self) -> None:
        job = self._job
        kept = await self._chunks.chunks(job.id)
        if kept:  # Before begin: the target may not be the one of the last attempt, and must stay untouched then.
            check_ledger(kept, await self._calls.call(self._transfer.committed, job.uid, job.attempt, job.plan))
        cut = [one.chunk for one in kept]
        phase = phase_of(cut)
        try:
            committed = await self._begin_plan(phase)
            if kept:
                chunks = [chunk for chunk in cut if chunk.phase == phase]
                await self._calls.call(self._transfer.check_source, job.uid, job.plan, chunks)
        except PlanOutdated as changed:
            committed = await self._replan(changed)
            kept, cut = (), []
        self._supply.resume(cut, {chunk.ordinal for chunk in committed})
        self._reckoning.resume(self._job, kept, committed, await self._end_of_phase())
        self._begun = True
        if kept:
            await self._reckon()
            message = f"{len(committed)} of {len(kept)} chunks cut so far are committed; the job continues after them"
            await self._note(Level.INFO, "CONTINUES", message)
            check_reject_limit(job.spec, self._job.counts)

    async def _begin_plan(self, phase: int = 0) -> tuple[CommittedChunk, ...]:
        job = self._job
        await self._run_hooks(Moment.BEFORE)
        if job.plan.added:
            for note in await self._calls.call(self._transfer.add_columns, job.uid, job.attempt, job.plan):
                await self._note(note.level, "TABLE_CHANGED", note.text)
        return await self._calls.call(self._transfer.begin, job.uid, job.attempt, job.plan, phase)

    async def _run_hooks(self, moment: Moment) -> None:
        """Run the hooks of a moment that have not run in this attempt or an earlier one."""
        job = self._job
        for number in range(len(job.plan.hooks(moment))):
            if (moment, number) not in self._hooks:
                note = await self._calls.call(self._transfer.run_hook, job.uid, job.attempt, job.plan, moment, number)
                self._hooks.add((moment, number))
                await self._note(note.level, "HOOK", note.text)

    async def _advance(self) -> None:
        """Complete the current phase and begin the next one."""
        job = self._job
        phase, chunks = self._supply.phase, await self._supply.of_phase(job)
        if job.plan.merges(phase + 1):
            counts = total(chunk.counts for chunk in self._reckoning.tally.committed)
            check_not_all_rejected(counts)
            check_reject_limit(job.spec, counts, complete=True)
            check_replacement(job.plan, counts)
            message = f"{counts.pending:,} records are staged, and are merged into the table now"
            await self._note(Level.INFO, "MERGE_BEGINS", message)
        for note in await self._supply.advance(job, chunks):
            await self._note(note.level, "RESULT", note.text)
        await self._tell_phase(phase, chunks)
        self._reckoning.tally.enter(self._supply.phase, await self._end_of_phase())

    async def _tell_phase(self, phase: int, chunks: Sequence[Chunk]) -> None:
        """Write down what became of the records of a file, if there are several files."""
        plan = self._job.plan
        if plan.loads > 1 and not plan.merges(phase):
            level, _, said = bill_notice(self._reckoning.tally.of(chunks))
            await self._note(level, "FILE", f"{plan.title(phase)}: {said}")

    async def _end_of_phase(self) -> int:
        """The end of the current phase. If the plan does not know it, the transfer does now."""
        job, phase = self._job, self._supply.phase
        _, end = job.plan.range(phase)
        return end if end != UNKNOWN_END else await self._calls.call(self._transfer.extent, job.uid, job.plan, phase)

    async def _replan(self, changed: PlanOutdated) -> tuple[CommittedChunk, ...]:
        """Plan again and begin, unless something was committed after the outdated plan and still counts."""
        job = self._job
        if isinstance(changed, StartsOver):
            # The store forgets first: if the daemon dies in between, the next attempt comes here again.
            self._job = await self._jobs.replan(job.id, job.plan)
            await self._calls.call(self._transfer.discard, job.uid, job.plan)
            await self._note(Level.WARNING, changed.code, f"{changed.message}: the job starts over")
            return await self._begin_plan()
        if await self._calls.call(self._transfer.committed, job.uid, job.attempt, job.plan):
            raise changed
        plan = await self._calls.call(self._transfer.plan, job.spec)
        self._job = await self._jobs.replan(job.id, plan)
        await self._note(Level.WARNING, "PLANNED_ANEW", f"{changed.message}; nothing was committed yet: planned again")
        return await self._begin_plan()

    # The work

    async def _work(self) -> Event:
        """Hand out chunks and collect their counts until the job can move; return the event."""
        while True:
            changed = self._notifier.listen(self._job.id)
            self._job = await self._jobs.get(self._job.id)
            if self._job.state is State.RUNNING and self._error is None and not self._shut_down:
                self._hand_out()
            if not self._in_flight.tasks:
                if self._shut_down:
                    return Event.SHUTDOWN
                if self._error is not None and self._job.state is not State.CANCELING:
                    return Event.ERROR
                if self._job.state is not State.RUNNING:
                    return Event.QUIESCENT
                if self._complete:
                    return Event.COMPLETE
            await self._heed_deadline()
            await self._wait(changed)
            await self._collect()

    def _hand_out(self) -> None:
        """Start what can be done now. While the target is away, that is one call whenever a try is due."""
        job, in_flight = self._job, self._in_flight
        at_most = self._workers.size + 1  # The next chunk lies ready when a worker becomes free.
        outage = self._outages.current
        if outage is not None:
            if in_flight.tasks or outage.seconds_to_try():
                return
            outage.try_now()
            at_most = 1
        while len(in_flight.chunks) < at_most and (chunk := self._supply.take()) is not None:
            with working_on(chunk.ordinal):
                in_flight.send(chunk, self._process(job, chunk))
        if in_flight.step is not None or (outage is not None and in_flight.chunks):
            return
        if not self._begun:
            in_flight.prepare("begin", self._begin())
        elif self._supply.wants_cut:
            in_flight.prepare("cut", self._supply.cut(job))
        elif self._supply.phase_handed_out and not in_flight.chunks and not self._complete:
            if self._supply.in_last_phase(job):
                in_flight.prepare("finish", self._finish())
            else:
                in_flight.prepare("advance", self._advance())

    async def _process(self, job: Job, chunk: Chunk) -> Counts:
        """Have a chunk processed, and show its progress."""

        def hear(report: Report) -> None:
            self._reckoning.tally.hear(chunk, report)
            self._watch.progressed(replace(self._job, progress=self._reckoning.tally.progress()))

        return await self._calls.follow(hear, self._transfer.process, job.uid, job.attempt, job.plan, chunk)

    async def _wait(self, changed: asyncio.Event) -> None:
        """Wait until a call ends, the job changes, its workers must be killed, or a try of the target is due."""
        times = [self._deadline.seconds_left()]
        if self._error is None:
            times.append(self._outages.seconds_to_act(in_flight=bool(self._in_flight.tasks)))
        await self._in_flight.land(changed, min((seconds for seconds in times if seconds is not None), default=None))
        if self._deadline.seconds_left() == 0 and (names := self._in_flight.names):
            await self._note(*self._deadline.killing(names))
            self._in_flight.give_up()
            self._deadline.used_up()

    async def _heed_deadline(self) -> None:
        """If what is in flight must end, show by when."""
        if self._deadline.set(self._why_stop()) and self._outages.current is None and (names := self._in_flight.names):
            await self._note(*self._deadline.notice(names))
        if self._outages.current is not None and (self._job.state is not State.RUNNING or self._error is not None):
            self._in_flight.give_up()  # Nothing can be in flight to an unreachable target.

    def _why_stop(self) -> Stop | None:
        if self._job.state is State.CANCELING:
            return Stop.CANCEL
        if self._error is not None or self._outages.expired:
            return Stop.ERROR
        return Stop.PAUSE if self._job.state is State.PAUSING else None

    async def _collect(self) -> None:
        """Take over the results of calls that have ended: the counts of committed chunks, and errors."""
        ended = self._in_flight.ended()
        done: list[tuple[Chunk, Counts]] = []
        for task, chunk in ended:
            if chunk is None:
                continue
            if task.cancelled() or task.exception() is not None:
                self._reckoning.tally.doubt(chunk)
                self._supply.put_back(chunk)
            else:
                done.append((chunk, task.result()))
        if done:
            self._job = await self._reckoning.commit(self._job, done)
            self._watch.progressed(self._job)
            self._heed_reject_limit()
        for task, _ in ended:
            await self._heed_outcome(task)
        outage = self._outages.current
        if ended and not self._in_flight.tasks and outage is not None and self._outages.expired:
            self._fail(outage.error)

    def _heed_reject_limit(self) -> None:
        """Stop the job if more records are rejected than it allows."""
        try:
            check_reject_limit(self._job.spec, self._job.counts)
        except TooManyRejects as error:
            self._fail(error)

    async def _heed_outcome(self, task: asyncio.Task[Any]) -> None:
        """Act on the end of a call. An error that is not a LadingError is raised: the store is broken."""
        if task.cancelled():
            self._outages.broken_off()
            return
        error = task.exception()
        notice = None
        if error is None:
            notice = self._outages.reached()
        elif not isinstance(error, LadingError):
            raise error
        elif isinstance(error, TargetUnavailable) and (self._timeouts.target or isinstance(error, TargetBusy)):
            notice = self._outages.lost(error, self._timeouts.target)
        else:
            self._outages.refused()
            if isinstance(error, DiskFull):
                await self._disk_space.full(self._job, error)
            else:
                self._fail(error)
        if notice is not None:
            await self._note(*notice)

    # The end

    async def _finish(self) -> None:
        """All chunks are committed: check the bill, put the result in its place and run the hooks that follow."""
        if not self._in_place:
            await self._put_in_place()
        await self._run_hooks(Moment.AFTER)
        self._complete = True

    async def _put_in_place(self) -> None:
        job = self._job
        chunks = [kept.chunk for kept in await self._chunks.chunks(job.id)]
        counts = self._reckoning.tally.bill(chunks)
        last = [chunk for chunk in chunks if chunk.phase == self._supply.phase]
        notes = await self._calls.call(self._transfer.finish, job.uid, job.plan, last)
        self._reckoning.tally.complete()
        await self._reckon(total=counts.read)
        for note in notes:
            await self._note(note.level, "RESULT", note.text)
        await self._tell_phase(self._supply.phase, last)
        level, code, bill = bill_notice(counts)
        added = ", ".join(column.target for column in job.plan.added)
        await self._note(level, code, f"{bill}; columns added to the table: {added}" if added else bill)
        if counts.nulls:
            await self._note(*nulls_notice(counts.nulls))
        check_not_all_rejected(counts)
        check_reject_limit(job.spec, counts, complete=True)
        self._in_place = True

    async def _reckon(self, total: int | None = None) -> None:
        """Make the job's counts agree with the ledger. Ask the ledger if calls were cancelled."""
        if not self._begun:
            # No chunk of this attempt was handed out: what the store knows still holds.
            if self._in_flight.abandoned:
                await self._ask_ledger()
            return
        doubtful = self._reckoning.tally.uncertain or self._in_flight.abandoned
        if (doubtful or self._keeps_sessions()) and not await self._ask_ledger():
            return  # Left unsettled: the next start of the daemon asks the ledger.
        self._job = await self._reckoning.settle(self._job, total)

    def _keeps_sessions(self) -> bool:
        """Whether the attempt is over and has left sessions in a database that answers."""
        over = self._job.state is not State.RUNNING or self._error is not None
        answers = self._outages.current is None and not self._shut_down
        return over and answers and self._job.plan.keeps_sessions

    async def _ask_ledger(self) -> bool:
        """End abandoned work in the target, and take over its ledger. Returns False if the workers are gone. If the
        ledger cannot be read, the journal says so."""
        job = self._job
        # A pause can still be cancelled, and then this attempt continues.
        final = job.state is not State.PAUSING or self._error is not None
        outage = self._outages.current
        try:
            if outage is not None and self._outages.away:
                raise outage.error
            committed = await self._reckoning.ask_ledger(job, final=final, busy=outage is not None)
            self._in_flight.abandoned = False
            if self._begun:
                await self._reckoning.take_ledger(job, committed, final=final)
        except ShuttingDown:
            return False
        except LadingError as error:
            await self._note(*unreadable(error))
        return True

    async def _rest(self, event: Event) -> bool:
        """Move the job by this event if its state still allows it; return whether it rests now."""
        if event is not Event.ERROR and self._error is not None:
            await self._note(Level.ERROR, self._error.code, self._error.message)
        if event is Event.QUIESCENT and self._complete:
            await self._note(Level.INFO, "ALL_DONE", "the job was already complete when this took effect")
        failure = None
        if event is Event.ERROR and self._error is not None:
            failure = Failure(code=self._error.code, message=self._error.message)
        elif event is Event.SHUTDOWN:
            failure = STOPPED
        settled = self._begun and not self._reckoning.tally.uncertain and not self._in_flight.abandoned
        moved = await self._jobs.move(self._job.id, event, failure=failure, settled=settled)
        self._job = moved or await self._jobs.get(self._job.id)
        self._notifier.notify(self._job.id)
        return self._job.state not in ACTIVE

    def _fail(self, error: LadingError) -> None:
        """Remember the first error: it stops the job."""
        if isinstance(error, ShuttingDown):
            self._shut_down = True
            return
        if isinstance(error, InvalidSpec):
            error = SpecOutdated(f"{error.field}: {error.problem}")
        self._error = self._error or error

    async def _note(self, level: Level, code: str, message: str) -> None:
        await self._journal.write_journal(self._job.id, level, code, message)
        self._notifier.notify(self._job.id)
