"""Look-ups: enumerations give a table's value for each label of a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.values.casting import VALUE_CAP, Misfit, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ladingd.core.spec import Enumeration

NOT_IN_ENUMERATION = "NOT_IN_ENUMERATION"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lookup:
    """An enumeration, ready for columns of text."""

    name: str
    labels: pa.Array
    values: pa.Array
    default: str | None
    ignore_case: bool

    @classmethod
    def of(cls, name: str, enumeration: Enumeration) -> Lookup:
        """Raises ValueError if labels are ambiguous."""
        by_label: dict[str, str] = {}
        for label, value in enumeration.values.items():
            key = label.lower() if enumeration.ignore_case else label
            if by_label.setdefault(key, value) != value:
                raise ValueError(f"the label {label!r} has several values if case is ignored")
        return cls(
            name=name,
            labels=pa.array(by_label.keys(), pa.string()),
            values=pa.array(by_label.values(), pa.string()),
            default=enumeration.default_value,
            ignore_case=enumeration.ignore_case,
        )

    def replaced(self, texts: pa.Array) -> tuple[pa.Array, Mapping[int, Misfit]]:
        """The values for the labels, and the labels that have none. Nulls and empty values stay null."""
        keys = pc.utf8_lower(texts) if self.ignore_case else texts
        places = pc.index_in(keys, value_set=self.labels)
        found = self.values.take(places)
        unknown = pc.fill_null(pc.and_(pc.is_null(places), pc.greater(pc.binary_length(texts), 0)), False)
        if not pc.any(unknown, min_count=0).as_py():
            return found, {}
        if self.default is not None:
            return pc.if_else(unknown, pa.scalar(self.default, pa.string()), found), {}
        rows = pc.indices_nonzero(unknown)
        told: dict[str, Misfit] = {}
        misfits = {}
        for row, label in zip(rows.to_pylist(), texts.take(rows).to_pylist(), strict=True):
            if label not in told:
                shown = shorten(label.encode(), VALUE_CAP)
                told[label] = Misfit(
                    value=shown, code=NOT_IN_ENUMERATION, problem=f"is not in the enumeration {self.name}"
                )
            misfits[row] = told[label]
        return found, misfits
