"""The pool of processes, and calls whose worker dies."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.core.errors import InvalidSpec, ShuttingDown, WorkerLost
from ladingd.core.origin import Origin, current, working_for
from ladingd.core.report import Report, report
from ladingd.run.workers.forkserver import FORKSERVER
from ladingd.run.workers.pool import Workers
from ladingd.run.workers.worker import Unreadable, Worker
from tests.harness.daemon import lives
from tests.harness.waiting import until, until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    workers = Workers(2)
    yield workers
    await workers.close()


def refuse() -> None:
    raise InvalidSpec("target.table", "is no table")


def die(path: str, times: int) -> str:
    """Die in the first ``times`` calls, then return the number of calls."""
    with open(path, "a") as file:
        file.write("x")
    calls = os.path.getsize(path)
    if calls <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"call {calls}"


def linger(path: str, seconds: float = 60.0) -> None:
    """Write the number of this process, then sleep until the file is removed."""
    written = Path(path).with_suffix(".new")
    written.write_text(str(os.getpid()))
    written.rename(path)
    deadline = time.monotonic() + seconds
    while Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.01)


async def test_errors_of_the_domain_arrive_whole(workers: Workers) -> None:
    with pytest.raises(InvalidSpec) as caught:
        await workers.call(refuse)
    assert (caught.value.field, caught.value.problem) == ("target.table", "is no table")


def count_to(number: int, path: str) -> int:
    """Report until the test has recorded a report."""
    for done in range(1, number + 1):
        report(done, number)
        if Path(path).exists():
            break
        time.sleep(0.01)
    return number


async def test_a_call_is_heard_while_it_runs(workers: Workers, tmp_path: Path) -> None:
    heard: list[Report] = []
    mark = tmp_path / "heard"

    def hear(said: Report) -> None:
        heard.append(said)
        if len(heard) == 2:
            mark.touch()

    async with asyncio.timeout(30):
        assert await workers.follow(hear, count_to, 3000, str(mark)) == 3000
    assert len(heard) >= 2
    assert heard[0] == Report(share=1 / 3000, records=1)
    assert heard[1].records > 10, "a few times a second"
    async with asyncio.timeout(30):
        assert await workers.call(count_to, 3, str(mark)) == 3, "nobody listens, nobody minds"


async def test_a_call_whose_worker_dies_is_made_again(workers: Workers, tmp_path: Path) -> None:
    assert await workers.call(die, str(tmp_path / "calls"), 2) == "call 3"


async def test_a_call_that_kills_every_worker_is_given_up(workers: Workers, tmp_path: Path) -> None:
    with pytest.raises(WorkerLost, match="3 times"):
        await workers.call(die, str(tmp_path / "calls"), 99)


async def test_a_cancelled_call_kills_its_worker_and_no_other(workers: Workers, tmp_path: Path) -> None:
    await workers.warm()
    mark = tmp_path / "mark"
    call = asyncio.create_task(workers.call(linger, str(mark)))
    await asyncio.to_thread(until, mark.exists, "the call is under way")
    process = Path("/proc") / mark.read_text()
    assert process.exists()
    neighbour = asyncio.create_task(workers.call(die, str(tmp_path / "calls"), 0))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not process.exists()
    assert await neighbour == "call 1"


async def test_a_process_is_gone_though_its_answer_was_faster_than_the_cancellation(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, parent = await workers.call(os.getpid), await workers.call(os.getppid)
    answered = threading.Event()
    ask = Worker.ask

    def asked(worker: Worker, task: bytes, hear: Callable[[Report], object]) -> tuple[bool, Any]:
        answer = ask(worker, task, hear)
        answered.set()
        return answer

    monkeypatch.setattr(Worker, "ask", asked)
    call = asyncio.create_task(workers.call(os.getpid))
    await asyncio.sleep(0)
    assert answered.wait(20)  # The loop has not seen the answer yet.
    call.cancel()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not lives(worker)
    FORKSERVER.end()
    assert not lives(parent), "it has no child any more"


async def test_close_leaves_no_call_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[object] = []

    def start(process: object) -> None:
        tries.append(process)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    workers = Workers(2)
    mark = tmp_path / "mark"
    try:
        working = asyncio.create_task(workers.call(linger, str(mark)))
        await asyncio.to_thread(until, mark.exists, "a process works")
        monkeypatch.setattr(FORKSERVER, "start", start)
        pausing = asyncio.create_task(workers.call(os.getpid))
        await asyncio.to_thread(until, lambda: tries, "the start of another one fails")
        waiting = asyncio.create_task(workers.call(os.getpid))
        await asyncio.sleep(0)
    finally:
        await workers.close()
    assert [type(call.exception()) for call in (working, pausing, waiting)] == [ShuttingDown] * 3
    assert (workers.idle, workers.busy) == (0, 0)


async def test_an_idle_worker_that_is_killed_is_replaced(workers: Workers, tmp_path: Path) -> None:
    for number in range(1, 4):
        pid = await workers.call(os.getpid)
        os.kill(pid, signal.SIGKILL)
        assert await workers.call(die, str(tmp_path / "calls"), 0) == f"call {number}"


async def test_workers_that_died_idle_are_not_held_against_a_call(tmp_path: Path) -> None:
    workers = Workers(4)
    try:
        calls = [asyncio.create_task(workers.call(linger, str(tmp_path / str(number)), 0.0)) for number in range(4)]
        await asyncio.gather(*calls)
        pids = {int((tmp_path / str(number)).read_text()) for number in range(4)}
        assert len(pids) == 4
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        gone = [Path(f"/proc/{pid}") for pid in pids]
        await asyncio.to_thread(until, lambda: not any(path.exists() for path in gone), "the processes are gone")
        assert await workers.call(die, str(tmp_path / "calls"), 2) == "call 3"
    finally:
        await workers.close()


async def test_a_forkserver_that_is_killed_is_replaced(workers: Workers) -> None:
    first = await workers.call(os.getppid)
    worker = await workers.call(os.getpid)
    os.kill(first, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    assert await workers.call(os.getppid) != first


async def test_a_worker_can_be_killed_though_its_forkserver_has_died(workers: Workers, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    call = asyncio.create_task(workers.call(linger, str(mark)))
    await asyncio.to_thread(until, mark.exists, "the call is under way")
    lingering = Path("/proc") / mark.read_text()
    os.kill(await workers.call(os.getppid), signal.SIGKILL)
    other = await workers.call(os.getpid)
    os.kill(other, signal.SIGKILL)
    await workers.call(os.getpid)  # by a new forkserver, which makes the pool check all processes
    assert lingering.exists()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(call, 10)
    await asyncio.to_thread(until, lambda: not lives(int(lingering.name)), "the process has ended")


def answer_unreadably() -> object:
    return Unpicklable()


class Unpicklable:
    def __reduce__(self) -> tuple[object, ...]:
        return int, ("no number",)


def give_up() -> None:
    raise SystemExit("as some libraries do")


async def test_an_answer_that_cannot_be_read_is_a_defect_of_that_call_alone(workers: Workers) -> None:
    with pytest.raises(Unreadable, match="no number"):
        await workers.call(answer_unreadably)
    with pytest.raises(RuntimeError, match="as some libraries do"):
        await workers.call(give_up)
    assert await workers.call(os.getpid)


async def test_after_close_nothing_is_called(workers: Workers) -> None:
    await workers.warm()
    await workers.close()
    with pytest.raises(ShuttingDown):
        await workers.call(refuse)


def origin_and_level() -> tuple[Origin, int]:
    return current(), _levels[-1] if _levels else 0


_levels: list[int] = []
"""The arguments of this process's preparation."""


