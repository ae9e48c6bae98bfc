"""Describes what was detected in a file, in one line for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.data.values.notation import notation_of
from ladingd.data.values.types import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.plan import Column, ImportPlan
    from ladingd.data.formats.format import Outline

_NAME = 80

_COLUMNS = 40
"""How many columns the line names. It counts the rest."""


def describe(plan: ImportPlan, outline: Outline, null_words: Sequence[str] = ()) -> str:
    """How the file is read, where its records go, and which findings are uncertain."""
    parts = {
        **outline.detected,
        "table": f"{_shown(plan.target.table)} ({'created' if plan.create_table else 'appended to'})",
        "columns": _columns(plan),
    }
    if null_words:
        parts["null words"] = ", ".join(null_words)
    return "; ".join(f"{name}: {value}" for name, value in parts.items())


def _columns(plan: ImportPlan) -> str:
    named = [_column(column) for column in plan.columns[:_COLUMNS]]
    more = len(plan.columns) - len(named)
    return ", ".join([*named, f"{more:,} more"] if more else named)


def _column(column: Column) -> str:
    """A column with its type, and how its values are written."""
    names = _shown(column.source)
    if column.source != column.target:
        names += f" as {_shown(column.target)}"
    if not column.notation:
        return f"{names} {column.type}"
    return f"{names} {column.type} ({notation_of(parse(column.type), column.notation).sample})"


def _shown(name: str) -> str:
    """A name without line ends, shortened to leave room for other names."""
    shortened = name if len(name) <= _NAME else f"{name[:_NAME]}…"
    return shortened if shortened.isprintable() else repr(shortened)
