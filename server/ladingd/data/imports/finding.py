"""Describes what was detected in a file, in one line for people."""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING

from ladingd.data.values.notation import notation_of
from ladingd.data.values.types import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.plan import Column, ImportPlan
    from ladingd.data.imports.examination import Examination

_NAME = 80

_COLUMNS = 40
"""How many columns the line names. It counts the rest."""


_FILES = 20
"""How many files the line names. It counts the rest."""


def _fate(plan: ImportPlan) -> str:
    """What the import does to the table."""
    if plan.create_table:
        return "created"
    merge = plan.merge
    if merge is None:
        return "appended to"
    if merge.replace:
        return "some rows are replaced" if merge.rows else "all rows are replaced"
    keys = " or ".join(", ".join(map(_shown, key)) for key in (merge.key, merge.second_key) if key)
    return f"{merge.operation.lower().replace('_', ' ')} by {keys}"


def describe(plan: ImportPlan, files: Sequence[Examination], null_words: Sequence[str] = ()) -> str:
    """How the files are read, where their records go, and which findings are uncertain."""
    first = next(each for each in files if each.outline.names)
    parts = {
        **({"files": _files(files, first)} if len(files) > 1 else {}),
        **first.outline.detected,
        "table": f"{_shown(plan.target.table)} ({_fate(plan)})",
        "columns": _columns(plan),
    }
    filled = {column.source for column in plan.columns if column.from_file}
    if ignored := [field.name for field in plan.file_columns if field.name not in filled]:
        more = [f"{len(ignored) - _COLUMNS:,} more"] if len(ignored) > _COLUMNS else []
        parts["not imported"] = ", ".join([*map(_shown, ignored[:_COLUMNS]), *more])
    if plan.filter:
        parts["filter"] = _shown(" ".join(plan.filter.split()))
    if null_words:
        parts["null words"] = ", ".join(null_words)
    return "; ".join(f"{name}: {value}" for name, value in parts.items())


def _files(files: Sequence[Examination], first: Examination) -> str:
    """The files in their order, and what sets later ones apart from the first."""
    names = [each.file.name for each in files]
    directory = os.path.commonpath(map(os.path.dirname, names)) if all(map(os.path.isabs, names)) else ""
    named = [
        f"{_shown(os.path.relpath(each.file.name, directory or '.'))}{_apart(each, first)}" for each in files[:_FILES]
    ]
    more = [f"{len(files) - _FILES:,} more"] if len(files) > _FILES else []
    return f"{len(files):,}{' in ' + _shown(directory) if directory else ''}, in this order: " + ", ".join(
        [*named, *more]
    )


def _apart(file: Examination, first: Examination) -> str:
    """How a file is read in another way than the first one, in brackets."""
    if not file.outline.names:
        return " (empty)"
    found = [] if file.form is first.form else [file.form.title]
    found += [
        f"{name}: {what}"
        for name, what in file.outline.detected.items()
        if name != "format" and _without_doubt(first.outline.detected.get(name, "")) != _without_doubt(what)
    ]
    found += ["other order of columns"] if file.file.order else []
    return f" ({', '.join(found)})" if found and file is not first else ""


def _without_doubt(found: str) -> str:
    return found.partition(" (")[0]


def _columns(plan: ImportPlan) -> str:
    named = [_column(column) for column in plan.columns[:_COLUMNS]]
    more = len(plan.columns) - len(named)
    return ", ".join([*named, f"{more:,} more"] if more else named)


def _column(column: Column) -> str:
    """A column with its type, and how its values are written."""
    names = _shown(column.source)
    if column.source != column.target:
        names += f" as {_shown(column.target)}"
    if column.filled.expression:
        return f"{names} {column.type} (calculated)"
    if not column.notation:
        return f"{names} {column.type}"
    return f"{names} {column.type} ({notation_of(parse(column.type), column.notation).sample})"


def _shown(name: str) -> str:
    """A name without line ends, shortened to leave room for other names."""
    shortened = name if len(name) <= _NAME else f"{name[:_NAME]}…"
    return shortened if shortened.isprintable() else repr(shortened)