def note_level(level: int) -> None:
    _levels.append(level)


async def test_a_call_works_for_the_same_in_its_process_and_a_change_of_the_level_gets_there() -> None:
    workers = Workers(1, prepare=note_level)
    root = logging.getLogger()
    level = root.level
    try:
        origin = Origin(call="c", job="j", attempt=2, chunk=0)
        with working_for(origin):
            first = asyncio.create_task(workers.call(origin_and_level))
        root.setLevel(logging.ERROR)
        answers = [await first, await workers.call(origin_and_level)]
        root.setLevel(logging.INFO)
        answers.append(await workers.call(origin_and_level))
    finally:
        root.setLevel(level)
        await workers.close()
    assert answers == [(origin, logging.ERROR), (Origin(), logging.ERROR), (Origin(), logging.INFO)]


async def test_answers_and_deaths_are_counted(tmp_path: Path) -> None:
    seen: list[str] = []
    workers = Workers(1, observers=[lambda function, seconds: seen.append(function)])
    try:
        await workers.call(die, str(tmp_path / "calls"), 1)
        assert (workers.busy, workers.idle, workers.deaths, seen) == (0, 1, 1, ["die"])
    finally:
        await workers.close()


async def test_the_next_pool_starts_its_processes_meanwhile() -> None:
    workers = Workers(2)
    planners = Workers(1, successor=workers)

    async def two_idle() -> bool:
        return workers.idle == 2

    try:
        for _ in range(2):
            await planners.call(os.getpid)
            await until_async(two_idle, "the workers are there")
            await planners.call(os.getpid)
            assert await planners.rest(0.0)
            assert await workers.rest(0.0)
        await planners.call(os.getpid)
    finally:
        await planners.close()
        await workers.close()
    assert (workers.idle, workers.busy) == (0, 0)


async def test_idle_processes_end_and_come_back(workers: Workers) -> None:
    pid = await workers.call(os.getpid)
    assert not await workers.rest(60.0)
    assert lives(pid)
    assert await workers.rest(0.0)
    assert not lives(pid)
    assert await workers.call(os.getpid) != pid


async def test_an_idle_process_stays_while_another_one_works(workers: Workers, tmp_path: Path) -> None:
    """It may hold the snapshot that other workers read."""
    pids = {await workers.call(os.getpid)}
    mark = tmp_path / "pid"
    first = asyncio.create_task(workers.call(linger, str(mark)))
    await asyncio.to_thread(until, mark.exists, "a process works")
    pids.add(await workers.call(os.getpid))
    assert not await workers.rest(0.0)
    assert workers.idle == 1
    mark.unlink()
    await first
    assert all(lives(pid) for pid in pids)
    assert await workers.rest(0.0)


