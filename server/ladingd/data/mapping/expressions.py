"""The expressions of a plan: its filter and its calculated columns."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ladingd.core.plan import Column
from ladingd.data.mapping.evaluator import Evaluated, Expression, evaluator
from ladingd.data.mapping.syntax import BadExpression
from ladingd.data.values import types as field_type
from ladingd.data.values.converters import natural
from ladingd.data.values.types import TEXT, FieldType, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ladingd.core.plan import Chunk, ImportPlan
    from ladingd.data.formats.format import Piece

EXPRESSION_FAILED = "EXPRESSION_FAILED"

FILE, LINE, RECORD = "lading_file", "lading_line", "lading_record"
PLACES: Mapping[str, FieldType] = {
    FILE: TEXT,
    LINE: FieldType(kind=Kind.INTEGER),
    RECORD: FieldType(kind=Kind.INTEGER),
}
"""Columns that every record has in expressions: the file, the line that it starts on, and its number in the file. A
column of the file with such a name hides them."""

TODAY, NOW = "today", "now"
"""Variables that every plan has."""


def variables_of(given: Mapping[str, str], now: datetime) -> dict[str, str]:
    """The variables of a plan that is made now. Raises ValueError for a ``today`` or ``now`` that is none."""
    variables = {TODAY: now.date().isoformat(), NOW: now.strftime("%Y-%m-%d %H:%M:%S"), **given}
    try:
        bound(variables)
    except ValueError:
        raise ValueError(
            f"$today is a date (YYYY-MM-DD) and $now a timestamp, not {variables[TODAY]!r} and {variables[NOW]!r}"
        ) from None
    return variables


def bound(variables: Mapping[str, str]) -> dict[str, Any]:
    """The values of the variables in DuckDB."""
    now = datetime.fromisoformat(variables[NOW])
    return {
        **variables,
        TODAY: date.fromisoformat(variables[TODAY]),
        NOW: now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now,
    }


def seen_kind(kind: FieldType) -> FieldType:
    """The type as which expressions see values of a type."""
    return TEXT if kind.kind is Kind.UUID else kind


def source_columns(plan: ImportPlan) -> dict[str, Column]:
    """The column as which expressions see each field of the files: the first that it fills, else itself."""
    seen = {
        field.name: Column(
            source=field.name, target=field.name, type=field.type, notation=field.notation, inferred=field.inferred
        )
        for field in plan.file_columns
    }
    for column in reversed(plan.columns):
        if column.from_file:
            seen[column.source] = column
    return seen


def title_of(target: str) -> str:
    """What messages call the expression of a column of the table."""
    return f"the expression of {target}"


def parsed(plan: ImportPlan, text: str, title: str) -> Expression:
    """An expression of a plan. Raises BadExpression."""
    names = dict.fromkeys([*(field.name for field in plan.file_columns), *PLACES])
    return _parsed(text, title, tuple(names), tuple(plan.variables))


def used_in(plan: ImportPlan) -> set[str]:
    """The columns of the files that the expressions of a plan read."""
    texts = [(plan.filter, "the filter")]
    texts += [(column.filled.expression, title_of(column.target)) for column in plan.columns]
    return {name for text, title in texts if text for name in parsed(plan, text, title).needs.columns}


@lru_cache(maxsize=64)
def _parsed(text: str, title: str, columns: tuple[str, ...], variables: tuple[str, ...]) -> Expression:
    found = evaluator().parsed(text, title, columns, variables)
    lowered = [name.lower() for name in found.needs.columns]
    if twice := [name for name in found.needs.columns if lowered.count(name.lower()) > 1]:
        raise BadExpression(f"columns whose names differ only in case cannot be used together: {', '.join(twice)}")
    return found


def kind_of(plan: ImportPlan, expression: Expression) -> str:
    """DuckDB's type of the values of an expression. Raises BadExpression."""
    seen = source_columns(plan)
    kinds = {name: PLACES.get(name) for name in expression.needs.columns}
    kinds |= {name: seen_kind(field_type.parse(seen[name].type)) for name in expression.needs.columns if name in seen}
    arrays = [pa.array([], natural(kind or TEXT)) for kind in kinds.values()]
    return evaluator().kind(expression, _table(list(kinds), arrays, 0), bound(plan.variables))


_KINDS = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"), "integer"),
    **dict.fromkeys(("HUGEINT", "UBIGINT"), "decimal(38,0)"),
    **dict.fromkeys(("FLOAT", "DOUBLE"), "real"),
    **dict.fromkeys(("VARCHAR", "JSON", '"NULL"', "NULL"), "text"),
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"), "timestamp"),
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "UUID": "uuid",
}


def type_of(kind: str) -> FieldType:
    """The type of the column for values of a type of DuckDB. Raises BadExpression."""
    if kind.startswith("DECIMAL"):
        return field_type.parse(kind.lower())
    if kind not in _KINDS:
        raise BadExpression(f"its values are {kind}, which no column can store; use CAST(… AS VARCHAR)")
    return field_type.parse(_KINDS[kind])


def evaluated(
    plan: ImportPlan, expression: Expression, inputs: Mapping[str, pa.Array], piece: Piece, chunk: Chunk
) -> Evaluated:
    """The values of an expression. ``inputs``: those of the fields that it needs. Raises ExpressionStopped."""
    arrays = [inputs[name] if name in inputs else _place(plan, name, piece, chunk) for name in expression.needs.columns]
    records = _table(expression.needs.columns, arrays, piece.indexes.size)
    if not piece.indexes.size:
        return Evaluated(values=pa.nulls(0))
    return evaluator().values(expression, records, bound(plan.variables))


def _table(names: Sequence[str], arrays: Sequence[pa.Array], rows: int) -> pa.Table:
    if not names:  # DuckDB must still see the rows.
        return pa.table({"lading row": pa.array(np.zeros(rows, np.int8))})
    return pa.table(list(arrays), names=list(names))


def _place(plan: ImportPlan, name: str, piece: Piece, chunk: Chunk) -> pa.Array:
    if name == FILE:
        return pa.repeat(plan.file.path, piece.indexes.size)
    if name == LINE:
        return pa.array(piece.origins.lines(piece.indexes), pa.int64())
    return pa.array(chunk.first_record + piece.indexes, pa.int64())
