"""A job's end as people read it: the bill, the warnings, the first rejects."""

from __future__ import annotations

from dataclasses import fields
from os.path import basename
from typing import TYPE_CHECKING

from lading_client.cli.arguments import paths, table_name
from lading_client.cli.display import formatting as figures
from lading_client.cli.display import states
from lading_client.cli.display.columns import aligned, printable, shortened
from lading_client.cli.display.output import painted
from lading_client.model import JournalLevel, State
from lading_client.spec import ImportSpec, OnRestart

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lading_client.model import Bill, Job, JournalEntry, Reject

FIRST_REJECTS = 5
TOO_MANY_REJECTS = "TOO_MANY_REJECTS"
"""Why a job stopped that rejected more records than it allows."""
_FIRST_WARNINGS = 10
_SEEN = 200
"""How many characters of a value or record the table considers. It shows fewer."""
_DETECTED = "DETECTED"
_ALWAYS = ("read", "inserted", "rejected")


def route(job: Job) -> str:
    """The source and the target: "recipients.csv → local.recipients"."""
    kind = job.spec.kind
    if isinstance(kind, ImportSpec):
        files = ", ".join(printable(paths.shown(file)) for file in kind.files)
        return f"{files} → {printable(table_name.written(kind.target))}"
    return f"{printable(table_name.written(kind.table))} → {printable(paths.shown(kind.file))}"


def bill_lines(bill: Bill) -> list[str]:
    """The bill, aligned. Zero counts are left out, except those that everybody looks for."""
    named = [(field.name, getattr(bill, field.name)) for field in fields(bill)]
    rows = [(name.replace("_", " "), figures.number(value)) for name, value in named if value or name in _ALWAYS]
    return [f"  {line}" for line in aligned(rows, right=frozenset({1}))]


def detected(journal: Sequence[JournalEntry]) -> str:
    """What the latest plan detected in the source, in one line; empty if the journal has no such entry."""
    found = [entry.message for entry in journal if entry.code == _DETECTED]
    return printable(found[-1]) if found else ""


def reject_table(rejects: Sequence[Reject], *, names_files: bool = False) -> list[str]:
    """One line for each reject: file if it matters, line, column, value, reason."""
    rows = [("file", "line", "column", "value", "reason")]
    rows += [
        (
            shortened(printable(basename(reject.file)), 24),
            str(reject.line),
            shortened(printable(reject.column), 24),
            shortened(printable((reject.value or reject.raw)[:_SEEN]), 32),
            printable(reject.message),
        )
        for reject in rejects
    ]
    shown = rows if names_files else [row[1:] for row in rows]
    return [f"  {line}" for line in aligned(shown, right=frozenset({int(names_files)}))]


def ending(
    job: Job, *, journal: Sequence[JournalEntry], rejects: Sequence[Reject] | None, own_database: Path | None
) -> list[str]:
    """The report about a job that has come to rest. ``rejects`` is None if the caller may not read them."""
    head = painted(states.shown(job), states.colour(job))
    took = ""
    if job.duration is not None:
        took = f" in {figures.span(job.duration)}"
        if job.progress.records_per_second:
            took += f", {figures.number(job.progress.records_per_second)} records/s"
    lines = [f"{head}: {route(job)}{took}", ""]
    lines += bill_lines(job.bill)
    if job.counters.removed:
        rows = "row of the table was" if job.counters.removed == 1 else "rows of the table were"
        lines += ["", f"  {figures.number(job.counters.removed)} {rows} removed"]
    if found := detected(journal):
        lines += ["", f"detected: {found}"]
    if job.failure is not None:
        lines += ["", f"{printable(job.failure.message)} ({job.failure.code})"]
    # An interruption by the daemon says nothing about the records.
    warnings = [e for e in journal if e.level is JournalLevel.WARNING and e.code != State.INTERRUPTED]
    if warnings:
        lines += ["", *(f"warning: {printable(entry.message)}" for entry in warnings[:_FIRST_WARNINGS])]
        if len(warnings) > _FIRST_WARNINGS:
            lines.append(f"all {len(warnings)} warnings: lading journal {job.name}")
    if rejects is None:
        lines += ["", f"{_found(job)}: only the owner of the job and admins can read them, unless the job is shared"]
    elif rejects:
        lines += ["", *_rejects(job, rejects)]
    lines += ["", *_next_step(job, own_database)]
    return lines


def _rejects(job: Job, rejects: Sequence[Reject]) -> list[str]:
    total = max(job.counters.errors + job.counters.warnings, len(rejects))
    head = _found(job) or figures.counted(total, "reject")
    if total > len(rejects):
        head += f", the first {len(rejects)}"
    return [
        f"{head}:",
        *reject_table(rejects, names_files=job.progress.file is not None),
        f"all of them: lading rejects {job.name}",
    ]


def _found(job: Job) -> str:
    """6 rejects and 1 warning"""
    found = {"reject": job.counters.errors, "warning": job.counters.warnings}
    return " and ".join(figures.counted(number, what) for what, number in found.items() if number)


def _next_step(job: Job, own_database: Path | None) -> list[str]:
    match job.state:
        case State.FINISHED:
            return [_where(job, own_database)]
        case State.FAILED if job.failure is not None and job.failure.code == "ALL_REJECTED":
            return ["correct the file, or say how to read it (--type, --delimiter, --header), and import it again"]
        case State.FAILED if job.failure is not None and job.failure.code == TOO_MANY_REJECTS:
            return [f"the problems: lading rejects {job.name}; to allow more in the next import: --max-rejects"]
        case State.FAILED:
            return [f"try again from the last committed chunk: lading start {job.name} --wait"]
        case State.INTERRUPTED if job.spec.on_restart is not OnRestart.STAY:
            return [
                "it continues after its last committed chunk when the daemon starts again",
                f"watch it: lading watch {job.name}",
            ]
        case State.PAUSED | State.INTERRUPTED:
            return [f"continue it: lading start {job.name} --wait"]
        case _:
            return [f"committed records stay; details: lading show {job.name}"]


def _where(job: Job, own_database: Path | None) -> str:
    kind = job.spec.kind
    if not isinstance(kind, ImportSpec):
        return f"records in {printable(paths.shown(kind.file))}"
    if not job.bill.read:
        return "nothing was imported: the file has no records"
    text = f"rows in the table {printable(kind.target.table)} of connection {printable(kind.target.connection)}"
    if own_database is not None and kind.target.connection == "local":
        text += f": sqlite3 {own_database}"
    return text