async def test_what_they_are_forked_from_ends_with_the_last_of_them(workers: Workers) -> None:
    worker, parent = await asyncio.gather(workers.call(os.getpid), workers.call(os.getppid))
    FORKSERVER.end()
    assert lives(parent), "it has children"
    await workers.rest(0.0)
    FORKSERVER.end()
    assert not lives(parent)
    assert await workers.call(os.getppid) not in (worker, parent)


async def test_a_call_that_waits_is_not_begun_any_more(tmp_path: Path) -> None:
    workers = Workers(1)
    try:
        mark = tmp_path / "pid"
        first = asyncio.create_task(workers.call(linger, str(mark)))
        await asyncio.to_thread(until, mark.exists, "the first call runs")
        second = asyncio.create_task(workers.call(os.getpid))
        await asyncio.sleep(0)
        workers.drain()
        mark.unlink()
        await first
        with pytest.raises(ShuttingDown):
            await second
    finally:
        await workers.close()


async def test_a_call_can_be_cancelled_though_the_forkserver_does_not_answer(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ladingd.run.workers.forkserver.UNWANTED_SECONDS", 0.2)
    stopped = await workers.call(os.getppid)
    await workers.rest(0.0)
    os.kill(stopped, signal.SIGSTOP)
    call = asyncio.create_task(workers.call(os.getppid))
    await asyncio.to_thread(until, lambda: FORKSERVER._starting is not None, "a process is being started")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(call, 10)
    assert await workers.call(os.getppid) != stopped


async def test_a_forkserver_that_takes_too_long_is_replaced(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = await workers.call(os.getppid)
    await workers.rest(0.0)
    os.kill(stopped, signal.SIGSTOP)
    monkeypatch.setattr("ladingd.run.workers.forkserver.START_SECONDS", 0.2)
    call = asyncio.create_task(workers.call(os.getppid))
    await asyncio.to_thread(until, lambda: not lives(stopped), "it is killed")
    monkeypatch.undo()
    assert await asyncio.wait_for(call, 30) != stopped


async def test_workers_end_though_the_forkserver_does_not_answer(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ladingd.run.workers.forkserver.UNWANTED_SECONDS", 0.2)
    stopped = await workers.call(os.getppid)
    mark = tmp_path / "mark"
    call = asyncio.create_task(workers.call(linger, str(mark)))
    await asyncio.to_thread(until, mark.exists, "the call is under way")
    os.kill(stopped, signal.SIGSTOP)
    await asyncio.wait_for(workers.close(), 10)
    with pytest.raises(ShuttingDown):
        await call
    assert not lives(int(mark.read_text()))


def run_out_of_memory(path: str, times: int) -> str:
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) <= times:
        raise MemoryError
    return "enough"


async def test_a_call_that_runs_out_of_memory_is_made_again_by_another_process(
    workers: Workers, tmp_path: Path
) -> None:
    pid = await workers.call(os.getpid)
    assert await workers.call(run_out_of_memory, str(tmp_path / "a"), 1) == "enough"
    assert not lives(pid)
    with pytest.raises(WorkerLost, match="ran out of memory 3 times on the same work; raise its limit"):
        await workers.call(run_out_of_memory, str(tmp_path / "b"), 99)


def never_get_ready(_pipe: object, _prepare: object) -> None:
    time.sleep(60)


async def test_a_process_that_does_not_get_ready_is_given_up(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ladingd.run.workers.pool.PAUSE", 0.0)
    monkeypatch.setattr("ladingd.run.workers.worker.READY_SECONDS", 0.1)
    monkeypatch.setattr("ladingd.run.workers.worker.serve", never_get_ready)
    with pytest.raises(WorkerLost, match="no worker process can be started: it was not ready within"):
        await workers.call(os.getpid)
    assert (workers.busy, workers.idle) == (0, 0)
    monkeypatch.undo()
    assert await workers.call(os.getpid)


async def test_no_worker_loads_another_program_than_the_daemon(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ladingd.run.workers.pool.PAUSE", 0.0)
    pid = await workers.call(os.getpid)
    newer = tmp_path / "lading-99.0.dist-info"
    newer.mkdir()
    (newer / "METADATA").write_text("Metadata-Version: 2.1\nName: lading\nVersion: 99.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert await workers.call(os.getpid) == pid, "those that are there go on"
    await workers.rest(0.0)
    with pytest.raises(WorkerLost, match="another version of Lading was installed"):
        await workers.call(os.getpid)
    monkeypatch.undo()
    assert await workers.call(os.getpid) != pid


async def test_why_no_process_can_be_started_is_said(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_process: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("ladingd.run.workers.pool.PAUSE", 0.0)
    monkeypatch.setattr(FORKSERVER, "start", start)
    with pytest.raises(WorkerLost, match="no worker process can be started: Too many open files; allow more"):
        await workers.call(os.getpid)
