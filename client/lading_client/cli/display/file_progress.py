"""The progress of file transfers to and from a daemon on another machine, on standard error."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lading_client.cli.display import formatting as figures
from lading_client.cli.display.columns import printable
from lading_client.cli.display.output import animated
from lading_client.cli.display.progress import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lading_client.cli.display.output import Output


@contextmanager
def progress_of(output: Output, verb: str, name: str) -> Iterator[Callable[[int, int], None]]:
    """A live bar on a terminal, or else an occasional line; nothing with JSON output."""
    if output.json:
        yield lambda gone, size: None
    elif animated(sys.stderr):
        with _bar(f"{verb} {printable(name)}") as show:
            yield show
    else:
        title = f"{verb} {printable(name)}"
        output.note(title)
        pace = Pace()

        def say(gone: int, size: int) -> None:
            if pace.due():
                output.note(f"{title}  {figures.percent(100 * gone / max(size, 1))}  of {figures.number(size)} bytes")

        yield say


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    # Slow to import, and needed only on a terminal.
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        task = progress.add_task(escape(title), total=None)

        def show(gone: int, size: int) -> None:
            progress.update(task, completed=gone, total=size, refresh=True)

        yield show
