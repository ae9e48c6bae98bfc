"""`lading tables` and `lading table`: what a file can be imported into."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from lading_client.cli.arguments import table_name
from lading_client.cli.display.columns import aligned, printable
from lading_client.cli.display.output import painted
from lading_client.cli.session import Session

if TYPE_CHECKING:
    from lading_client.model import TableColumn

_HEADING = ("COLUMN", "TYPE", "READ AS", "")


def tables(
    context: typer.Context,
    connection: Annotated[str, typer.Argument(metavar="CONNECTION", help="The connection.")] = "local",
) -> None:
    """List the tables that files can be imported into."""
    ours = Session.of(context)

    async def work() -> None:
        none = True
        async with ours.client() as client, aclosing(client.tables(connection)) as found:
            async for table in found:
                none = False
                if ours.output.json:
                    ours.output.document(table)
                else:
                    ours.output.text([printable(table_name.written(table))])
        if none and not ours.output.json:
            ours.output.note("no tables")

    ours.run(work())


def table(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[CONNECTION.]TABLE", help="The table.")],
) -> None:
    """Show the columns of a table."""
    ours = Session.of(context)
    try:
        wanted = table_name.parse(name)
    except table_name.BadTableName as error:
        raise ours.usage(printable(str(error))) from None

    async def work() -> None:
        async with ours.client() as client:
            found = await client.table(wanted)
        if ours.output.json:
            ours.output.document(found)
            return
        ours.output.text(aligned([_HEADING, *map(_row, found.columns)]))
        ours.output.text([painted(printable(f"note: {note}"), "yellow") for note in found.notes])

    ours.run(work())


def _row(column: "TableColumn") -> tuple[str, str, str, str]:
    kind = "generated" if column.generated else "required" if column.required else ""
    return printable(column.name), printable(column.declared), column.type, kind
