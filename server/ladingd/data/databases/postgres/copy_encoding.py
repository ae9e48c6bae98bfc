"""Encodes record batches as the data of a COPY: binary, or text if the server must parse values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pgpq
import pgpq.encoders
import pgpq.schema
import pyarrow as pa
import pyarrow.csv as pacsv

from ladingd.data.values.decimals import decimal_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.databases.postgres.types import PgType

# pyarrow parses these strictly as ISO 8601. The server parses what pyarrow rejects.
_READ_FROM_TEXT = frozenset({"date", "time", "timestamp"})


def conform(column: pa.Array, kind: PgType) -> pa.Array:
    """The values as binary COPY accepts them, or else as text that the server parses."""
    if kind.takes(column.type) or (pa.types.is_string(column.type) and kind.base not in _READ_FROM_TEXT):
        return column
    is_integer = pa.types.is_integer(column.type) and pa.types.is_integer(kind.arrow)
    if not kind.is_array and (is_integer or kind.base in _READ_FROM_TEXT):
        try:
            return column.cast(kind.arrow)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass  # The server reports the values that it cannot parse.
    return decimal_text(column) if pa.types.is_decimal128(column.type) else column.cast(pa.string())


def encode(records: pa.RecordBatch, types: Sequence[PgType | None]) -> list[bytes]:
    """The data of one binary COPY. ``types`` are those of the columns; None sends text as text."""
    encoders = {
        field.name: pgpq.encoders.StringEncoderBuilder.new_with_output(field, pgpq.schema.Jsonb())
        if kind is not None and kind.base == "jsonb" and pa.types.is_string(field.type)
        else pgpq.ArrowToPostgresBinaryEncoder.infer_encoder(field)
        for field, kind in zip(records.schema, types, strict=True)
    }
    encoder = pgpq.ArrowToPostgresBinaryEncoder.new_with_encoders(records.schema, encoders)
    return [encoder.write_header(), encoder.write_batch(records), encoder.finish()]


def as_csv(records: pa.RecordBatch) -> list[bytes]:
    """The data of one COPY in CSV: quoted values, and nothing for NULL. Bytes are hexadecimal digits, which are valid
    for a uuid."""
    columns = [_digits(column) if pa.types.is_fixed_size_binary(column.type) else column for column in records.columns]
    plain = pa.RecordBatch.from_arrays(columns, names=records.schema.names)
    sink = pa.BufferOutputStream()
    pacsv.write_csv(plain, sink, pacsv.WriteOptions(include_header=False, quoting_style="all_valid"))
    return [sink.getvalue().to_pybytes()]


def _digits(column: pa.Array) -> pa.Array:
    return pa.array([None if value is None else value.hex() for value in column.to_pylist()], pa.string())
