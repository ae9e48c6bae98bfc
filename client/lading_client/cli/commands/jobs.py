"""`lading ls`, `show`, `share`, `unshare`, `clone`, `start`, `pause`, `cancel` and `delete`."""

from typing import Annotated

import typer

from lading_client.cli.arguments.options import JobArgument, RejectsOption, job_name
from lading_client.cli.display import states
from lading_client.cli.display.job_view import general, job_list
from lading_client.cli.session import Session
from lading_client.cli.wait import exit_status, journal_of, report, wait
from lading_client.model import Job


def list_jobs(
    context: typer.Context,
    filter: Annotated[
        str,
        typer.Option(
            "--filter",
            metavar="CONDITIONS",
            help="Only matching jobs, as in 'state = RUNNING|PAUSED AND label = \"nightly*\"'. The fields are "
            "state, type, label, owner, shared, create_time, update_time, start_time, end_time.",
            show_default=False,
        ),
    ] = "",
    order_by: Annotated[
        str,
        typer.Option(
            "--order-by",
            metavar="FIELD",
            help="Sort by one of these fields, as in 'end_time desc'; default: create_time desc.",
            show_default=False,
        ),
    ] = "",
) -> None:
    """List jobs, the newest first."""
    ours = Session.of(context)

    async def work() -> None:
        async with ours.client() as client:
            if ours.output.json:
                async for job in client.list_jobs(filter=filter, order_by=order_by):
                    ours.output.document(job)
                return
            jobs = [job async for job in client.list_jobs(filter=filter, order_by=order_by)]
        if jobs:
            ours.output.text(job_list(jobs))
        elif filter:
            ours.output.note("no such jobs")
        else:
            ours.output.note("no jobs yet; to create one: lading import FILE --into TABLE")

    ours.run(work())


def show(context: typer.Context, job: JobArgument) -> None:
    """Show everything about a job."""
    ours = Session.of(context)

    async def work() -> None:
        async with ours.client() as client:
            found = await client.get_job(job_name(job))
            entries = [] if ours.output.json else await journal_of(client, found)
        if ours.output.json:
            ours.output.document(found)
        else:
            ours.output.text(general(found, entries))

    ours.run(work())


def clone(
    context: typer.Context,
    job: JobArgument,
    label: Annotated[
        str,
        typer.Option(
            "--label", metavar="TEXT", help="The label of the new job; default: that of the job.", show_default=False
        ),
    ] = "",
) -> None:
    """Copy a job and print the name of the new one; start runs it."""
    ours = Session.of(context)

    async def work() -> None:
        async with ours.client() as client:
            made = await client.clone_job(job_name(job), label=label)
        if ours.output.json:
            ours.output.document(made)
            return
        ours.output.text([made.name])
        ours.output.note(f"{states.shown(made)}; to run it: lading start {made.name} --wait")

    ours.run(work())


def start(
    context: typer.Context,
    job: JobArgument,
    waits: Annotated[bool, typer.Option("--wait", help="Wait until the job rests, and report.")] = False,
    fail_on_rejects: RejectsOption = False,
) -> None:
    """Start a job, continue a paused one, or retry a failed one."""
    ours = Session.of(context)

    async def work() -> int:
        async with ours.client() as client:
            started = await client.start_job(job_name(job))
            if not waits:
                _commanded(ours, started)
                return 0
            final = await wait(ours, client, started, revision=started.revision)
            await report(ours, client, final)
            return exit_status(final, fail_on_rejects=fail_on_rejects)

    ours.run(work())


def pause(context: typer.Context, job: JobArgument) -> None:
    """Pause a job: the chunks in flight finish, start continues it."""
    ours = Session.of(context)

    async def work() -> None:
        async with ours.client() as client:
            _commanded(ours, await client.pause_job(job_name(job)))

    ours.run(work())


def cancel(context: typer.Context, job: JobArgument) -> None:
    """Cancel a job for good; committed records stay."""
    ours = Session.of(context)

    async def work() -> None:
        async with ours.client() as client:
            _commanded(ours, await client.cancel_job(job_name(job)))

    ours.run(work())


def delete(context: typer.Context, job: JobArgument) -> None:
    """Delete a job with its journal and rejects; its records stay."""
    ours = Session.of(context)
    name = job_name(job)

    async def work() -> None:
        async with ours.client() as client:
            await client.delete_job(name)
        if ours.output.json:
            ours.output.document({"name": name, "deleted": True})
        else:
            ours.output.text([f"{name}  deleted"])

    ours.run(work())


def share(context: typer.Context, job: JobArgument) -> None:
    """Let everybody who may use the daemon read a job, its journal and its rejects."""
    _set_shared(Session.of(context), job, shared=True)


def unshare(context: typer.Context, job: JobArgument) -> None:
    """Stop sharing a job; other users lose access at once."""
    _set_shared(Session.of(context), job, shared=False)


def _set_shared(ours: Session, job: str, *, shared: bool) -> None:
    async def work() -> None:
        async with ours.client() as client:
            changed = await client.update_job(job_name(job), shared=shared)
        if ours.output.json:
            ours.output.document(changed)
        else:
            ours.output.text([f"{changed.name}  {'shared' if shared else 'no longer shared'}"])

    ours.run(work())


def _commanded(ours: Session, job: Job) -> None:
    if ours.output.json:
        ours.output.document(job)
    else:
        ours.output.text([f"{job.name}  {states.shown(job)}"])
