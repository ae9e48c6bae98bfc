"""`lading import`, `export` and `run`: create a job, start it, wait for it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import replace
from os.path import basename
from typing import TYPE_CHECKING, Annotated

import typer

from lading_client.cli.arguments import table_name
from lading_client.cli.arguments.formats import BadOption, fixed_width_format, header_of
from lading_client.cli.arguments.given_files import Given, given_files
from lading_client.cli.arguments.import_options import ImportOptions, takes_import_options
from lading_client.cli.arguments.mapping import BadMapping
from lading_client.cli.arguments.options import (
    DelimiterOption,
    DetachOption,
    ExportWidthsOption,
    FormatOption,
    LabelOption,
    RejectsOption,
    SharedOption,
    character,
    format_name,
)
from lading_client.cli.arguments.paths import BadPath, file_to_fetch, file_to_write, is_remote
from lading_client.cli.commands.download import fetch, later
from lading_client.cli.display.columns import printable
from lading_client.cli.display.file_progress import progress_of
from lading_client.cli.display.preview_view import preview_lines
from lading_client.cli.session import Session
from lading_client.cli.wait import exit_status, report, start_and_wait, wait
from lading_client.errors import BadSpec, JobDeleted
from lading_client.files.stream import NAME as STREAM_NAME
from lading_client.files.stream import STANDARD_INPUT, spooled
from lading_client.model import Job, State
from lading_client.spec import (
    CsvFormat,
    ExportSpec,
    ImportSpec,
    JobSpec,
)

if TYPE_CHECKING:
    from lading_client.client import Client
    from lading_client.files.upload import StoredFile

_TABLE = "[CONNECTION.]TABLE"
_MANY = re.compile(r"[*?\[]|/$|^\.+$")
"""A path that stands for several files."""
_NEW_TABLE = "preview"


@takes_import_options
def import_file(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="Files, directories and patterns, imported in this order; - is standard input."
        ),
    ],
    into: Annotated[str, typer.Option("--into", metavar=_TABLE, help="The table; created if missing.")],
    options: ImportOptions,
    label: LabelOption = "",
    shared: SharedOption = False,
    detach: DetachOption = False,
    fail_on_rejects: RejectsOption = False,
    chunk_bytes: Annotated[int, typer.Option("--chunk-bytes", hidden=True, min=0)] = 0,
) -> None:
    """Import files into a table."""
    ours = Session.of(context)
    with _usage(ours):
        given = given_files(files, remote=is_remote(ours.server))
        target = table_name.parse(into)
        wanted = options.spec([each.file for each in given], target, chunk_bytes)
    label = label or f"{_named(given)} into {target.table}"
    with ExitStack() as spools:
        given = _without_streams(ours, given, spools)
        spec = JobSpec(kind=wanted)
        ours.run(
            _transfer(ours, spec, label, files=given, shared=shared, detach=detach, fail_on_rejects=fail_on_rejects)
        )


def _without_streams(ours: Session, given: Sequence[Given], spools: ExitStack) -> list[Given]:
    """The files, with temporary files in place of streams."""
    return [
        replace(each, path=spools.enter_context(_spooled(ours, each.path))) if each.is_stream else each
        for each in given
    ]


def _named(given: Sequence[Given]) -> str:
    """The files in a label. A pattern or a directory is shown as it was given."""
    path = given[0].path
    first = path if _MANY.search(path) else basename(given[0].file.path)
    return first if len(given) == 1 else f"{first} and {len(given) - 1:,} more"


@takes_import_options
def preview_file(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Files, directories and patterns; - is standard input."),
    ],
    options: ImportOptions,
    into: Annotated[
        str, typer.Option("--into", metavar=_TABLE, help="The table.", show_default="a new table")
    ] = _NEW_TABLE,
    records: Annotated[int, typer.Option("--records", metavar="N", min=1, max=200, help="How many to show.")] = 10,
) -> None:
    """Show how files would be imported, without importing them."""
    ours = Session.of(context)
    with _usage(ours):
        given = given_files(files, remote=is_remote(ours.server))
        target = table_name.parse(into)
        wanted = options.spec([each.file for each in given], target)
    with ExitStack() as spools:
        given = _without_streams(ours, given, spools)
        ours.run(_preview(ours, wanted, given, records, names_table=into != _NEW_TABLE))


async def _preview(
    ours: Session, wanted: ImportSpec, given: Sequence[Given], records: int, *, names_table: bool
) -> None:
    async with ours.client() as client, AsyncExitStack() as uploads:
        files = []
        for each in given:
            if each.sent:
                stored = await _sent(ours, client, each)
                uploads.push_async_callback(client.delete_upload, stored.name)
            files.append(stored.file if each.sent else each.file)
        preview = await client.preview_import(replace(wanted, files=tuple(files)), records=records)
    if ours.output.json:
        ours.output.document(preview)
    else:
        ours.output.text(preview_lines(preview, names_table=names_table))


def export_table(
    context: typer.Context,
    table: Annotated[str, typer.Argument(metavar=_TABLE, help="The table to read.")],
    to: Annotated[str, typer.Option("--to", metavar="FILE", help="The file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    consistent: Annotated[
        bool,
        typer.Option("--consistent", help="Show one moment of the table; start over if the export is interrupted."),
    ] = False,
    file_format: FormatOption = "",
    widths: ExportWidthsOption = "",
    delimiter: DelimiterOption = "",
    header: Annotated[
        bool | None,
        typer.Option("--header/--no-header", help="Whether the first record names the columns.", show_default="header"),
    ] = None,
    label: LabelOption = "",
    shared: SharedOption = False,
    detach: DetachOption = False,
) -> None:
    """Export a table to a file."""
    ours = Session.of(context)
    remote = is_remote(ours.server)
    with _usage(ours):
        destination = file_to_fetch(to, overwrite=overwrite) if remote else file_to_write(to)
        source = table_name.parse(table)
    csv = CsvFormat(delimiter=character(delimiter), header=header_of(header))
    with _usage(ours):
        fixed_width = fixed_width_format(widths, csv)
    wanted = ExportSpec(
        table=source,
        file=destination,
        file_format=format_name(file_format),
        csv=csv,
        fixed_width=fixed_width,
        overwrite=overwrite,
        consistent=consistent,
    )
    label = label or f"{source.table} to {basename(to if remote else destination.path)}"
    ours.run(_transfer(ours, JobSpec(kind=wanted), label, to=to if remote else "", shared=shared, detach=detach))


def run_spec(
    context: typer.Context,
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A JSON or TOML file; - is JSON on standard input.")],
    label: LabelOption = "",
    shared: SharedOption = False,
    detach: DetachOption = False,
    fail_on_rejects: RejectsOption = False,
) -> None:
    """Run a job that a file describes.

    The file is a lading.v1.JobSpec in JSON or TOML. It can also have a label and a description. Paths without a root
    are relative to the file.
    """
    # Only this command needs the parsers.
    from lading_client.cli.arguments import spec_file

    ours = Session.of(context)
    try:
        given = spec_file.read(spec)
    except BadSpec as error:
        raise ours.usage(error) from None
    kind, remote = given.spec.kind, is_remote(ours.server)
    with ExitStack() as spools:
        with _usage(ours):
            files, kind = _named_in_file(kind, given.paths, remote=remote)
        files = _without_streams(ours, files, spools)
        ours.run(
            _transfer(
                ours,
                replace(given.spec, kind=kind),
                label or given.label,
                files=files,
                to=given.paths.get(0, "") if remote and isinstance(kind, ExportSpec) else "",
                description=given.description,
                shared=shared,
                detach=detach,
                fail_on_rejects=fail_on_rejects,
            ),
            names_fields=True,
        )


def _named_in_file(
    kind: ImportSpec | ExportSpec, paths: Mapping[int, str], *, remote: bool
) -> tuple[Sequence[Given], ImportSpec | ExportSpec]:
    """The files to import, and the spec with the file to export to. ``paths``: those without a root."""
    if isinstance(kind, ExportSpec):
        if 0 not in paths:
            return (), kind
        file = file_to_fetch(paths[0], overwrite=kind.overwrite) if remote else file_to_write(paths[0])
        return (), replace(kind, file=file)
    files: list[Given] = []
    for place, file in enumerate(kind.files):
        files += given_files([paths[place]], remote=remote) if place in paths else [Given(path=file.path, file=file)]
    return files, kind


async def _transfer(
    ours: Session,
    spec: JobSpec,
    label: str,
    *,
    files: Sequence[Given] = (),
    to: str = "",
    description: str = "",
    shared: bool,
    detach: bool,
    fail_on_rejects: bool = False,
) -> int:
    """Run a job. ``files``: the files to import; those that the daemon cannot open are sent to it first. ``to``: where
    an export is fetched to that the daemon cannot write there."""
    async with ours.client() as client:
        if isinstance(spec.kind, ImportSpec):
            found = [(await _sent(ours, client, each)).file if each.sent else each.file for each in files]
            spec = replace(spec, kind=replace(spec.kind, files=tuple(found)))
        job = await client.create_job(spec, label=label, description=description, shared=shared)
        if isinstance(spec.kind, ExportSpec) and to:
            return await _export_and_fetch(ours, client, job, spec.kind, to, detach=detach)
        if not detach:
            return await start_and_wait(ours, client, job, fail_on_rejects=fail_on_rejects)
        return await _detached(ours, client, job)


async def _detached(ours: Session, client: "Client", job: Job) -> int:
    started = await client.start_job(job.name)
    if ours.output.json:
        ours.output.document(started)
    else:
        ours.output.text([started.name])
    return 0


async def _sent(ours: Session, client: "Client", given: Given) -> "StoredFile":
    with progress_of(ours.output, "uploading", given.file.path) as show:
        return await client.upload(given.path, file_name=given.file.path, progress=show)


async def _export_and_fetch(
    ours: Session, client: "Client", job: Job, wanted: ExportSpec, to: str, *, detach: bool
) -> int:
    if detach:
        status = await _detached(ours, client, job)
        ours.output.note(later(job.name, to))
        return status
    started = await client.start_job(job.name)
    try:
        final = await wait(ours, client, started, revision=job.revision)
        if final.state is State.FINISHED:
            await fetch(ours, client, wanted, to, overwrite=wanted.overwrite)
    except JobDeleted:
        raise
    except BaseException:
        ours.output.note(later(job.name, to))
        raise
    if final.state is not State.FINISHED and final.state is not State.CANCELED:
        ours.output.note(later(job.name, to))
    await report(ours, client, final)
    return exit_status(final)


@contextmanager
def _spooled(ours: Session, path: str) -> Iterator[str]:
    """A file with the content of a stream. An error of it ends the command."""
    try:
        with spooled(path) as spool:
            yield str(spool)
    except OSError as error:
        what = STREAM_NAME if path == STANDARD_INPUT else path
        raise ours.usage(printable(f"{what} cannot be read into a temporary file: {error.strerror}")) from None


@contextmanager
def _usage(ours: Session) -> Iterator[None]:
    """Print an error in the arguments and end the command."""
    try:
        yield
    except (BadPath, BadMapping, BadOption, table_name.BadTableName) as error:
        raise ours.usage(printable(str(error))) from None
