"""One attempt of one job: from the free slot until nothing of it runs any more."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ladingd.core.errors import (
    AllRejected,
    DiskFull,
    InvalidSpec,
    LadingError,
    PlanOutdated,
    ShuttingDown,
    SpecOutdated,
    TargetBusy,
    TargetUnavailable,
)
from ladingd.core.job import Failure, Level
from ladingd.core.origin import working_on
from ladingd.core.plan import CommittedChunk
from ladingd.core.state import ACTIVE, Event, State
from ladingd.run.attempt.deadline import Deadline, Stop
from ladingd.run.attempt.in_flight import InFlight
from ladingd.run.attempt.outage import Outage
from ladingd.run.attempt.tally import Tally
from ladingd.run.recovery import STOPPED
from ladingd.run.upkeep.settlement import check_ledger, unreadable
from ladingd.run.workers.calls import internal_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ladingd.core.bill import Counts
    from ladingd.core.job import Job
    from ladingd.core.plan import Chunk
    from ladingd.core.ports import JobStore, Transfer
    from ladingd.core.report import Report
    from ladingd.run.attempt.timeouts import Timeouts
    from ladingd.run.disk_space import DiskSpace
    from ladingd.run.watch.notifier import Notifier
    from ladingd.run.watch.watch import Watch
    from ladingd.run.workers.pool import Workers

P = ParamSpec("P")
T = TypeVar("T")

CUT_AHEAD = 16
"""Chunks that are cut at a time, but for the first ones."""
RECKONING = 5.0
"""How many seconds a ledger has to say what became of chunks that were given up."""

BUSY_RECKONING = 2.0
"""The same where others hold the target: then a file's ledger cannot answer, and nobody is to wait for that."""


