"""A daemon and its database, and the methods that restart whatever has ended."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lading_client.client import Client
from lading_client.errors import CommandNotAllowed, DeadlineExceeded, Unavailable
from lading_client.model import AT_REST, Failure, State
from lading_client.spec import ExportSpec, File, FixedWidthFormat, ImportSpec, JobSpec, Table
from tests.chaos.changes import Change
from tests.chaos.failpoint import VARIABLE, Action, Failpoints
from tests.chaos.forms import Form
from tests.chaos.outcome import Outcome
from tests.chaos.records import CHUNK_RECORDS
from tests.harness.daemon import DaemonProcess, descendants
from tests.harness.waiting import PATIENCE, until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Awaitable, Callable, Mapping, Set

    from lading_client.model import Job
    from tests.chaos.database import Database

T = TypeVar("T")

PLAIN = Form()
"""A CSV file that is not compressed."""

OUTAGE = frozenset({"TARGET_UNAVAILABLE", "WORKER_LOST"})
"""The allowed failure codes when processes are killed: ``start`` is enough to continue."""

_PATH = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
"""The path by which the daemon finds this package from any directory."""
_LIVES = 10
"""How often a daemon may die during its start before the trial fails."""
_ANSWER_SECONDS = 3.0
"""A daemon without an answer for this long counts as hung."""
_FINISH_SECONDS = 45.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One job, its file and its table."""

    name: str
    table: str
    lines: Sequence[str]
    """The lines of the file, if an outcome needs them."""
    merges: bool
    """Whether its records are staged and merged."""
    failures: list[Failure] = field(default_factory=list)
    """The failures after which it was started again."""


def _processed(job: Job) -> float:
    """How many records are processed. One that is staged for a merge counts half."""
    return job.bill.read - job.bill.pending / 2


def _file(path: Path) -> File:
    return File(path=str(path).lstrip("/"))


