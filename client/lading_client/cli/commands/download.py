"""`lading download`, and the download at the end of an export on another machine."""

from contextlib import suppress
from os.path import basename, dirname
from typing import TYPE_CHECKING, Annotated

import typer

from lading_client.cli.arguments.options import JobArgument, job_name
from lading_client.cli.arguments.paths import UPLOADS, BadPath, check_free
from lading_client.cli.display import formatting as figures
from lading_client.cli.display.columns import printable
from lading_client.cli.display.file_progress import progress_of
from lading_client.cli.session import Session
from lading_client.errors import DaemonError
from lading_client.model import State
from lading_client.spec import ExportSpec

if TYPE_CHECKING:
    from lading_client.client import Client


def download(
    context: typer.Context,
    job: JobArgument,
    to: Annotated[str, typer.Option("--to", metavar="FILE", help="The file to write here.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Download the file of a finished export."""
    ours = Session.of(context)
    try:
        check_free(to, overwrite=overwrite)
    except BadPath as error:
        raise ours.usage(printable(str(error))) from None

    async def work() -> None:
        async with ours.client() as client:
            found = await client.get_job(job_name(job))
            if not isinstance(found.spec.kind, ExportSpec):
                raise ours.usage(f"{found.name} is an import: it has no file to download")
            if found.state is not State.FINISHED:
                raise ours.usage(f"{found.name} is {found.state}: you can download its file when it is FINISHED")
            size = await fetch(ours, client, found.spec.kind, to, overwrite=overwrite)
        if ours.output.json:
            ours.output.document({"name": found.name, "file": to, "size": size})
        else:
            ours.output.text([f"{to}  {figures.number(size)} bytes"])

    ours.run(work())


async def fetch(ours: Session, client: "Client", export: ExportSpec, to: str, *, overwrite: bool) -> int:
    """Download the file of an export and return its size. A file that exists only for the download is then deleted."""
    with progress_of(ours.output, "downloading", basename(to)) as show:
        size = await client.download(export.file, to, overwrite=overwrite, progress=show)
    if export.file.root == UPLOADS:
        with suppress(DaemonError):
            # The daemon would delete the file itself after a day.
            await client.delete_upload(f"{UPLOADS}/{dirname(export.file.path)}")
    return size


def later(name: str, to: str) -> str:
    """The message for an export that is not finished when its command ends."""
    return f"when the job is finished, download its file within a day: lading download {name} --to {to}"
