"""The groups of rejects as people read them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from lading_client.cli.display.columns import aligned, printable, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lading_client.model import RejectGroup, RejectGroups

_HEADING = ("group", "rejects", "share", "column", "code", "pattern", "first lines", "values")
_CELL = 40
"""The widest column."""
_LEAST = 0.1
"""Smaller percentages are not told apart."""


def group_lines(found: RejectGroups) -> list[str]:
    """A table with a line for each group, and what to do next."""
    number = sum(group.count for group in found.groups)
    problems = "1 problem" if len(found.groups) == 1 else f"{len(found.groups):,} problems"
    rows = [_HEADING, *(_row(group, found) for group in found.groups)]
    width = shutil.get_terminal_size().columns
    table = [shortened(line, width) for line in aligned(rows, right=frozenset({1, 2}))]
    return [
        f"{number:,} reject{'' if number == 1 else 's'}, {problems}:",
        "",
        *table,
        "",
        "the rejects of a group: --group GROUP; every reject: --all",
    ]


def _row(group: RejectGroup, found: RejectGroups) -> Sequence[str]:
    files = {place.file for place in group.places}
    lines = [f"{place.line}" if len(files) == 1 else f"{place.file}:{place.line}" for place in group.places]
    texts = [group.column, group.code, group.pattern, ", ".join(lines)]
    values = [f"'{value}'" for value in group.values if value]
    shown = ", ".join(values) if values else group.message
    cells = [shortened(printable(text), _CELL) for text in (*texts, shown)]
    return [group.id, f"{group.count:,}", _share(group.count, found.read), *cells]


def _share(count: int, read: int) -> str:
    if not read:
        return ""
    percent = 100 * count / read
    return f"{percent:.1f} %" if percent >= _LEAST else f"< {_LEAST} %"
