"""Writes rows with the types of their columns.

The chunks of an export are one Arrow stream, to which record batches are appended. The file is made of it in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import pyarrow as pa

from ladingd.core.errors import SourceUnreadable
from ladingd.core.plan import Column
from ladingd.data.formats.format import Writer
from ladingd.data.values import types as field_type
from ladingd.data.values.casting import cast
from ladingd.data.values.converters import natural, typed
from ladingd.data.values.types import FieldType, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

_GROUP_BYTES = 64 << 20
_GROUP_ROWS = 100_000


@dataclass(frozen=True, kw_only=True)
class ColumnarWriter(Writer):
    """Writes each batch of rows as a message of an Arrow stream."""

    appendable: ClassVar[bool] = False
    title: ClassVar[str]
    columns: Sequence[Column]

    def header(self) -> bytes:
        return self.schema.serialize().to_pybytes()  # type: ignore[no-any-return]

    def records(self, columns: Sequence[pa.Array]) -> list[bytes | memoryview]:
        values = [self._typed(column, texts) for column, texts in zip(self.columns, columns, strict=True)]
        return [memoryview(pa.RecordBatch.from_arrays(values, schema=self.schema).serialize())]

    @property
    def schema(self) -> pa.Schema:
        """The columns with the types in the file."""
        return pa.schema([(column.target, natural(_kind_of(column))) for column in self.columns])

    def _typed(self, column: Column, texts: pa.Array) -> pa.Array:
        outcome = cast(texts, typed(_kind_of(column)))
        if outcome.misfits:
            first = next(iter(outcome.misfits.values()))
            raise SourceUnreadable(
                f"column {column.target} is exported as {column.type}, and {first.message}, so {self.title} cannot "
                "hold it: export to CSV or JSON Lines"
            )
        return outcome.values


def _kind_of(column: Column) -> FieldType:
    kind = field_type.parse(column.type)
    return field_type.TEXT if kind.kind is Kind.UUID else kind


def batches(rows: BinaryIO) -> Iterator[pa.RecordBatch]:
    """The rows that a columnar writer has written, in batches."""
    with pa.ipc.open_stream(rows) as stream:
        yield from stream


def groups(rows: BinaryIO, schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in groups of a size that is read fast."""
    group: list[pa.RecordBatch] = []
    for batch in batches(rows):
        for first in range(0, batch.num_rows, _GROUP_ROWS):
            group.append(batch.slice(first, _GROUP_ROWS))
            if (
                sum(part.num_rows for part in group) >= _GROUP_ROWS
                or sum(part.get_total_buffer_size() for part in group) >= _GROUP_BYTES
            ):
                yield pa.Table.from_batches(group, schema)
                group = []
    if group:
        yield pa.Table.from_batches(group, schema)
