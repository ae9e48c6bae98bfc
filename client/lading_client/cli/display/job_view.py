"""The General tab of a job, and jobs in a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lading_client.cli.display import formatting as figures
from lading_client.cli.display import states
from lading_client.cli.display.bill import bill_lines, detected, route
from lading_client.cli.display.columns import aligned, printable, shortened
from lading_client.cli.display.output import painted
from lading_client.model import State
from lading_client.spec import ImportSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lading_client.model import Job, JournalEntry

_COUNTERS = ("processed", "success", "empty", "errors", "warnings", "rejects", "doubles", "duplicates", "removed")


def _file(job: Job) -> str:
    """The file that is read, of an import of several that is not finished."""
    file = job.progress.file
    if file is None or job.state is State.FINISHED:
        return ""
    return f"{printable(file.name)}, {figures.percent(file.percent)} ({file.number} of {file.count})"


def kind_of(job: Job) -> str:
    """`import` or `export`."""
    return "import" if isinstance(job.spec.kind, ImportSpec) else "export"


def general(job: Job, journal: Sequence[JournalEntry] = ()) -> list[str]:
    """Everything about a job, in lines; ``journal`` says what was detected."""
    source, _, target = route(job).partition(" → ")
    progress = job.progress
    rows = [
        ("job", job.name),
        ("label", printable(job.label)),
        ("description", printable(job.description)),
        ("state", painted(states.shown(job), states.colour(job))),
        ("owner", printable(job.owner)),
        ("shared", "yes" if job.shared else ""),
        ("type", kind_of(job)),
        ("source", source),
        ("target", target),
        ("detected", detected(journal)),
        ("created", figures.moment(job.create_time)),
        ("start", figures.moment(job.start_time)),
        ("end", figures.moment(job.end_time)),
        ("duration", "" if job.duration is None else figures.span(job.duration)),
        ("progress", figures.percent(progress.percent)),
        ("file", _file(job)),
        ("rate", f"{figures.number(progress.records_per_second)} records/s"),
        ("time left", "" if progress.time_left is None else figures.span(progress.time_left)),
        ("attempt", str(job.attempt)),
    ]
    if job.failure is not None:
        rows.append(("failure", f"{printable(job.failure.message)} ({job.failure.code})"))
    counters = job.counters
    total = "not known yet" if counters.total is None else figures.number(counters.total)
    counted = [("total", total), *((name, figures.number(getattr(counters, name))) for name in _COUNTERS)]
    return [
        *aligned([row for row in rows if row[1]]),
        "",
        "counters",
        *(f"  {line}" for line in aligned(counted, right=frozenset({1}))),
        "",
        "bill",
        *bill_lines(job.bill),
    ]


def job_list(jobs: Sequence[Job]) -> list[str]:
    """A heading and one line for each job. Owners are shown if there are several."""
    several = len({job.owner for job in jobs}) > 1
    rows = [("JOB", "STATE", "DONE", "RECORDS", "REJECTS", "CREATED", *(("OWNER",) if several else ()), "LABEL")]
    rows += [
        (
            job.name,
            states.shown(job),
            figures.percent(job.progress.percent),
            figures.number(job.counters.processed),
            figures.number(job.counters.rejects),
            figures.moment(job.create_time),
            *((shortened(printable(job.owner), 20),) if several else ()),
            shortened(printable(job.label) or route(job), 60),
        )
        for job in jobs
    ]
    return aligned(rows, right=frozenset({2, 3, 4}))
