"""Checks an export against its real table and destination, before anything runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import Column, Dialect, ExportPlan
from ladingd.core.spec import Header
from ladingd.data.connection import database_path, find_connection
from ladingd.data.detection import check_format
from ladingd.data.field_type import Affinity, of_declaration
from ladingd.data.files import destination_path
from ladingd.data.sqlite.database import connected, statement
from ladingd.data.sqlite.table_rows import CAREFUL_COLUMNS, LAST_KEY
from ladingd.data.target_columns import check_schema, fold

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ladingd.core.spec import ExportSpec
    from ladingd.data.connection import Connection
    from ladingd.data.sqlite.database import TableShape

_FIELD = "source.table"
_NAMES = 5


def plan_export(spec: ExportSpec, connections: Mapping[str, Connection], roots: Mapping[str, Path]) -> ExportPlan:
    """Make the plan. Raises InvalidSpec; changes nothing."""
    if spec.chunk_keys < 1:
        raise InvalidSpec("chunk_keys", "must be greater than 0")
    check_format(spec.csv)
    check_schema(spec.source, "source")
    database = database_path(
        find_connection(connections, spec.source.connection, "source.connection"), "source.connection"
    )
    _check_destination(destination_path(roots, spec.file), overwrite=spec.overwrite)
    missing = InvalidSpec(_FIELD, f"there is no table {spec.source.table!r} in connection {spec.source.connection!r}")
    if not database.exists():
        raise missing
    with connected(database, read_only=True) as connection:
        shape = connection.shape(spec.source.table)
        if shape is None:
            raise missing
        key = _key(shape)
        if key is None and len(shape.columns) > CAREFUL_COLUMNS:
            raise InvalidSpec(
                _FIELD, f"{shape.name} has no rowid; then at most {CAREFUL_COLUMNS:,} columns can be exported"
            )
        start, end = 0, 1
        if key is not None:
            text = statement("SELECT min({key}), max({key}) FROM {table}", key=key, table=shape.name)
            lowest, highest = connection.rows(text)[0]
            start, end = (0, 0) if lowest is None else (lowest, min(highest + 1, LAST_KEY))
    return ExportPlan(
        source=spec.source,
        columns=tuple(
            Column(
                source=column.name,
                target=column.name,
                type=str(of_declaration(column.declared)),
                nullable=column.nullable,
            )
            for column in shape.columns
        ),
        key=key,
        file=spec.file,
        dialect=Dialect(delimiter=spec.csv.delimiter or ",", quote=spec.csv.quote or '"'),
        header=spec.csv.header is not Header.ABSENT,
        overwrite=spec.overwrite,
        start=start,
        end=end,
        chunk_keys=spec.chunk_keys,
        notes=_notes(shape, key),
    )


def _key(shape: TableShape) -> str | None:
    """A name of the rowid that no column has taken."""
    taken = {fold(column.name) for column in shape.columns}
    return next((name for name in ("rowid", "_rowid_", "oid") if shape.has_rowid and name not in taken), None)


def _notes(shape: TableShape, key: str | None) -> tuple[str, ...]:
    notes = []
    if key is None:
        notes.append(f"{shape.name} has no rowid: it is exported in one chunk, and a restart begins anew")
    kept_as_they_are = [column.name for column in shape.columns if column.affinity is Affinity.BLOB]
    if kept_as_they_are and not shape.is_view and not shape.is_virtual:
        names = ", ".join(kept_as_they_are[:_NAMES]) + (", ..." if len(kept_as_they_are) > _NAMES else "")
        notes.append(f"columns for values of any kind ({names}): the file does not tell text from numbers and bytes")
    if len(shape.columns) == 1 and shape.columns[0].nullable:
        notes.append('a NULL is written as "", as an empty line would be no record; in a text column it reads as empty')
    return tuple(notes)


def _check_destination(path: Path, *, overwrite: bool) -> None:
    if path.is_dir():
        raise InvalidSpec("file.path", f"{path.name} is a directory")
    if os.path.lexists(path) and not overwrite:
        raise InvalidSpec("file.path", f"{path.name} exists; --overwrite replaces it")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InvalidSpec("file.path", f"the daemon may not write into the directory of {path.name}")
