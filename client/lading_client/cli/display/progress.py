"""Progress of running jobs: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from lading_client.cli.display import formatting as figures
from lading_client.cli.display import states
from lading_client.cli.display.output import animated
from lading_client.model import AT_REST, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    from rich.progress import Progress, ProgressColumn, TaskID

    from lading_client.cli.display.output import Output
    from lading_client.model import Job


_BAR_CELLS = 76
"""A narrower terminal has no room for a bar and the numbers of records: they would be cut off."""

_FIRST_LINE = 5.0
"""Seconds before the first line of progress, and the minimum between two lines."""
_MORE_RARELY = 0.1
"""The next line follows after this share of the time so far."""

_UNDER_WAY = frozenset({State.QUEUED, State.RUNNING, State.PAUSING, State.CANCELING})


class Show(Protocol):
    """Shows the progress of a job."""

    def __call__(self, job: Job) -> None:
        """The job as it is now."""


def progress_on(output: Output) -> AbstractContextManager[Show]:
    """The progress of one job on standard error: a live bar on a terminal, or else lines; nothing with JSON output."""
    if output.json:
        return nullcontext(lambda job: None)
    return Bars() if animated(sys.stderr) else nullcontext(Lines(output.note))


def bars_on(output: Output) -> AbstractContextManager[Show] | None:
    """A bar for each active job, below the printed lines; None if there is no terminal."""
    return Bars(named=True) if not output.json and animated(sys.stderr) else None


def line(job: Job) -> str:
    """The job's name and state, and its progress while it runs."""
    begun = job.state is State.RUNNING and (job.progress.percent or job.counters.processed)
    return "  ".join([job.name, states.shown(job), *(figure for figure in _figures(job) if begun and figure)])


class Pace:
    """When progress gets another line: after five seconds, then less and less often. An hour has about fifty lines."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begin = clock()
        self._due = self._begin + _FIRST_LINE

    def due(self) -> bool:
        """Whether it is time for a line. If so, this also schedules the next one."""
        now = self._clock()
        if now < self._due:
            return False
        self._due = now + max(_FIRST_LINE, _MORE_RARELY * (now - self._begin))
        return True


class News:
    """Which events deserve a line: each change of state, and progress now and then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[State, Pace]] = {}

    def holds(self, job: Job) -> bool:
        """Whether the present job deserves a line."""
        return self.changed(job) or (job.state in _UNDER_WAY and self._seen[job.name][1].due())

    def changed(self, job: Job) -> bool:
        """Whether the job's state is new."""
        seen = self._seen.get(job.name)
        if seen is not None and seen[0] is job.state:
            return False
        self._seen[job.name] = (job.state, Pace(self._clock))
        return True


class Lines:
    """A line for each change of state, and now and then a line with the progress."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._news = News(clock)

    def __call__(self, job: Job) -> None:
        """The job as it is now."""
        if self._news.holds(job):
            self._write(line(job))


class Bars:
    """A redrawn line for each job: state, bar, percent, records, records a second, time left.

    ``named`` is for several jobs: each line has the job's name, and disappears when the job is no longer active.
    """

    def __init__(self, *, named: bool = False) -> None:
        # Slow to import, and needed only on a terminal.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        console = Console(stderr=True)
        name, state, percent, records, rate, left = (
            TextColumn(f"{{task.fields[{name}]}}") for name in ("name", "state", "percent", "records", "rate", "left")
        )
        first = (name, state) if named else (state,)
        columns: tuple[ProgressColumn, ...] = (*first, percent, left)
        self._icons_only = named and console.width < _BAR_CELLS
        if console.width >= _BAR_CELLS:
            columns = (*first, BarColumn(None if named else 40), percent, records, rate, left)
        self._progress: Progress = Progress(
            *columns,
            console=console,
            # Drawn only when there is something new, without a separate thread.
            auto_refresh=False,
            transient=True,
            expand=named,
            # Lines printed meanwhile appear above the bars. Output into a pipe is not redirected.
            redirect_stdout=sys.stdout.isatty(),
        )
        self._named = named
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, job: Job) -> None:
        """The job as it is now."""
        if self._named and job.state not in _UNDER_WAY:
            if (task := self._tasks.pop(job.name, None)) is not None:
                self._progress.remove_task(task)
                self._progress.refresh()
            return
        percent, records, rate, left = _figures(job)
        state = states.icon(job) if self._icons_only else states.shown(job)
        shown: dict[str, Any] = {
            "name": job.name,
            "state": f"[{states.colour(job) or 'default'}]{state}[/]",
            "percent": percent,
            "records": records,
            "rate": rate,
            "left": left,
        }
        if job.name not in self._tasks:
            self._tasks[job.name] = self._progress.add_task("", total=100.0, **shown)
        self._progress.update(self._tasks[job.name], completed=job.progress.percent, refresh=True, **shown)


def _figures(job: Job) -> tuple[str, str, str, str]:
    """Percent, records, rate and time left of a job."""
    progress = job.progress
    left = progress.time_left
    return (
        figures.percent(progress.percent),
        f"{figures.number(job.counters.processed)} records"
        + (f", file {progress.file.number} of {progress.file.count}" if progress.file else ""),
        f"{figures.number(progress.records_per_second)}/s",
        "" if left is None or job.state in AT_REST else f"{figures.span(left)} left",
    )
