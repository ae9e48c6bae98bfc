"""What people see while a job runs, on standard error."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from lading_client.cli import figures, states
from lading_client.cli.output import animated
from lading_client.model import AT_REST

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID

    from lading_client.cli.output import Output
    from lading_client.model import Job, State


_BAR_CELLS = 76
"""On a narrower terminal there is no room for a bar and the numbers of records: they would be cut off."""


class Show(Protocol):
    """Shows how a job stands."""

    def __call__(self, job: Job) -> None:
        """The job as it is now."""


def progress_on(output: Output) -> AbstractContextManager[Show]:
    """A live bar on a terminal, else a line for each state; nothing beside JSON."""
    if output.json:
        return nullcontext(lambda job: None)
    return Bar() if animated(sys.stderr) else nullcontext(Lines(output))


class Lines:
    """A line for each change of the state."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._shown: State | None = None

    def __call__(self, job: Job) -> None:
        """The job as it is now."""
        if job.state is not self._shown:
            self._shown = job.state
            self._output.note(f"{job.name}  {states.shown(job.state)}")


class Bar:
    """A line that is drawn over: state, bar, percent, records, records a second, time left."""

    def __init__(self) -> None:
        # Slow to import, and needed on a terminal only.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        console = Console(stderr=True)
        state, percent, records, rate, left = (
            TextColumn(f"{{task.fields[{name}]}}") for name in ("state", "percent", "records", "rate", "left")
        )
        wide = console.width >= _BAR_CELLS
        self._progress: Progress = Progress(
            *((state, BarColumn(), percent, records, rate, left) if wide else (state, percent, left)),
            console=console,
            # Drawn when there is something new; no thread beside the loop.
            auto_refresh=False,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, job: Job) -> None:
        """The job as it is now."""
        progress = job.progress
        shown: dict[str, Any] = {
            "state": f"[{states.colour(job.state) or 'default'}]{states.shown(job.state)}[/]",
            "percent": figures.percent(progress.percent),
            "records": f"{figures.number(job.counters.processed)} records",
            "rate": f"{figures.number(progress.records_per_second)}/s",
            "left": ""
            if progress.time_left is None or job.state in AT_REST
            else f"{figures.span(progress.time_left)} left",
        }
        if self._task is None:
            self._task = self._progress.add_task("", total=100.0, **shown)
        self._progress.update(self._task, completed=progress.percent, refresh=True, **shown)
