"""`lading watch`, `journal` and `rejects`."""

from contextlib import aclosing, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from lading_client.cli.arguments.options import JobArgument, job_name
from lading_client.cli.display import formatting as figures
from lading_client.cli.display.bill import route
from lading_client.cli.display.columns import printable
from lading_client.cli.display.progress import News, bars_on, line
from lading_client.cli.display.reject_groups import group_lines
from lading_client.cli.display.reject_view import block
from lading_client.cli.session import Session
from lading_client.cli.wait import exit_status, report, wait
from lading_client.errors import NotFound
from lading_client.labels import label
from lading_client.model import AT_REST, ENDED, Job, JournalEntry, WatchEvent, WatchKind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lading_client.client import Client
    from lading_client.model import Reject, RejectGroups

_FEW = 10
"""So many rejects are printed themselves; of more, their groups."""


def watch(
    context: typer.Context,
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="jobs/ID or ID; without it, all jobs.")] = None,
) -> None:
    """Watch a job until it has ended, or all jobs until Ctrl-C."""
    ours = Session.of(context)

    async def work() -> int:
        async with ours.client() as client:
            if job is None:
                return await _watch_all(ours, client)
            name = job_name(job)
            # A watch of a job that does not exist would wait for ever.
            found = await client.get_job(name)
            if ours.output.json:
                return await _watch_as_json(ours, client, name)
            final = found if found.state in ENDED else await wait(ours, client, found, revision=0, through_rest=True)
            await report(ours, client, final)
            return exit_status(final)

    ours.run(work())


async def _watch_as_json(ours: Session, client: "Client", name: str) -> int:
    async with aclosing(client.watch(name)) as events:
        async for event in events:
            ours.output.document(event)
            if name and event.job is not None:
                if event.kind is WatchKind.DELETED:
                    raise NotFound(f"{name} was deleted")
                if event.job.state in ENDED:
                    return exit_status(event.job)
    raise AssertionError("a watch does not end by itself")


async def _watch_all(ours: Session, client: "Client") -> int:
    """Print a line for each change. Progress is shown as bars below the lines, or as an occasional line."""
    if ours.output.json:
        return await _watch_as_json(ours, client, "")
    news = News()
    idle: bool | None = True
    with bars_on(ours.output) or nullcontext() as bars:
        async with aclosing(client.watch(bookmarks=True)) as events:
            async for event in events:
                job = event.job
                if job is None:
                    if idle:
                        ours.output.note("no job is active; waiting for the next change (Ctrl-C to stop)")
                    idle = None
                    continue
                # Jobs that ended before the watch are not shown: `lading ls` lists them.
                if event.kind is WatchKind.SNAPSHOT and job.state in ENDED and idle is not None:
                    news.changed(job)
                    continue
                if idle and job.state not in AT_REST:
                    idle = False
                if event.kind is WatchKind.DELETED or (news.changed(job) if bars else news.holds(job)):
                    ours.output.text([_event_line(event, job)])
                if bars:
                    bars(job)
    raise AssertionError("a watch does not end by itself")


def _event_line(event: WatchEvent, job: Job) -> str:
    when = figures.moment(job.update_time if event.time is None else event.time)
    what = printable(job.label) or route(job)
    return f"{when}  {f'{job.name}  deleted' if event.kind is WatchKind.DELETED else line(job)}  {what}"


def journal(
    context: typer.Context,
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing until the job has ended.")] = False,
) -> None:
    """Print the journal of a job."""
    ours = Session.of(context)

    async def work() -> None:
        async with ours.client() as client:
            name = job_name(job)
            async with aclosing(client.watch_journal(name) if follow else client.journal(name)) as entries:
                async for entry in entries:
                    if ours.output.json:
                        ours.output.document(entry)
                    else:
                        ours.output.text([_entry_line(entry)])

    ours.run(work())


def _entry_line(entry: JournalEntry) -> str:
    return f"{figures.moment(entry.time)}  {label(entry.level):7}  {entry.code}  {printable(entry.message)}"


def rejects(
    context: typer.Context,
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing until the job has ended.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Print at most N.")] = None,
    group: Annotated[str, typer.Option("--group", metavar="GROUP", help="Print only the rejects of this group.")] = "",
    column: Annotated[str, typer.Option("--column", metavar="COLUMN", help="Print only those of this column.")] = "",
    code: Annotated[str, typer.Option("--code", metavar="CODE", help="Print only those with this code.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Print all rejects, and no groups.")] = False,
    groups: Annotated[bool, typer.Option("--groups", help="Print only the groups.")] = False,
) -> None:
    """Print the rejected records of a job, and the reasons.

    Rejects with one column, code and pattern of the value are a group: one problem. If a job has more than a few
    rejects, the groups are printed, and --all, --group, --column or --code print the rejects themselves. With
    --output json, the rejects are printed, or the groups with --groups.
    """
    ours = Session.of(context)
    chosen = bool(group or column or code)
    if groups and (chosen or every or follow):
        raise ours.usage("--groups prints no rejects; use it alone")
    if follow and chosen:
        raise ours.usage("--follow prints all rejects; leave --group, --column and --code out")

    async def work() -> None:
        shown = 0
        async with ours.client() as client:
            name = job_name(job)
            if groups or not (chosen or every or follow or limit or ours.output.json):
                problems = await client.reject_groups(name)
                if groups or sum(each.count for each in problems.groups) > _FEW:
                    _print_groups(ours, problems)
                    return
            source = (
                _as_they_come(client, name)
                if follow
                else client.rejects(name, limit=limit, group=group, column=column, code=code)
            )
            async with aclosing(source) as found:
                async for reject in found:
                    shown += 1
                    if ours.output.json:
                        ours.output.document(reject)
                    else:
                        ours.output.text(block(reject))
                    if shown == limit:
                        break
        if not shown and not ours.output.json:
            ours.output.note("no rejects")

    ours.run(work())


def _print_groups(ours: Session, found: "RejectGroups") -> None:
    if ours.output.json:
        for group in found.groups:
            ours.output.document(group)
    elif found.groups:
        ours.output.text(group_lines(found))
    else:
        ours.output.note("no rejects")


async def _as_they_come(client: "Client", name: str) -> "AsyncGenerator[Reject, None]":
    async with aclosing(client.watch_rejects(name)) as events:
        async for event in events:
            yield event.reject
