"""`lading audit`: who did what."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from lading_client.cli.display import formatting as figures
from lading_client.cli.display.columns import aligned, printable
from lading_client.cli.session import Session

if TYPE_CHECKING:
    from lading_client.model import AuditEntry

_LIMIT = 100
_HEADING = ("TIME", "WHO", "ROLE", "CALL", "RESOURCE", "OUTCOME", "FROM")


def audit(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Print at most N.")] = _LIMIT,
) -> None:
    """Print who changed what, and who was refused; the newest first. For admins."""
    ours = Session.of(context)

    async def work() -> None:
        rows = [_HEADING]
        async with ours.client() as client, aclosing(client.audit(limit=limit)) as entries:
            async for entry in entries:
                if ours.output.json:
                    ours.output.document(entry)
                else:
                    rows.append(_row(entry))
        if ours.output.json:
            return
        if len(rows) > 1:
            ours.output.text(aligned(rows))
        else:
            ours.output.note("nothing yet")

    ours.run(work())


def _row(entry: "AuditEntry") -> tuple[str, str, str, str, str, str, str]:
    return (
        figures.moment(entry.time),
        printable(entry.principal),
        printable(entry.role),
        printable(entry.method.rpartition("/")[2]),
        printable(entry.resource),
        printable(entry.outcome),
        printable(entry.peer),
    )
