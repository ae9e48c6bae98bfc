"""Writes the rejects of a chunk as JSON lines, column by column: every record may be rejected.

The last line has the groups of them, so that nobody has to read the rejects to know the problems.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.files.encoding import readable
from ladingd.data.rejects.files import GROUPS
from ladingd.data.rejects.grouping import Grouping
from ladingd.data.storage.work_dir import sync_directory, write_durably, writing
from ladingd.data.values.casting import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

BLOCK = 1 << 14
"""How many rejects are written at a time."""
_FIRST_PRINTABLE = 0x20


def write_rejects(path: Path, lines: Iterable[pa.Buffer]) -> None:
    """Write the rejects of a chunk durably. They replace those of an earlier try."""
    pieces = iter(lines)
    first = next(pieces, None)
    if first is not None:
        write_durably(path, (piece for group in ((first,), pieces) for piece in group))
    elif path.exists():
        with writing(path.parent):
            path.unlink()
            sync_directory(path.parent)


def json_lines(blocks: Iterable[pa.RecordBatch]) -> Iterator[pa.Buffer]:
    """Rejects as JSON lines, and their groups in a last one. The keys are the names of the columns, in order, and then
    the group of the reject."""
    grouping = Grouping()
    for block in blocks:
        block = block.append_column("group", grouping.add(block))
        parts: list[pa.Array | str] = []
        separator = "{"
        for name, column in zip(block.schema.names, block.columns, strict=True):
            is_text = pa.types.is_string(column.type)
            mark = '"' if is_text else ""
            parts += [f'{separator}"{name}":{mark}', escaped(column) if is_text else column.cast(pa.string())]
            separator = f"{mark},"
        yield content(pc.binary_join_element_wise(*parts, f"{separator[:-1]}}}\n", ""))
    if grouping.groups:
        yield pa.py_buffer(json.dumps({GROUPS: [asdict(group) for group in grouping.groups]}).encode() + b"\n")


def texts(values: pa.Array) -> pa.Array:
    """Bytes as text, with U+FFFD for bytes that are not UTF-8."""
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([readable(value) for value in values.to_pylist()], pa.string())


def shortened(values: pa.Array, cap: int) -> pa.Array:
    """Texts, each shortened as `shorten` does."""
    if not len(values) or pc.max(pc.binary_length(values)).as_py() <= cap:
        return values
    return pa.array([shorten(value.encode(), cap) for value in values.to_pylist()], pa.string())


def escaped(column: pa.Array) -> pa.Array:
    """Texts, escaped as JSON strings without their quotes."""
    codes = np.frombuffer(content(column), np.uint8)
    if codes.size and codes.min() < _FIRST_PRINTABLE:
        return pa.array([encode_basestring(text)[1:-1] for text in column.to_pylist()], pa.string())
    for mark in ("\\", '"'):
        if (codes == ord(mark)).any():
            column = pc.replace_substring(column, mark, f"\\{mark}")
    return column


def content(column: pa.Array) -> pa.Buffer:
    """The concatenated bytes of a column of texts without nulls."""
    _, offsets, data = column.buffers()
    if not len(column) or data is None:
        return pa.py_buffer(b"")
    bounds = np.frombuffer(offsets, np.int32)
    first, end = int(bounds[column.offset]), int(bounds[column.offset + len(column)])
    return data.slice(first, end - first)
