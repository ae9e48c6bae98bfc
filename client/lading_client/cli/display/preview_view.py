"""A preview as people read it."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from lading_client.cli.display import reject_view
from lading_client.cli.display.columns import aligned, printable, shortened
from lading_client.cli.display.output import painted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lading_client.model import Preview

_CELLS = 30
"""The widest column."""
_NULL = "∅"
_BETWEEN_FINDINGS = re.compile(r"; (?=[a-z ]+: )")


def preview_lines(preview: Preview, *, names_table: bool) -> Iterator[str]:
    """The findings, the notes, the first records, and the records that would be rejected. ``names_table``: the user
    has named the table."""
    for part in _BETWEEN_FINDINGS.split(preview.detected):
        if names_table or not part.startswith("table: "):
            yield printable(part)
    for note in preview.notes:
        yield painted(printable(f"note: {note}"), "yellow")
    if names_table and preview.unused_target_columns:
        yield printable(f"not filled: {', '.join(preview.unused_target_columns)}")
    if preview.records:
        yield ""
        yield from _table(preview)
    yield ""
    yield _summary(preview)
    for reject in preview.rejects:
        yield ""
        yield from reject_view.block(reject)[:-1]


def _table(preview: Preview) -> list[str]:
    rows = [["line", *(column.source for column in preview.columns)], ["", *(each.type for each in preview.columns)]]
    for record in preview.records:
        values = (_NULL if value is None else value for value in record.values)
        rows.append([str(record.line or ""), *values])
    cells = [[shortened(printable(cell), _CELLS) for cell in row] for row in rows]
    return [shortened(line, shutil.get_terminal_size().columns) for line in aligned(cells, right=frozenset({0}))]


def _summary(preview: Preview) -> str:
    if not preview.read:
        return "The file has no records."
    which = f"{'All' if preview.whole else 'The first'} {preview.read:,} records were looked at"
    if preview.read == 1:
        which = f"{'The only' if preview.whole else 'The first'} record was looked at"
    if preview.filtered:
        which += f"; {preview.filtered:,} would be filtered"
    if not preview.rejected:
        return f"{which}; none would be rejected."
    shown = len(preview.rejects)
    more = "" if shown >= preview.rejected else f" The first {shown:,}:"
    return painted(f"{which}; {preview.rejected:,} would be rejected.{more}", "yellow")
