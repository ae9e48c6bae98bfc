"""Describes what was detected in a file, in one line for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ladingd.core.plan import ImportPlan
    from ladingd.data.formats.format import Outline

_NAME = 80

_COLUMNS = 40
"""How many columns the line names. It counts the rest."""


def describe(plan: ImportPlan, outline: Outline) -> str:
    """How the file is read, where its records go, and which findings are uncertain."""
    parts = {
        **outline.detected,
        "table": f"{_shown(plan.target.table)} ({'created' if plan.create_table else 'appended to'})",
        "columns": _columns(plan),
    }
    return "; ".join(f"{name}: {value}" for name, value in parts.items())


def _columns(plan: ImportPlan) -> str:
    named = [
        f"{_shown(column.source)} {column.type}"
        if column.source == column.target
        else f"{_shown(column.source)} as {_shown(column.target)} {column.type}"
        for column in plan.columns[:_COLUMNS]
    ]
    more = len(plan.columns) - len(named)
    return ", ".join([*named, f"{more:,} more"] if more else named)


def _shown(name: str) -> str:
    """A name without line ends, shortened to leave room for other names."""
    shortened = name if len(name) <= _NAME else f"{name[:_NAME]}…"
    return shortened if shortened.isprintable() else repr(shortened)
