"""Reads one column of a file as its plan says: null words, transformations, look-up, notation, type, default."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.mapping.lookups import Lookup
from ladingd.data.mapping.transformations import Transformation, transformation, transformed
from ladingd.data.values.casting import Cast, Known, Misfit, cast
from ladingd.data.values.converters import Reading, after_christ, only, typed
from ladingd.data.values.notation import Notation, Written, cast_written, notation_of
from ladingd.data.values.null_words import null_words
from ladingd.data.values.texts import as_text
from ladingd.data.values.types import TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ladingd.core.plan import Column, ImportPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """What is done to the text of values before they are converted."""

    steps: Sequence[Transformation]
    lookup: Lookup | None

    @classmethod
    def of(cls, plan: ImportPlan, column: Column) -> Preparation | None:
        """None: nothing is done."""
        if not column.filled.prepares:
            return None
        lookup = (
            Lookup.of(column.filled.lookup, plan.enumerations[column.filled.lookup]) if column.filled.lookup else None
        )
        return cls(steps=[*map(transformation, column.filled.transformations)], lookup=lookup)

    def apply(self, values: pa.Array, *, nul: bool) -> tuple[pa.Array, Mapping[int, Misfit]]:
        """The prepared text, null where there is none or a value cannot be handled, and these values."""
        legible = cast(as_text(values), typed(TEXT), nul=nul)
        texts, misfits = transformed(legible.values, self.steps)
        if self.lookup is not None:
            texts, unknown = self.lookup.replaced(texts)
            misfits = {**unknown, **misfits}
        return texts, {**misfits, **legible.misfits} if legible.misfits else misfits


def prepared(plan: ImportPlan, column: Column, values: pa.Array) -> pa.Array:
    """Values as they are before they are converted: without the null words of their column, and transformed."""
    if column.filled.null_words:
        values = _without(values, frozenset(column.filled.null_words))
    preparation = Preparation.of(plan, column)
    return values if preparation is None else preparation.apply(values, nul=True)[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnReading:
    """How the fields of a column become values of the target."""

    reading: Reading
    notation: Notation | None
    words: frozenset[str]
    """The words of the user, which are null even if they look like values."""
    own_words: frozenset[str]
    """Those of them that are null in this column only."""
    nulls: frozenset[str]
    """The words that are null if they are no values of the type."""
    preparation: Preparation | None = None
    default: str | None = None
    """What an empty field becomes."""

    @classmethod
    def of(cls, plan: ImportPlan, column: Column, reading: Reading) -> ColumnReading:
        """How a column of a plan is read."""
        own = frozenset(column.filled.null_words)
        calculated = bool(column.filled.expression)
        return cls(
            reading=reading,
            notation=notation_of(reading.kind, column.notation) if column.notation else None,
            words=own if calculated else own | frozenset(plan.null_words),
            own_words=own,
            nulls=frozenset() if calculated else null_words(reading.kind, (), plan.typed_null_words),
            preparation=Preparation.of(plan, column),
            default=column.filled.default,
        )

    def read(
        self, values: pa.Array, known: Known | None = None, *, nul: bool = True, nulled: bool = False
    ) -> Cast | Written:
        """Convert values. Those that the format has typed stay as they are, unless they are prepared as text.

        ``nulled``: in a column of text, the words of the user are null already.
        """
        words = self.own_words if nulled and self.reading.kind == TEXT else self.words
        if words:
            values = _without(values, words)
        if self.preparation is None:
            return self._converted(values, known, nul=nul)
        texts, misfits = self.preparation.apply(values, nul=nul)
        outcome = self._converted(texts, known, nul=False)
        spelled = outcome.texts if isinstance(outcome, Written) else texts
        if misfits:
            misfits = dict(sorted({**outcome.misfits, **misfits}.items()))
        return Written(values=outcome.values, misfits=misfits or outcome.misfits, texts=spelled)

    def filled(self, values: pa.Array) -> pa.Array:
        """The values, with the default where a field is empty."""
        if self.default is None:
            return values
        (default,) = self._converted(pa.array([self.default], pa.string()), None, nul=False).values
        if is_text(values):
            empty = pc.fill_null(pc.equal(pc.binary_length(values), 0), True)
            return pc.if_else(empty, default, values) if pc.any(empty, min_count=0).as_py() else values
        return pc.fill_null(values, default) if values.null_count else values

    def default_misfit(self) -> Misfit | None:
        """What is wrong with the default; None: nothing."""
        if self.default is None:
            return None
        misfits = self._converted(pa.array([self.default], pa.string()), None, nul=True).misfits
        return misfits.get(0)

    def _converted(self, values: pa.Array, known: Known | None, *, nul: bool) -> Cast | Written:
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
