"""Reads one column of a file as its plan says: null words, notation, type."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.values.casting import Cast, Known, cast
from ladingd.data.values.converters import Reading, after_christ, only
from ladingd.data.values.notation import Notation, cast_written, notation_of
from ladingd.data.values.null_words import null_words
from ladingd.data.values.texts import as_text
from ladingd.data.values.types import TEXT

if TYPE_CHECKING:
    from ladingd.core.plan import Column, ImportPlan
    from ladingd.data.values.notation import Written


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnReading:
    """How the fields of a column become values of the target."""

    reading: Reading
    notation: Notation | None
    words: frozenset[str]
    """The words of the user, which are null even if they look like values."""
    nulls: frozenset[str]
    """The words that are null if they are no values of the type."""

    @classmethod
    def of(cls, plan: ImportPlan, column: Column, reading: Reading) -> ColumnReading:
        """How a column of a plan is read."""
        return cls(
            reading=reading,
            notation=notation_of(reading.kind, column.notation) if column.notation else None,
            words=frozenset(plan.null_words),
            nulls=null_words(reading.kind, (), plan.typed_null_words),
        )

    def read(
        self, values: pa.Array, known: Known | None = None, *, nul: bool = True, nulled: bool = False
    ) -> Cast | Written:
        """Convert values. Those that the format has typed stay as they are.

        ``nulled``: in a column of text, the words of the user are null already.
        """
        if self.words and not (nulled and self.reading.kind == TEXT):
            values = _without(values, self.words)
        if not is_text(values):
            return self._of_typed(values, known)
        if self.notation is not None:
            return cast_written(values, self.reading, self.notation, nul=nul, nulls=self.nulls)
        return cast(values, self.reading, known, nul=nul, nulls=self.nulls)

    def _of_typed(self, values: pa.Array, known: Known | None) -> Cast:
        wanted = self.reading.convert(pa.array([], pa.string())).type
        if _is_exact(values.type) and _is_exact(wanted):
            with suppress(pa.ArrowInvalid):  # Out of range: converting the text finds the values.
                values = pc.cast(values, wanted)
        if values.type == wanted and _is_in_range(values):
            return Cast(values=values, misfits={})
        return cast(as_text(values), self.reading, known, nul=False, nulls=self.nulls)


def is_text(values: pa.Array) -> bool:
    """Whether values are text, or bytes that are not all UTF-8."""
    return bool(pa.types.is_string(values.type) or pa.types.is_binary(values.type))


def _is_exact(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _is_in_range(values: pa.Array) -> bool:
    """Whether the values are finite and after the year 0. Other ones are judged by their text."""
    if pa.types.is_floating(values.type):
        return pc.all(pc.is_finite(values), min_count=0).as_py() is not False
    if pa.types.is_date(values.type) or pa.types.is_timestamp(values.type):
        with suppress(pa.ArrowInvalid):
            return after_christ(values) is not None
        return False
    return True


def _without(values: pa.Array, words: frozenset[str]) -> pa.Array:
    kind = values.type if is_text(values) else pa.string()
    texts = values if is_text(values) else as_text(values)
    return only(values, pc.invert(pc.is_in(texts, value_set=pa.array(sorted(words), pa.string()).cast(kind))))
