"""One attempt of one job: from the free slot until nothing of it runs any more."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ladingd.core.bill import Counts
from ladingd.core.errors import BillImbalance, InvalidSpec, LadingError, PlanOutdated, ShuttingDown, SpecOutdated
from ladingd.core.job import Failure, Level
from ladingd.core.plan import Chunk, CommittedChunk
from ladingd.core.state import ACTIVE, Event, State
from ladingd.run.gauge import Gauge
from ladingd.run.recovery import STOPPED, check_ledger, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ladingd.core.job import Job
    from ladingd.core.ports import JobStore, Transfer
    from ladingd.run.announcer import Announcer
    from ladingd.run.watch import Watch
    from ladingd.run.workers import Workers

P = ParamSpec("P")
T = TypeVar("T")

CUT_AHEAD = 16
"""Chunks that are cut at a time."""

log = logging.getLogger(__name__)


class Execution:
    """Hands out the chunks of one job and acts on what people want of it meanwhile.

    It is told of commands through the announcer and finds the intent in the job's state: RUNNING hands out, any other
    state waits for what is in flight. ``cancel_grace`` is how many seconds that may take after a cancel before the
    worker processes are killed.
    """

    def __init__(
        self,
        job: Job,
        *,
        store: JobStore,
        transfer: Transfer,
        workers: Workers,
        announcer: Announcer,
        watch: Watch,
        cancel_grace: float,
    ) -> None:
        self._job = job
        self._store = store
        self._transfer = transfer
        self._workers = workers
        self._announcer = announcer
        self._watch = watch
        self._cancel_grace = cancel_grace
        self._gauge = Gauge(job.plan.end - job.plan.start, time.monotonic)
        self._error: LadingError | None = None
        self._waiting: deque[Chunk] = deque()
        self._last_cut: Chunk | None = None
        self._all_cut = False
        self._preparing: asyncio.Task[None] | None = None
        """The attempt's beginning, each cutting of further chunks, its finish: one at a time."""
        self._begun = False
        self._complete = False
        self._in_flight: dict[asyncio.Task[Counts], Chunk] = {}
        self._committed: dict[int, Counts] = {}
        self._shut_down = False
        """The workers are gone because the daemon ends."""
        self._uncertain = False
        """A chunk was given up while it was worked on: only the ledger knows what became of it."""
        self._kill_due: float | None = None

    async def run(self) -> None:
        """Run until the job rests. What goes wrong with its records ends in its state and journal, not in an
        exception; what goes wrong with the store is raised."""
        self._preparing = asyncio.create_task(self._begin(), name=f"{self._job.id} begin")
        resting = False
        while not resting:
            event = await self._work()
            if event is not Event.COMPLETE:
                await self._reckon()
            resting = await self._rest(event)

    # The beginning

    async def _begin(self) -> None:
        job = self._job
        kept = await self._store.chunks(job.id)
        if kept:  # Before anything is made in a target that may not be the one of the last attempt.
            check_ledger(kept, await self._call(self._transfer.committed, job.uid, job.attempt, job.plan))
        try:
            committed = await self._call(self._transfer.begin, job.uid, job.attempt, job.plan)
        except PlanOutdated as changed:
            committed = await self._replan(changed)
            kept = ()
        check_ledger(kept, committed)
        self._take_ledger(committed)
        done = 0
        for one in kept:
            self._last_cut = one.chunk
            if one.chunk.ordinal in self._committed:
                done += self._extent(one.chunk)
            else:
                self._waiting.append(one.chunk)
        plan = self._job.plan
        self._gauge = Gauge(plan.end - plan.start, time.monotonic)
        self._gauge.restart(done)
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
            changed = self._announcer.listen(self._job.id)
            self._job = await self._store.get(self._job.id)
            if self._job.state is State.RUNNING and self._error is None and self._begun and not self._shut_down:
                self._hand_out()
            if not self._in_flight and self._preparing is None:
                if self._shut_down:
                    return Event.SHUTDOWN
                if self._error is not None and self._job.state is not State.CANCELING:
                    return Event.ERROR
                if self._job.state is not State.RUNNING:
                    return Event.QUIESCENT
                if self._complete:
                    return Event.COMPLETE
            await self._wait(changed)
            await self._collect()

    def _hand_out(self) -> None:
        # One more than there are workers: the next chunk lies ready when a worker becomes free.
        while self._waiting and len(self._in_flight) <= self._workers.size:
            chunk = self._waiting.popleft()
            call = self._call(self._transfer.process, self._job.uid, self._job.attempt, self._job.plan, chunk)
            self._in_flight[asyncio.create_task(call, name=f"{self._job.id} chunk {chunk.ordinal}")] = chunk
        if self._preparing is not None:
            return
        if not self._all_cut and len(self._waiting) <= self._workers.size:
            self._preparing = asyncio.create_task(self._cut(), name=f"{self._job.id} cut")
        elif self._all_cut and not self._in_flight and not self._complete:
            self._preparing = asyncio.create_task(self._finish(), name=f"{self._job.id} finish")

    async def _cut(self) -> None:
        """Cut further chunks and write them down before any is used."""
        chunks = await self._call(self._transfer.cut, self._job.plan, self._last_cut, CUT_AHEAD)
        if chunks:
            await self._store.add_chunks(self._job.id, chunks)
            self._last_cut = chunks[-1]
            self._waiting.extend(chunks)
        self._all_cut = len(chunks) < CUT_AHEAD

    async def _wait(self, changed: asyncio.Event) -> None:
        """Until something is done, the job changed, or its workers are to be killed."""
        bell = asyncio.create_task(changed.wait(), name=f"{self._job.id} bell")
        tasks: set[asyncio.Task[Any]] = {bell, *self._in_flight}
        if self._preparing is not None:
            tasks.add(self._preparing)
        try:
            await asyncio.wait(tasks, timeout=self._seconds_to_kill(), return_when=asyncio.FIRST_COMPLETED)
        finally:
            bell.cancel()
        if self._kill_due is not None and time.monotonic() >= self._kill_due:
            await self._kill()

    def _seconds_to_kill(self) -> float | None:
        hurry = self._job.state is State.CANCELING or self._error is not None
        if hurry and self._kill_due is None:
            self._kill_due = time.monotonic() + self._cancel_grace
        return None if self._kill_due is None else max(self._kill_due - time.monotonic(), 0.0)

    async def _kill(self) -> None:
        self._kill_due = None
        chunks = ", ".join(str(chunk.ordinal) for chunk in self._in_flight.values()) or "none"
        message = f"not at rest within {self._cancel_grace:g} s: its workers are killed; chunks in flight: {chunks}"
        await self._note(Level.WARNING, "WORKERS_KILLED", message)
        self._uncertain = self._uncertain or bool(self._in_flight)
        for task in [*self._in_flight, *([self._preparing] if self._preparing else [])]:
            task.cancel()

    async def _collect(self) -> None:
        """Take over what is done: errors, and the counts of committed chunks."""
        if self._preparing is not None and self._preparing.done():
            preparing, self._preparing = self._preparing, None
            if not preparing.cancelled():
                self._take_error(preparing)
        done = [task for task in self._in_flight if task.done()]
        if not done:
            return
        committed = []
        for task in done:
            chunk = self._in_flight.pop(task)
            if task.cancelled():
                continue
            if self._take_error(task):
                self._uncertain = True
                continue
            counts = task.result()
            self._committed[chunk.ordinal] = counts
            self._gauge.add(self._extent(chunk), counts.read)
            committed.append(CommittedChunk(ordinal=chunk.ordinal, counts=counts))
        if committed:
            self._job = await self._store.commit_chunks(self._job.id, committed, self._gauge.progress())
            self._watch.progressed(self._job)

    def _take_error(self, task: asyncio.Task[Any]) -> bool:
        """Whether the task ended by an error of the domain. Any other is raised: the store is broken."""
        error = task.exception()
        if error is None:
            return False
        if not isinstance(error, LadingError):
            raise error
        self._fail(error)
        return True

    # The end

    async def _finish(self) -> None:
        """All chunks are committed: check the bill and put the result in its place."""
        job = self._job
        chunks = [kept.chunk for kept in await self._store.chunks(job.id)]
        counts = sum(self._committed.values(), Counts())
        # How many records a chunk of a table holds is known only when it has been read.
        expected = sum(
            self._committed[chunk.ordinal].read if chunk.records is None else chunk.records for chunk in chunks
        )
        if not counts.balances or counts.read != expected:
            raise BillImbalance(
                f"the bill does not balance: {expected} records in the source, {counts.read} read,"
                f" {counts.accounted} accounted for"
            )
        await self._call(self._transfer.finish, job.uid, job.plan, chunks)
        await self._reckon(total=counts.read)
        parts = {"inserted": counts.inserted, "rejected": counts.rejected, "empty": counts.empty}
        said = ", ".join(f"{number:,} {what}" for what, number in parts.items() if number)
        await self._note(Level.INFO, "BILL", f"{counts.read:,} records read: {said or 'nothing to do'}")
        self._complete = True

    async def _reckon(self, total: int | None = None) -> None:
        """Make the job's counts agree with the ledger, asking it where a chunk was given up."""
        if not self._begun:
            return  # Nothing of this attempt was handed out: what the store knows still holds.
        if self._uncertain:
            job = self._job
            try:
                committed = await self._call(self._transfer.committed, job.uid, job.attempt + 1, job.plan)
                check_ledger(await self._store.chunks(job.id), committed)
                self._take_ledger(committed)
            except ShuttingDown:
                return  # Left unsettled: the next start of the daemon asks the ledger.
            except LadingError as error:
                await self._note(*unreadable(error))
                return
        self._job = await self._store.settle(
            self._job.id,
            [CommittedChunk(ordinal=ordinal, counts=counts) for ordinal, counts in self._committed.items()],
            attempt=self._job.attempt,
            total=total,
            progress=self._gauge.rest(),
            settled=False,
        )

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
        settled = self._begun and not self._uncertain
        moved = await self._store.move(self._job.id, event, failure=failure, settled=settled)
        self._job = moved or await self._store.get(self._job.id)
        self._announcer.announce(self._job.id)
        return self._job.state not in ACTIVE

    def _take_ledger(self, committed: Sequence[CommittedChunk]) -> None:
        self._committed = {chunk.ordinal: chunk.counts for chunk in committed}
        self._uncertain = False

    def _extent(self, chunk: Chunk) -> int:
        """How many of the plan's units a chunk takes; the outer chunks of a table are open to one side."""
        plan = self._job.plan
        return max(min(chunk.end, plan.end) - max(chunk.start, plan.start), 0)

    # Around it

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a worker. What nobody foresaw goes to the log whole and gets an id: its text may hold secrets."""
        try:
            return await self._workers.call(function, *args, **kwargs)
        except LadingError:
            raise
        except Exception as defect:
            error_id = secrets.token_hex(4)
            log.exception("jobs/%s failed by a defect, id %s", self._job.id, error_id)
            raise LadingError(f"internal error, id {error_id}: the daemon's log says more") from defect

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
        self._announcer.announce(self._job.id)
