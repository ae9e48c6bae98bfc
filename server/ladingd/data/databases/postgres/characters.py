"""Rejects texts with characters that the database's encoding lacks. The server would refuse the whole COPY."""

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
"""Encodings in which the server stores every text unchanged."""
NOT_IN_ENCODING = "NOT_IN_ENCODING"


def encoding(session: Session) -> str:
    """The server's name of the database's encoding."""
    return str(session.rows("SELECT current_setting('server_encoding')")[0][0])


def keepable(batch: Batch, encoding: str) -> Batch:
    """The batch without records with a character that the encoding lacks. These records become faults of the batch."""
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
                    message=f"the database stores text as {encoding}, which lacks {lacking!r} (U+{ord(lacking):04X})",
                    column=batch.plan.columns[place].source,
                    value=shorten(text.encode(), VALUE_CAP),
                    connector=Connector.DATABASE,
                )
    if not refused:
        return batch
    columns, indexes = leave_out(list(batch.records.columns), batch.indexes, np.array(sorted(refused), np.int64))
    return replace(batch.with_records(columns, indexes), faults=[*batch.faults, *refused.values()])


def _codec(encoding: str) -> str | None:
    """Python's codec for an encoding; None if the encoding has every character or Python does not know it."""
    if encoding in _ALL:
        return None
    try:
        return codecs.lookup(encoding.replace("WIN", "cp").replace("KOI8", "koi8_")).name
    except LookupError:
        return None


def _lacking(text: str, codec: str) -> str:
    """The first character of a text that the codec lacks; empty if there is none."""
    try:
        text.encode(codec)
    except UnicodeEncodeError as error:
        return text[error.start]
    return ""