class Execution:
    """Hands out the chunks of one job and acts on what people want of it meanwhile.

    It is told of commands through the notifier and finds the intent in the job's state: RUNNING hands out, any other
    state waits for what is in flight, and has its worker processes killed when its grace is over. While the target
    cannot be reached, one call at a time tries whether it is back, and what was in flight waits for that.
    """

    def __init__(
        self,
        job: Job,
        *,
        store: JobStore,
        transfer: Transfer,
        workers: Workers,
        notifier: Notifier,
        watch: Watch,
        timeouts: Timeouts,
        disk_space: DiskSpace,
        observe: Callable[[Job, Job, int], None] | None = None,
    ) -> None:
        """``observe`` is told when counts were written: the job before and after, and how many of the plan's units
        the chunks take that were committed."""
        self._job = job
        self._store = store
        self._transfer = transfer
        self._workers = workers
        self._notifier = notifier
        self._watch = watch
        self._timeouts = timeouts
        self._disk_space = disk_space
        self._observe = observe
        self._deadline = Deadline(timeouts)
        self._tally = Tally(job.plan)
        self._error: LadingError | None = None
        self._outage: Outage | None = None
        self._in_flight = InFlight(job.id)
        self._waiting: deque[Chunk] = deque()
        self._last_cut: Chunk | None = None
        self._all_cut = False
        self._begun = False
        self._complete = False
        self._shut_down = False
        """The workers are gone because the daemon ends."""

    async def run(self) -> None:
        """Run until the job rests. What goes wrong with its records ends in its state and journal, not in an
        exception; what goes wrong with the store is raised."""
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
        """Be as patient as this from the next occasion on; a deadline that is set stays."""
        self._timeouts = timeouts
        self._deadline.adjust(timeouts)

    async def abandon(self, error: LadingError) -> None:
        """Bring the job to rest after its run has broken off. Its ledger is asked later."""
        self._in_flight.give_up()
        if tasks := self._in_flight.tasks:
            await asyncio.wait(tasks)
        failure = Failure(code=error.code, message=error.message)
        job_id = self._job.id
        if await self._store.move(job_id, Event.ERROR, failure=failure) is None:
            await self._store.move(job_id, Event.QUIESCENT)
        self._notifier.notify(job_id)

    # The beginning

    async def _begin(self) -> None:
        job = self._job
        kept = await self._store.chunks(job.id)
        if kept:  # Before anything is made in a target that may not be the one of the last attempt.
            check_ledger(kept, await self._call(self._transfer.committed, job.uid, job.attempt, job.plan))
        try:
            committed = await self._call(self._transfer.begin, job.uid, job.attempt, job.plan)
            if kept:
                await self._call(self._transfer.check_source, job.plan, [one.chunk for one in kept])
        except PlanOutdated as changed:
            committed = await self._replan(changed)
            kept = ()
        check_ledger(kept, committed)
        self._tally = Tally(self._job.plan, committed)
        cut = [one.chunk for one in kept]
        self._tally.begin(cut)
        self._last_cut = cut[-1] if cut else None
        self._waiting.extend(chunk for chunk in cut if not self._tally.has(chunk))
        self._begun = True
        if kept:
            await self._reckon()
            message = f"{len(committed)} of {len(kept)} chunks cut so far are committed; going on after them"
            await self._note(Level.INFO, "CONTINUES", message)

    async def _replan(self, changed: PlanOutdated) -> tuple[CommittedChunk, ...]:
        """Where nothing was committed yet, the plan is simply made again."""
        job = self._job
        if await self._call(self._transfer.committed, job.uid, job.attempt, job.plan):
            raise changed
        plan = await self._call(self._transfer.plan, job.spec)
        self._job = await self._store.replan(job.id, plan)
        await self._note(Level.WARNING, "PLANNED_ANEW", f"{changed.message}; nothing was committed yet: planned anew")
        return await self._call(self._transfer.begin, job.uid, job.attempt, plan)

    # The work

    async def _work(self) -> Event:
        """Hand out chunks and collect their counts until the job may move; say by which event."""
        while True:
            changed = self._notifier.listen(self._job.id)
            self._job = await self._store.get(self._job.id)
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
        """Start what can be done now. While the target is away that is one call, whenever a try is due."""
        in_flight = self._in_flight
        at_most = self._workers.size + 1  # The next chunk lies ready when a worker becomes free.
        if self._outage is not None:
            if in_flight.tasks or self._outage.seconds_to_try():
                return
            self._outage.try_now()
            at_most = 1
        while self._waiting and len(in_flight.chunks) < at_most:
            chunk = self._waiting.popleft()
            job = self._job
            with working_on(chunk.ordinal):
                in_flight.send(chunk, self._process(job, chunk))
        if in_flight.step is not None or (self._outage is not None and in_flight.chunks):
            return
        if not self._begun:
            in_flight.prepare("begin", self._begin())
        elif not self._all_cut and len(self._waiting) <= self._workers.size:
            in_flight.prepare("cut", self._cut())
        elif self._all_cut and not in_flight.chunks and not self._complete:
            in_flight.prepare("finish", self._finish())

    async def _cut(self) -> None:
        """Cut further chunks and write them down before any is used."""
        # To begin with only what can be handed out: workers wait for it.
        limit = self._workers.size + 1 if self._last_cut is None else CUT_AHEAD
        chunks = await self._call(self._transfer.cut, self._job.plan, self._last_cut, limit)
        if chunks:
            await self._store.add_chunks(self._job.id, chunks)
            self._last_cut = chunks[-1]
            self._waiting.extend(chunks)
        self._all_cut = len(chunks) < limit

    async def _wait(self, changed: asyncio.Event) -> None:
        """Until something is done, the job changed, its workers are to be killed, or the target is to be tried."""
        await self._in_flight.land(changed, self._seconds_to_act())
        if self._deadline.seconds_left() == 0 and (names := self._in_flight.names):
            await self._note(*self._deadline.killing(names))
            self._in_flight.give_up()
            self._deadline.used_up()

    def _seconds_to_act(self) -> float | None:
        times = [self._deadline.seconds_left()]
        if self._outage is not None and self._error is None:
            times.append(
                (self._outage.seconds_left() or None) if self._in_flight.tasks else self._outage.seconds_to_try()
            )
        return min((seconds for seconds in times if seconds is not None), default=None)

    async def _heed_deadline(self) -> None:
        """Show by when what is in flight must end, where it must."""
        stop = self._why_stop()
        if self._deadline.set(stop) and self._outage is None and (names := self._in_flight.names):
            await self._note(*self._deadline.notice(names))
        if self._outage is not None and (self._job.state is not State.RUNNING or self._error is not None):
            self._in_flight.give_up()  # Nobody waits for a target that is away.

    def _why_stop(self) -> Stop | None:
        if self._job.state is State.CANCELING:
            return Stop.CANCEL
        if self._error is not None or (self._outage is not None and not self._outage.seconds_left()):
            return Stop.ERROR
        return Stop.PAUSE if self._job.state is State.PAUSING else None

    async def _collect(self) -> None:
        """Take over what is done: errors, and the counts of committed chunks."""
        ended = self._in_flight.ended()
        committed = []
        extent = 0
        for task, chunk in ended:
            if chunk is None:
                continue
            if task.cancelled() or task.exception() is not None:
                self._tally.doubt(chunk)
                self._waiting.appendleft(chunk)
            else:
                self._tally.add(chunk, task.result())
                extent += chunk.end - chunk.start
                committed.append(CommittedChunk(ordinal=chunk.ordinal, counts=task.result()))
        if committed:
            before = self._job
            self._job = await self._store.commit_chunks(self._job.id, committed, self._tally.progress())
            if self._observe is not None:
                self._observe(before, self._job, extent)
            self._watch.progressed(self._job)
        for task, _ in ended:
            await self._heed_outcome(task)
        if ended and not self._in_flight.tasks and self._outage is not None and not self._outage.seconds_left():
            self._fail(self._outage.error)

    async def _heed_outcome(self, task: asyncio.Task[Any]) -> None:
        """What the end of a call means to the job. An error that is none of the domain is raised: the store is
        broken."""
        outage = self._outage
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, LadingError):
            raise error
        busy = isinstance(error, TargetBusy)
        if isinstance(error, TargetUnavailable) and (self._timeouts.target or busy):
            if outage is None or (outage.trying and outage.busy != busy):
                self._outage = outage = Outage(error, timeout=self._timeouts.target)
                await self._note(*outage.loss())
            elif outage.trying:  # Else it was begun before, and says nothing new.
                outage.failed(error)
                if not busy:
                    await self._note(*outage.loss())
        elif error is not None:
            if isinstance(error, DiskFull):
                await self._disk_space.full(self._job, error)
            else:
                self._fail(error)
            if outage is not None and outage.trying:
                self._outage = None  # It was another error: the ledger may answer.
        elif outage is not None and outage.trying:
            if task.cancelled():
                outage.broken_off()
            else:
                self._outage = None
                await self._note(*outage.end())

    # The end

    async def _finish(self) -> None:
        """All chunks are committed: check the bill and put the result in its place."""
        job = self._job
        chunks = [kept.chunk for kept in await self._store.chunks(job.id)]
        counts = self._tally.bill(chunks)
        await self._call(self._transfer.finish, job.uid, job.plan, chunks)
        await self._reckon(total=counts.read)
        parts = {
            "inserted": counts.inserted,
            "rejected": counts.rejected,
            "empty": counts.empty,
            "warning" if counts.warnings == 1 else "warnings": counts.warnings,
        }
        said = ", ".join(f"{number:,} {what}" for what, number in parts.items() if number)
        records = f"{counts.read:,} record{'' if counts.read == 1 else 's'}"
        await self._note(Level.INFO, "BILL", f"{records} read: {said or 'nothing to do'}")
        if counts.all_rejected:
            which = "the only record was" if counts.rejected == 1 else f"all {counts.rejected:,} records were"
            raise AllRejected(f"{which} rejected; nothing was loaded")
        self._complete = True

    async def _reckon(self, total: int | None = None) -> None:
        """Make the job's counts agree with the ledger, asking it where a chunk was given up."""
        if not self._begun:
            # Nothing of this attempt was handed out: what the store knows still holds.
            if self._in_flight.abandoned:
                await self._clear_away()
            return
        if self._tally.uncertain or self._in_flight.abandoned:
            try:
                await self._ask_ledger()
            except ShuttingDown:
                return  # Left unsettled: the next start of the daemon asks the ledger.
            except LadingError as error:
                await self._note(*unreadable(error))
        before = self._job
        self._job = await self._store.settle(
            self._job.id,
            self._tally.committed,
            uid=self._job.uid,
            attempt=self._job.attempt,
            total=total,
            progress=self._tally.progress(at_rest=True),
            settled=False,
        )
        if self._observe is not None:
            self._observe(before, self._job, 0)

    async def _clear_away(self) -> None:
        """Have nothing of a beginning that was given up go on in the target."""
        try:
            await self._committed()
        except ShuttingDown:
            return  # The next start of the daemon does it.
        except LadingError as error:
            await self._note(*unreadable(error))

    async def _ask_ledger(self) -> None:
        """Learn what is committed. Raises TargetUnavailable also where the answer takes too long: the job is to come
        to rest."""
        committed, final = await self._committed()
        check_ledger(await self._store.chunks(self._job.id), committed)
        self._tally.take_ledger(committed, final=final)

    async def _committed(self) -> tuple[tuple[CommittedChunk, ...], bool]:
        """What the ledger has, with everything ended that was given up; whether this attempt is shut out by that."""
        if self._outage is not None and not self._outage.busy:
            raise self._outage.error
        job = self._job
        # A pause can still be called off, and then this attempt goes on.
        final = job.state is not State.PAUSING or self._error is not None
        attempt = job.attempt + 1 if final else job.attempt
        timeout = RECKONING if self._outage is None else BUSY_RECKONING
        try:
            async with asyncio.timeout(timeout):
                committed = await self._call(self._transfer.committed, job.uid, attempt, job.plan)
        except TimeoutError:
            raise TargetUnavailable(f"no answer within {timeout:g} s") from None
        self._in_flight.abandoned = False
        return committed, final

    async def _rest(self, event: Event) -> bool:
        """Move the job by this event, where it still can; whether it rests now."""
        if event is not Event.ERROR and self._error is not None:
            await self._note(Level.ERROR, self._error.code, self._error.message)
        if event is Event.QUIESCENT and self._complete:
            await self._note(Level.INFO, "ALL_DONE", "everything was done before this took effect")
        failure = None
        if event is Event.ERROR and self._error is not None:
            failure = Failure(code=self._error.code, message=self._error.message)
        elif event is Event.SHUTDOWN:
            failure = STOPPED
        settled = self._begun and not self._tally.uncertain and not self._in_flight.abandoned
        moved = await self._store.move(self._job.id, event, failure=failure, settled=settled)
        self._job = moved or await self._store.get(self._job.id)
        self._notifier.notify(self._job.id)
        return self._job.state not in ACTIVE

    # Around it

    async def _process(self, job: Job, chunk: Chunk) -> Counts:
        """Have a chunk processed, and show how far it is."""

        def hear(report: Report) -> None:
            self._tally.hear(chunk, report)
            self._watch.progressed(replace(self._job, progress=self._tally.progress()))

        with self._foreseen():
            return await self._workers.follow(hear, self._transfer.process, job.uid, job.attempt, job.plan, chunk)

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a worker."""
        with self._foreseen():
            return await self._workers.call(function, *args, **kwargs)

    @contextmanager
    def _foreseen(self) -> Iterator[None]:
        """What nobody foresaw leaves as LadingError."""
        try:
            yield
        except LadingError:
            raise
        except Exception as error:
            raise internal_error(self._job.id, error) from error

    def _fail(self, error: LadingError) -> None:
        """Remember what stops the job; of several errors the first."""
        if isinstance(error, ShuttingDown):
            self._shut_down = True
            return
        if isinstance(error, InvalidSpec):
            error = SpecOutdated(f"{error.field}: {error.problem}")
        self._error = self._error or error

    async def _note(self, level: Level, code: str, message: str) -> None:
        await self._store.write_journal(self._job.id, level, code, message)
        self._notifier.notify(self._job.id)
