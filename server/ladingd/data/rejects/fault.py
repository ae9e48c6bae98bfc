"""Faults of records, stored in columns: every record may have one."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.job import Connector, RejectType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ladingd.data.values.positions import Positions

_TEXTS = ("code", "message", "column", "value", "connector", "type")
_SCHEMA = pa.schema([("index", pa.int64()), *((name, pa.string()) for name in _TEXTS)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why a record is refused. ``index`` counts the records of the chunk from 0."""

    index: int
    code: str
    message: str
    column: str = ""
    value: str = ""
    connector: Connector = Connector.TEXT
    type: RejectType = RejectType.ERROR


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults as a record batch with a column for each field."""

    columns: pa.RecordBatch

    @classmethod
    def of(cls, faults: Sequence[Fault]) -> Faults:
        """A list of faults, in columns."""
        fields = [list(map(attrgetter(name), faults)) for name in _SCHEMA.names]
        return cls(pa.RecordBatch.from_arrays(list(map(pa.array, fields, _SCHEMA.types)), schema=_SCHEMA))

    @classmethod
    def alike(cls, indexes: Positions, **fields: str | pa.Array) -> Faults:
        """One fault for each of these records. A field given as text is the same in all of them."""
        texts = {"column": "", "value": "", "type": RejectType.ERROR, **fields}
        arrays = [
            pa.repeat(pa.scalar(str(text)), indexes.size) if isinstance(text, str) else text
            for text in (texts[name] for name in _TEXTS)
        ]
        return cls(pa.RecordBatch.from_arrays([pa.array(indexes, pa.int64()), *arrays], schema=_SCHEMA))

    @classmethod
    def joined(cls, parts: Sequence[Faults]) -> Faults:
        """All faults of the parts, one part after the other."""
        return cls(pa.concat_batches([cls.of([]).columns, *(part.columns for part in parts)]))

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def __iter__(self) -> Iterator[Fault]:
        for row in self.columns.to_pylist():
            yield Fault(**row | {"connector": Connector(row["connector"]), "type": RejectType(row["type"])})

    def __add__(self, other: Faults) -> Faults:
        if not len(other):
            return self
        return Faults(pa.concat_batches([self.columns, other.columns])) if len(self) else other

    @property
    def indexes(self) -> Positions:
        """The index of each fault's record."""
        return self.columns.column("index").to_numpy()  # type: ignore[no-any-return]

    def field(self, name: str) -> pa.Array:
        """One field of all faults."""
        return self.columns.column(name)

    def slice(self, first: int, number: int) -> Faults:
        """At most ``number`` faults from ``first`` on."""
        return Faults(self.columns.slice(first, number))

    def taken(self, rows: Positions, indexes: Positions) -> Faults:
        """These faults, with other indexes."""
        columns = self.columns.take(pa.array(rows))
        return Faults(columns.set_column(0, _SCHEMA.field(0), pa.array(indexes, pa.int64())))

    def extended(self, more: str) -> Faults:
        """These faults, with more in each message."""
        place = _SCHEMA.get_field_index("message")
        messages = pc.binary_join_element_wise(self.columns.column(place), more, "")
        return Faults(self.columns.set_column(place, _SCHEMA.field(place), messages))

    def in_order(self) -> Faults:
        """The same faults in the order of their records."""
        indexes = self.indexes
        if bool(np.all(indexes[1:] >= indexes[:-1])):
            return self
        order: Any = pa.array(np.argsort(indexes, kind="stable"))
        return Faults(self.columns.take(order))
