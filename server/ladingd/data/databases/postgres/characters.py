"""Texts with characters that the encoding of a database lacks. The server refuses a whole COPY for one of them."""

from __future__ import annotations

import codecs
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.job import Connector
from ladingd.data.mapping.batch import Batch, leave_out
from ladingd.data.rejects.fault import Fault
from ladingd.data.values.casting import VALUE_CAP, shorten

if TYPE_CHECKING:
    from ladingd.data.databases.postgres.session import Session

_ALL = frozenset({"UTF8", "SQL_ASCII"})
"""Encodings in which the server keeps every text as it is sent."""
NOT_IN_ENCODING = "NOT_IN_ENCODING"


def encoding(session: Session) -> str:
    """The encoding of the database, as the server calls it."""
    return str(session.rows("SELECT current_setting('server_encoding')")[0][0])


def keepable(batch: Batch, encoding: str) -> Batch:
    """The batch without the records that have a character which the encoding lacks; these are among its faults."""
    codec = _codec(encoding)
    if codec is None:
        return batch
    refused: dict[int, Fault] = {}
    for place, column in enumerate(batch.records.columns):
        if not pa.types.is_string(column.type):
            continue
        for row in pc.indices_nonzero(pc.invert(pc.string_is_ascii(column))).to_pylist():
            text = column[row].as_py()
            lacking = _lacking(text, codec)
            if lacking and row not in refused:
                refused[row] = Fault(
                    index=int(batch.indexes[row]),
                    code=NOT_IN_ENCODING,
                    message=f"the database keeps text as {encoding}, which has no {lacking!r} (U+{ord(lacking):04X})",
                    column=batch.plan.columns[place].source,
                    value=shorten(text.encode(), VALUE_CAP),
                    connector=Connector.DATABASE,
                )
    if not refused:
        return batch
    columns, indexes = leave_out(list(batch.records.columns), batch.indexes, np.array(sorted(refused), np.int64))
    return replace(batch.with_records(columns, indexes), faults=[*batch.faults, *refused.values()])


def _codec(encoding: str) -> str | None:
    """Python's codec for an encoding; None for one that has every character, or that only the server knows."""
    if encoding in _ALL:
        return None
    try:
        return codecs.lookup(encoding.replace("WIN", "cp").replace("KOI8", "koi8_")).name
    except LookupError:
        return None


def _lacking(text: str, codec: str) -> str:
    """The first character of a text that a codec lacks; empty if it has all."""
    try:
        text.encode(codec)
    except UnicodeEncodeError as error:
        return text[error.start]
    return ""
