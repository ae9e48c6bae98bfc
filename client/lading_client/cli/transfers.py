"""`lading import`, `export` and `run`: make a job, start it, wait for it."""

from os.path import basename
from typing import Annotated

import typer

from lading_client.cli import table_name
from lading_client.cli.options import (
    DelimiterOption,
    DetachOption,
    LabelOption,
    OutputOption,
    QuoteOption,
    RejectsOption,
    ServerOption,
    character,
)
from lading_client.cli.paths import BadPath, file_at
from lading_client.cli.session import Session
from lading_client.cli.wait import start_and_wait
from lading_client.errors import BadSpec
from lading_client.spec import CsvFormat, ExportSpec, File, Header, ImportSpec, JobSpec, Table

_TABLE = "[CONNECTION.]TABLE"


def import_file(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to read.")],
    into: Annotated[str, typer.Option("--into", metavar=_TABLE, help="The table; made where it is not there.")],
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="COL=TYPE",
            help="text, integer, real, decimal(P,S), boolean, date, time, timestamp, timestamptz or uuid.",
        ),
    ] = None,
    delimiter: DelimiterOption = "",
    quote: QuoteOption = "",
    header: Annotated[
        bool | None,
        typer.Option(
            "--header/--no-header", help="Whether the first record names the columns.", show_default="detected"
        ),
    ] = None,
    label: LabelOption = "",
    detach: DetachOption = False,
    fail_on_rejects: RejectsOption = False,
    chunk_bytes: Annotated[int, typer.Option("--chunk-bytes", hidden=True, min=0)] = 0,
    server: ServerOption = None,
    output: OutputOption = None,
) -> None:
    """Import a file into a table."""
    ours = Session.of(context, server, output)
    source, target = _ends(ours, file, into)
    csv = CsvFormat(delimiter=character(delimiter), quote=character(quote), header=_header(header))
    wanted = ImportSpec(
        files=(source,), csv=csv, target=target, types=_types(ours, types or []), chunk_bytes=chunk_bytes
    )
    label = label or f"{basename(source.path)} into {target.table}"
    ours.run(_transfer(ours, JobSpec(kind=wanted), label, detach=detach, fail_on_rejects=fail_on_rejects))


def export_table(
    context: typer.Context,
    table: Annotated[str, typer.Argument(metavar=_TABLE, help="The table to read.")],
    to: Annotated[str, typer.Option("--to", metavar="FILE", help="The file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file where it is there.")] = False,
    delimiter: DelimiterOption = "",
    header: Annotated[
        bool | None,
        typer.Option("--header/--no-header", help="Whether the first record names the columns.", show_default="header"),
    ] = None,
    label: LabelOption = "",
    detach: DetachOption = False,
    server: ServerOption = None,
    output: OutputOption = None,
) -> None:
    """Export a table to a file."""
    ours = Session.of(context, server, output)
    destination, source = _ends(ours, to, table)
    csv = CsvFormat(delimiter=character(delimiter), header=_header(header))
    wanted = ExportSpec(table=source, file=destination, csv=csv, overwrite=overwrite)
    label = label or f"{source.table} to {basename(destination.path)}"
    ours.run(_transfer(ours, JobSpec(kind=wanted), label, detach=detach))


def run_spec(
    context: typer.Context,
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A JSON or TOML file; - is JSON on standard input.")],
    label: LabelOption = "",
    detach: DetachOption = False,
    fail_on_rejects: RejectsOption = False,
    server: ServerOption = None,
    output: OutputOption = None,
) -> None:
    """Run a job that a file describes.

    The file is a lading.v1.JobSpec in JSON or TOML, with a label and a description beside.
    """
    # Its parsers are needed by this command only.
    from lading_client.cli import spec_file

    ours = Session.of(context, server, output)
    try:
        given = spec_file.read(spec)
    except BadSpec as error:
        raise ours.usage(error) from None
    ours.run(
        _transfer(
            ours,
            given.spec,
            label or given.label,
            description=given.description,
            detach=detach,
            fail_on_rejects=fail_on_rejects,
        ),
        names_fields=True,
    )


async def _transfer(
    ours: Session, spec: JobSpec, label: str, *, description: str = "", detach: bool, fail_on_rejects: bool = False
) -> int:
    async with ours.client() as client:
        job = await client.create_job(spec, label=label, description=description)
        if not detach:
            return await start_and_wait(ours, client, job, fail_on_rejects=fail_on_rejects)
        started = await client.start_job(job.name)
    if ours.output.json:
        ours.output.document(started)
    else:
        ours.output.text([started.name])
    return 0


def _ends(ours: Session, file: str, table: str) -> tuple[File, Table]:
    try:
        return file_at(file), table_name.parse(table)
    except (BadPath, table_name.BadTableName) as error:
        raise ours.usage(error) from None


def _header(given: bool | None) -> Header:
    if given is None:
        return Header.UNSPECIFIED
    return Header.PRESENT if given else Header.ABSENT


def _types(ours: Session, given: list[str]) -> dict[str, str]:
    types: dict[str, str] = {}
    for text in given:
        column, equals, kind = text.rpartition("=")
        if not equals or not column or not kind:
            raise ours.usage(f"--type {text}: write COLUMN=TYPE, as in --type born=date")
        types[column] = kind
    return types
