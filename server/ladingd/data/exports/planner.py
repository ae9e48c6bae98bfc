"""Checks an export against its real table and destination before anything runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.files import UPLOADS
from ladingd.core.plan import ExportPlan
from ladingd.data.databases.connection import find_connection
from ladingd.data.databases.registry import source_of
from ladingd.data.files.own_files import Guard
from ladingd.data.files.roots import PathRefused, destination_directory, destination_path
from ladingd.data.formats.registry import format_to_write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ladingd.core.spec import ExportSpec
    from ladingd.data.databases.connection import Connection
    from ladingd.data.files.uploads.quota import UploadRoom
    from ladingd.data.storage.work_dir import WorkDir


def plan_export(
    spec: ExportSpec,
    connections: Mapping[str, Connection],
    roots: Mapping[str, Path],
    own_files: Mapping[str, Path],
    work_dir: WorkDir,
    upload_room: UploadRoom | None = None,
) -> ExportPlan:
    """Make the plan without changing anything. Raises InvalidSpec, and QuotaExceeded if the room for downloads is used
    up."""
    if spec.chunk_keys < 1:
        raise InvalidSpec("chunk_keys", "must be greater than 0")
    form = format_to_write(spec)
    form.check(spec)
    if upload_room is not None and spec.file.root == UPLOADS:
        upload_room.check(1)
    source = source_of(find_connection(connections, spec.source.connection, "source.connection"), work_dir)
    _check_destination(roots, own_files, spec)
    table = source.inspect(spec.source)
    layout = form.layout(spec, table.columns)
    notes = table.notes
    if form.writer(layout, table.columns).delimited and len(table.columns) == 1 and table.columns[0].nullable:
        note = 'a NULL is written as "", as an empty line would be no record; in a text column it reads as empty'
        notes = (*notes, note)
    return ExportPlan(
        source=spec.source,
        columns=table.columns,
        key=table.key,
        file=spec.file,
        layout=layout,
        overwrite=spec.overwrite,
        start=table.start,
        end=table.end,
        chunk_keys=spec.chunk_keys,
        consistent=spec.consistent,
        notes=notes,
        identity=table.identity,
    )


_NAME_BYTES = 200
"""File systems allow 255. The name of the draft contains the job's uid too."""


def _check_destination(roots: Mapping[str, Path], own_files: Mapping[str, Path], spec: ExportSpec) -> None:
    path = destination_path(roots, spec.file)
    if len(os.fsencode(path.name)) > _NAME_BYTES:
        raise InvalidSpec("file.path", f"a file name may have {_NAME_BYTES} bytes at most")
    if not path.parent.exists():
        return  # The directory of a download is created when the job begins.
    directory = destination_directory(roots, spec.file)
    try:
        directory.check_writable(path.name, Guard.of(own_files, roots, spec.file))
        there = directory.look(path.name) is not None
    except PathRefused as error:
        raise InvalidSpec("file.path", error.problem) from error
    except OSError as error:
        raise InvalidSpec("file.path", f"{path.name} cannot be accessed: {error.strerror}") from error
    if there and not spec.overwrite:
        raise InvalidSpec("file.path", f"{path.name} exists; --overwrite replaces it")
    if not os.access(directory.path, os.W_OK | os.X_OK):
        raise InvalidSpec("file.path", f"the daemon may not write into the directory of {path.name}")
