"""Columns within nested objects: what pyarrow must look for, and where it puts the values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.formats.lines import in_one_piece

if TYPE_CHECKING:
    from collections.abc import Sequence

Path = tuple[str, ...]
"""The keys from the record to a value."""

_Tree = dict[str, "pa.DataType | _Tree"]


def paths_of(names: Sequence[str], head: bytes) -> list[Path]:
    """The path that each name seems to mean. Dots divide it unless they occur in a key in ``head``.

    A record with another path is not read by pyarrow, but it is read.
    """
    return [_path(name.split("."), head) for name in names]


def _path(parts: list[str], head: bytes) -> Path:
    if len(parts) == 1:
        return (parts[0],)
    for length in range(len(parts), 1, -1):
        key = ".".join(parts[:length])
        if json.dumps(key, ensure_ascii=False).encode() in head:
            return (key, *(_path(parts[length:], head) if length < len(parts) else ()))
    return (parts[0], *_path(parts[1:], head))


def schema_of(paths: Sequence[Path], types: Sequence[pa.DataType]) -> pa.Schema:
    """The schema of the records. A value is left out that would have to be an object as well."""
    tree: _Tree = {}
    for path, kind in sorted(zip(paths, types, strict=True), key=lambda each: -len(each[0])):  # Objects come first.
        place: Any = tree
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place.setdefault(path[-1], kind)
    return pa.schema(_fields(tree))


def _fields(tree: _Tree) -> list[pa.Field]:
    return [
        pa.field(key, pa.struct(_fields(value)) if isinstance(value, dict) else value) for key, value in tree.items()
    ]


def columns_at(table: pa.Table, paths: Sequence[Path], types: Sequence[pa.DataType]) -> list[pa.Array]:
    """The columns that pyarrow has read."""
    return [
        _nested(in_one_piece(table[path[0]]), path[1:], kind, table.num_rows)
        for path, kind in zip(paths, types, strict=True)
    ]


def _nested(column: pa.Array, path: Path, kind: pa.DataType, rows: int) -> pa.Array:
    values = pc.struct_field(column, list(path)) if path else column
    return pa.nulls(rows, kind) if pa.types.is_struct(values.type) else values
