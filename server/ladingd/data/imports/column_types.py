"""Decides on the types and notations of the columns of an import, and says what is uncertain."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import Column
from ladingd.data.imports.survey import THREADS
from ladingd.data.mapping.column_reading import ColumnReading, is_text
from ladingd.data.mapping.wishes import closest
from ladingd.data.values import types as field_type
from ladingd.data.values.inference import Finding, find_notation, find_type, settle
from ladingd.data.values.names import fold
from ladingd.data.values.notation import notation_of
from ladingd.data.values.null_words import count_words
from ladingd.data.values.types import TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from ladingd.core.plan import ImportPlan
    from ladingd.core.spec import ImportSpec
    from ladingd.data.databases.target import Target
    from ladingd.data.imports.sample import Sample
    from ladingd.data.values.converters import Reading
    from ladingd.data.values.types import FieldType


T = TypeVar("T")


def wanted_types(spec: ImportSpec, names: Sequence[str], path: str, target: Target) -> dict[str, Finding]:
    """The types that a spec wants, by the name of a column of the file, else by that of a column of the table that the
    spec names. Raises InvalidSpec."""
    by_fold = {fold(name): name for name in (*(wish.target for wish in spec.columns if wish.target), *names)}
    types: dict[str, Finding] = {}
    for wanted, spelled in spec.types.items():
        name = by_fold.get(fold(wanted))
        if name is None:
            raise InvalidSpec(f"types.{wanted}", f"{path} has no column {wanted!r}{closest(wanted, names)}")
        try:
            kind, notation = field_type.split(spelled)
            if notation:
                notation_of(kind, notation)
            types[name] = Finding(type=kind, notation=notation)
            target.check_type(kind)
        except ValueError as error:
            raise InvalidSpec(f"types.{wanted}", str(error)) from error
    return types


def new_types(plan: ImportPlan, names: Sequence[str], sample: Sample, wanted: Mapping[str, Finding]) -> list[Finding]:
    """The types of the columns of a new table."""
    words = (*plan.null_words, *plan.typed_null_words)

    def find(name: str, values: pa.Array) -> Finding:
        if name in wanted:
            return _notated(values, wanted[name], words)
        return Finding(type=sample.types[name]) if name in sample.types else find_type(values, words)

    return settle(_side_by_side(find, names, sample.columns), sample.decimal_mark)


def storable_types(plan: ImportPlan, sample: Sample, target: Target) -> dict[str, FieldType]:
    """The types that the files declare; text for those whose values the target cannot store."""
    types = {name: kind if _is_known(kind, target) else TEXT for name, kind in sample.types.items()}
    columns = tuple(Column(source=name, target=name, type=str(kind)) for name, kind in types.items())
    plan = replace(plan, columns=columns)
    ways = [ColumnReading.of(plan, *pair) for pair in zip(columns, target.readings(plan), strict=True)]
    values = dict(zip(sample.names, sample.columns, strict=True))
    outcomes = _side_by_side(ColumnReading.read, ways, [values[name] for name in types])
    return {
        name: TEXT if outcome.misfits and not sample.inferred else kind
        for (name, kind), outcome in zip(types.items(), outcomes, strict=True)
    }


def _is_known(kind: FieldType, target: Target) -> bool:
    try:
        target.check_type(kind)
    except ValueError:
        return False
    return True


def known_types(plan: ImportPlan, sample: Sample, wanted: Mapping[str, Finding]) -> list[Finding]:
    """The types of the columns of an existing table, and how the file writes their values."""
    words = (*plan.null_words, *plan.typed_null_words)

    def find(column: Column, values: pa.Array) -> Finding:
        return _notated(values, wanted.get(column.source) or Finding(type=field_type.parse(column.type)), words)

    return settle(_side_by_side(find, plan.columns, sample.columns), sample.decimal_mark)


def _side_by_side(work: Callable[..., T], *columns: Sequence[Any]) -> list[T]:
    """The results of the work on each column. Most of it is in pyarrow, which does not hold the interpreter."""
    with ThreadPoolExecutor(THREADS) as pool:
        return [*pool.map(work, *columns)]


def _notated(values: pa.Array, found: Finding, words: Sequence[str]) -> Finding:
    if found.notation or found.type == TEXT or not is_text(values):
        return found
    return find_notation(values, found.type, words)


def doubts(columns: Sequence[Column], findings: Sequence[Finding]) -> tuple[str, ...]:
    """A sentence for each column whose values have several meanings."""
    notes = []
    for column, found in zip(columns, findings, strict=True):
        if not found.options or found.type in (option.type for option in found.options if not option.notation):
            continue
        choices = " or ".join(f"--type '{column.source}={option}'" for option in found.options)
        notes.append(f"{column.source} is read as {column.type}: nothing tells how its values are meant; use {choices}")
    return tuple(notes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """What becomes of the values of the sample."""

    null_words: dict[str, None]
    """The null words that were found."""
    notes: tuple[str, ...]
    """A sentence for each column with null words or with values that will be refused.

    The journal shows it. More people may read the journal than the records, so it repeats no value but null words.
    """


def look_at_sample(plan: ImportPlan, readings: Sequence[Reading], sample: Sample) -> Sampled:
    """Read the sample as the plan says."""
    notes = []
    found: dict[str, None] = {}
    ways = [ColumnReading.of(plan, column, reading) for column, reading in zip(plan.columns, readings, strict=True)]
    outcomes = _side_by_side(lambda how, values: how.read(values, nulled=True), ways, sample.columns)
    for column, how, values, outcome in zip(plan.columns, ways, sample.columns, outcomes, strict=True):
        number = f"{len(values) - values.null_count:,} values"
        seen = number if sample.whole else f"the {number} looked at"
        misfits = outcome.misfits
        if (
            outcome.values.null_count - values.null_count > len(misfits)
            and how.reading.kind != TEXT
            and is_text(values)
        ):
            words = count_words(values, how.words | how.nulls)
            found |= dict.fromkeys(words)
            if words:
                notes.append(f"{column.source}: {sum(words.values()):,} of {seen} are null: {', '.join(words)}")
        if misfits:
            row, misfit = next(iter(misfits.items()))
            notes.append(
                f"{column.source} is read as {column.type}: {len(misfits):,} of {seen} will be refused, "
                f"the first{sample.place(row)}: it {misfit.problem}"
            )
    return Sampled(null_words=found, notes=tuple(notes))