class Trial:
    """A daemon in its own folder, with the connection ``target``. ``failpoints`` can strike it."""

    def __init__(
        self,
        folder: Path,
        database: Database,
        *,
        failpoints: bool = False,
        connections: Mapping[str, str] | None = None,
        workers: int = 3,
    ) -> None:
        armed = folder / "armed"
        armed.mkdir()
        self.database = database
        self.failpoints = Failpoints(directory=armed)
        self.daemon = DaemonProcess(
            folder,
            connections={"target": database.url, **(connections or {})},
            module="tests.chaos.daemon" if failpoints else "ladingd",
            hooks=True,
            environment={VARIABLE: str(armed), "PYTHONPATH": _PATH},
            workers=workers,
        )
        self.endings: list[int] = []
        """The exit statuses of daemons that ended by themselves or were struck."""
        self._folder = folder
        self._runs = 0
        self._undisturbed: dict[tuple[int, Form], Outcome] = {}
        self._tables: dict[tuple[int, Form], str] = {}

    # The daemon

    def revive(self) -> None:
        """Make sure that the daemon serves. Restart it if it dies during its start."""
        for _ in range(_LIVES):
            if self._serves():
                return
        raise AssertionError(f"the daemon does not live:\n{self.daemon.log.read_text()}")

    def _serves(self) -> bool:
        daemon = self.daemon
        if daemon.process is None:
            daemon.process = daemon.spawn()
        until(lambda: self._ended() or daemon.accepts(), "the daemon serves, or has ended")
        if self._ended():
            self.endings.append(daemon.wait())
            return False
        return True

    def _ended(self) -> bool:
        process = self.daemon.process
        if process is None or process.poll() is not None:
            return True
        self._kill_hung(process)
        return False

    def _kill_hung(self, daemon: subprocess.Popen[bytes]) -> None:
        """Kill a hung process, as an operator would."""
        hung = {strike.pid for strike in self.failpoints.strikes() if strike.action is Action.HANG}
        if daemon.pid in hung:
            daemon.kill()
        for pid in hung.intersection(descendants(daemon.pid)) if hung else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_daemon(self) -> None:
        """Kill the daemon. Its workers must notice it themselves."""
        process = self.daemon.process
        assert process is not None
        process.kill()
        self.daemon.wait()

    def clean_up(self) -> None:
        """End the daemon and its workers if they run."""
        if self.daemon.process is not None:
            self.daemon.kill()

    # Jobs

    async def ask(self, call: Callable[[Client], Awaitable[T]]) -> T:
        """Make a call. Repeat it if the daemon dies meanwhile."""
        async with asyncio.timeout(PATIENCE * 2):
            while True:
                await asyncio.to_thread(self.revive)
                try:
                    async with Client(self.daemon.address, timeout=_ANSWER_SECONDS) as client:
                        return await call(client)
                except (Unavailable, DeadlineExceeded):
                    continue

    async def begin(
        self, chunks: int, *, connection: str = "target", form: Form = PLAIN, table: str = "", **options: Any
    ) -> Run:
        """Start an import of ``chunks`` chunks into a table; empty: one of its own. ``options`` are those of its
        spec."""
        table = table or self._make_table(form.change, chunks)
        kind = ImportSpec(
            files=(_file(form.write(self._folder, chunks)),),
            target=Table(connection=connection, table=table),
            fixed_width=FixedWidthFormat(widths=form.widths),
            chunk_bytes=form.chunk_bytes(chunks),
            **form.change.options,
            **options,
        )
        return await self._begin(kind, table, form.lines(chunks), merges=form.change is not Change.INSERT)

    async def begin_export(self, table: str, form: Form) -> tuple[Run, Path]:
        """Start an export of a table in chunks as small as those of imports. Returns the job and its file."""
        path = self._folder / f"{self._runs}.{form}"
        kind = ExportSpec(
            table=Table(connection="target", table=table),
            file=_file(path),
            file_format=form.file_format,
            fixed_width=FixedWidthFormat(widths=form.widths),
            chunk_keys=CHUNK_RECORDS,
        )
        return await self._begin(kind, table), path

    async def imported(self, path: Path, form: Form) -> list[tuple[Any, ...]]:
        """The rows of a table into which a file was imported."""
        table = self._make_table()
        kind = ImportSpec(
            files=(_file(path),),
            file_format=form.file_format,
            target=Table(connection="target", table=table),
            fixed_width=FixedWidthFormat(widths=form.widths),
        )
        await self.finish(await self._begin(kind, table), forgiven=frozenset())
        return self.database.rows(table)

    def make_marks(self) -> str:
        """Create an empty table of numbers."""
        table = f"marks_{self._runs + 1:06d}"
        self.database.make_marks(table)
        return table

    def _make_table(self, change: Change = Change.INSERT, chunks: int = 0) -> str:
        table = f"table_{self._runs + 1:06d}"
        self.database.make_table(table, change, chunks)
        return table

    async def _begin(
        self, kind: ImportSpec | ExportSpec, table: str, lines: Sequence[str] = (), *, merges: bool = False
    ) -> Run:
        self._runs += 1
        run = Run(name=f"jobs/job-{self._runs}", table=table, lines=lines, merges=merges)
        job_id = run.name.removeprefix("jobs/")
        # A call that is repeated after its deadline is the same request: the job may exist already.
        request_id = str(uuid.uuid4())
        await self.ask(lambda client: client.create_job(JobSpec(kind=kind), job_id=job_id, request_id=request_id))
        await self._start(run)
        return run

    async def _start(self, run: Run) -> None:
        # If the daemon dies before it answers, the call is repeated. The job may even have ended since.
        with suppress(CommandNotAllowed):
            await self.ask(lambda client: client.start_job(run.name))

    async def look(self, run: Run, *, forgiven: Set[str] = OUTAGE) -> Job:
        """The current job. If it is FAILED for an allowed reason, it is started again."""
        job = await self.ask(lambda client: client.get_job(run.name))
        if job.state is State.FAILED:
            assert job.failure is not None
            assert job.failure.code in forgiven, f"{run.name}: {job.failure}\n{self.daemon.log.read_text()}"
            run.failures.append(job.failure)
            await self._start(run)
        else:
            # The daemon has paused the job because of a full disk, and will start it again.
            going_on = (State.FINISHED, State.INTERRUPTED, State.PAUSED)
            assert job.state not in AT_REST or job.state in going_on, job.state
        return job

    async def progress(self, run: Run, records: int) -> Job:
        """Wait until ``records`` more records are processed, or the job is done."""
        before = _processed(await self.look(run))
        return await self.until(run, lambda job: _processed(job) >= before + records)

    async def merging(self, run: Run) -> Job:
        """Wait until all records are staged for the merge, or the job is done."""
        return await self.until(run, lambda job: job.counters.total is not None and job.bill.pending > 0)

    async def finish(self, run: Run, *, forgiven: Set[str] = OUTAGE) -> Outcome:
        """Wait until a job is done. Returns its outcome."""
        job = await self._until(run, forgiven, lambda job: job.state is State.FINISHED)

        bill = job.bill
        assert bill.read == sum(astuple(bill)[1:]), f"the bill does not balance: {bill}"
        assert bill.pending == 0, f"records are left: {bill}"

        async def rejects(client: Client) -> Outcome:
            return Outcome.of(
                table=run.table,
                rows=self.database.rows(run.table),
                rejects=[reject async for reject in client.rejects(run.name)],
                lines=run.lines,
                accounts=(job.bill, job.counters),
            )

        return await self.ask(rejects)

    async def until(self, run: Run, condition: Callable[[Job], bool]) -> Job:
        """Wait until a condition is true, or the job is done."""
        return await self._until(run, OUTAGE, condition)

    async def _until(self, run: Run, forgiven: Set[str], condition: Callable[[Job], bool]) -> Job:
        deadline = time.monotonic() + _FINISH_SECONDS
        while True:
            job = await self.look(run, forgiven=forgiven)
            if job.state is State.FINISHED or condition(job):
                return job
            assert time.monotonic() < deadline, f"it does not go on: {job}\n{await self._report(run)}"
            await asyncio.sleep(0.05)

    async def _report(self, run: Run) -> str:
        """The end of the job's journal and of the daemon's log."""

        async def journal(client: Client) -> list[str]:
            return [f"{entry.time} {entry.code}: {entry.message}" async for entry in client.journal(run.name)]

        return "\n".join([*(await self.ask(journal))[-20:], *self.daemon.log.read_text().splitlines()[-40:]])

    async def undisturbed(self, chunks: int, form: Form = PLAIN) -> Outcome:
        """The outcome of the same job without disturbance. Compression changes nothing."""
        form = replace(form, codec="")
        if (chunks, form) not in self._undisturbed:
            run = await self.begin(chunks, form=form)
            self._undisturbed[chunks, form] = await self.finish(run, forgiven=frozenset())
            self._tables[chunks, form] = run.table
        return self._undisturbed[chunks, form]

    async def undisturbed_table(self, chunks: int) -> str:
        """The table of an import without disturbance."""
        await self.undisturbed(chunks)
        return self._tables[chunks, PLAIN]
