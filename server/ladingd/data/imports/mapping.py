"""Plans the mapping of an import: which column of the table each column of the files fills, and as what type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ladingd.core.errors import ExpressionStopped, InvalidSpec
from ladingd.core.plan import NO_FILLING, Column, Field, Filling, ImportPlan, Phase
from ladingd.core.spec import ColumnNames
from ladingd.data.imports.column_types import (
    doubts,
    known_types,
    look_at_sample,
    new_types,
    storable_types,
    wanted_types,
)
from ladingd.data.imports.provenance import with_provenance, without_provenance
from ladingd.data.mapping import expressions
from ladingd.data.mapping.column_names import kept_names, renamed
from ladingd.data.mapping.column_reading import ColumnReading, prepared
from ladingd.data.mapping.matching import guesses, match_columns, match_new
from ladingd.data.mapping.reconciliation import inserts, planned_merge
from ladingd.data.mapping.snake_case import numbered, snake_names
from ladingd.data.mapping.syntax import BadExpression
from ladingd.data.mapping.wishes import wishes_of
from ladingd.data.values.converters import typed
from ladingd.data.values.inference import Finding
from ladingd.data.values.names import fold
from ladingd.data.values.types import TEXT

if TYPE_CHECKING:
    import pyarrow as pa

    from ladingd.core.spec import ImportSpec
    from ladingd.data.databases.target import Target, TargetColumn, TargetTable
    from ladingd.data.imports.sample import Sample
    from ladingd.data.mapping.matching import Assignment, Matched
    from ladingd.data.values.converters import Reading
    from ladingd.data.values.types import FieldType


@dataclass(frozen=True, kw_only=True, slots=True)
class Mapped:
    """A plan with columns."""

    plan: ImportPlan
    notes: tuple[str, ...]
    null_words: Sequence[str]
    """The null words that were found in the sample."""


def with_columns(
    plan: ImportPlan,
    spec: ImportSpec,
    sample: Sample,
    target: Target,
    table: TargetTable | None,
    *,
    path: str,
    by_name: bool,
    complete: bool = True,
) -> Mapped:
    """The plan with its fields, columns and expressions. ``table``: the existing table. Raises InvalidSpec; unless the
    plan must be ``complete``, not for columns that have no counterpart."""
    names = sample.names
    wishes = wishes_of(spec, names, path)
    if table is not None and not complete and not spec.add_columns:
        wishes = replace(wishes, ignore_extra=True)
    types = wanted_types(spec, names, path, target)
    wanted = snake_names(names) if spec.names is ColumnNames.SNAKE else names
    kept = kept_names(wanted, target)
    if spec.ignore_extra and spec.add_columns:
        raise InvalidSpec("ignore_extra", "columns that the table lacks are left out or added: leave out one of both")
    if table is None:
        match = match_new(names, kept, wishes)
    else:
        match = match_columns(
            names,
            without_provenance(table) if spec.provenance else table,
            kept=kept,
            by_name=by_name,
            wishes=wishes,
            fits=lambda place, column: _fits(plan, sample, place, types.get(names[place]) or Finding(type=column.type)),
            addable=spec.add_columns,
            inserts=complete and inserts(spec.reconciliation),
        )
    columns, findings = _from_file(plan, sample, match, types, target, table)
    fields = _fields(plan, spec, sample, types, columns)
    plan = replace(plan, fields=fields, columns=columns, ignore_extra=spec.ignore_extra)
    plan = _with_calculated(plan, spec, match, types, table, target)
    plan = _with_merge(plan, spec, table, target, sample)
    _check_filter(plan)
    _check_defaults(plan, spec, target)
    looked = look_at_sample(*_looked_at(plan, target, sample))
    if spec.provenance:
        plan = with_provenance(plan, table)
    notes = (
        *(
            _renamed(names, wanted, columns, kept, target)
            if table is None
            else _additions(plan.columns, spec, table, target)
        ),
        *guesses(names, match.assignments),
        *_left_out(match.extra),
        *_warnings(plan.columns, table),
        *doubts(columns, findings),
        *looked.notes,
    )
    return Mapped(plan=plan, notes=notes, null_words=tuple(looked.null_words))


def _from_file(
    plan: ImportPlan,
    sample: Sample,
    match: Matched,
    types: Mapping[str, Finding],
    target: Target,
    table: TargetTable | None,
) -> tuple[tuple[Column, ...], list[Finding]]:
    """The columns that the file fills, and what was found out about their types."""
    chosen = [each for each in match.assignments if each.source is not None]
    drafts = [_draft(sample.names[each.source or 0], each, table) for each in chosen]
    is_new = [table is None or column.added for column in drafts]
    known_names = frozenset(sample.names)
    wanted = {
        column.target: found
        for column in drafts
        if (found := types.get(column.source) or (None if column.target in known_names else types.get(column.target)))
    }
    # The types that a file declares are those of values as they are in the file.
    storable = storable_types(plan, sample.only([*{column.source: None for column in _those(drafts, is_new)}]), target)
    declared = {
        column.target: storable[column.source]
        for column in drafts
        if column.source in storable and not column.filled.prepares
    }
    values = [
        prepared(plan, column, sample.columns[each.source or 0]) for column, each in zip(drafts, chosen, strict=True)
    ]
    by_target = replace(sample, names=[column.target for column in drafts], columns=values, types=declared)
    created = by_target.only([column.target for column in _those(drafts, is_new)])
    there = _those(drafts, [not each for each in is_new])
    new = dict(zip(created.names, new_types(plan, created.names, created, wanted), strict=True))
    known = known_types(
        replace(plan, columns=tuple(replace(column, source=column.target) for column in there)),
        by_target.only([column.target for column in there]),
        wanted,
    )
    decided = new | dict(zip((column.target for column in there), known, strict=True))
    findings = [decided[column.target] for column in drafts]
    columns = tuple(
        replace(
            column,
            type=str((wanted.get(column.target) or finding).type),
            notation=finding.notation,
            inferred=column.target in new
            and column.target not in wanted
            and (sample.inferred or column.target not in declared),
        )
        for column, finding in zip(drafts, findings, strict=True)
    )
    return columns, findings


def _those(columns: Sequence[Column], wanted: Sequence[bool]) -> list[Column]:
    """Some of the columns."""
    return [column for column, one in zip(columns, wanted, strict=True) if one]


def _draft(source: str, assignment: Assignment, table: TargetTable | None) -> Column:
    wish, target = assignment.wish, assignment.target
    filling = Filling(
        transformations=wish.transformations,
        null_words=wish.null_words,
        default=wish.default_value,
        lookup=wish.lookup,
        expression=wish.expression,
    )
    draft = Column(
        source=source, target=_name(target), type=str(TEXT), filling=None if filling == NO_FILLING else filling
    )
    if isinstance(target, str):
        return draft
    return replace(
        draft,
        type=str(target.type),
        nullable=target.nullable,
        defaulted=target.defaulted,
        declared=target.declared,
        added=table is not None and target not in table.columns,
    )


def _name(target: TargetColumn | str) -> str:
    return target if isinstance(target, str) else target.name


def _fields(
    plan: ImportPlan, spec: ImportSpec, sample: Sample, types: Mapping[str, Finding], columns: Sequence[Column]
) -> tuple[Field, ...]:
    """The columns of the files. Those that only expressions read have the type of their values."""
    used = _used_in_expressions(plan, spec, sample.names)
    fields = []
    by_source: dict[str, list[Column]] = {}
    for column in columns:
        by_source.setdefault(column.source, []).append(column)
    for name, values in zip(sample.names, sample.columns, strict=True):
        filled = by_source.get(name, [])
        if filled:
            as_text = len({column.type for column in filled}) > 1 or any(column.filled.prepares for column in filled)
            fields.append(Field(name=name, type=str(TEXT) if as_text else filled[0].type))
        elif name in used:
            (found,) = new_types(plan, [name], replace(sample, names=[name], columns=[values]), types)
            inferred = name not in types and (sample.inferred or name not in sample.types)
            fields.append(Field(name=name, type=str(found.type), notation=found.notation, inferred=inferred))
        else:
            fields.append(Field(name=name, type=str(sample.types.get(name, TEXT)), used=False))
    return tuple(fields)


def _used_in_expressions(plan: ImportPlan, spec: ImportSpec, names: Sequence[str]) -> frozenset[str]:
    """The columns of the files that expressions read. Raises InvalidSpec for a wrong expression."""
    draft = replace(plan, columns=(), fields=tuple(Field(name=name, type=str(TEXT)) for name in names))
    texts = [("filter", "the filter", spec.filter)]
    for number, wish in enumerate(spec.columns):
        texts.append((f"columns[{number}].expression", expressions.title_of(wish.target), wish.expression))
    used: set[str] = set()
    for field, title, text in texts:
        if text:
            with _refused(field, title, text):
                used |= set(expressions.parsed(draft, text, title).needs.columns)
    return frozenset(used)


@contextmanager
def _refused(field: str, title: str, text: str) -> Iterator[None]:
    """Name the field of an expression that is wrong, and the place in it."""
    try:
        yield
    except BadExpression as error:
        raise InvalidSpec(field, f"{title}: {error.within(text)}") from error
    except ExpressionStopped as error:
        raise InvalidSpec(field, error.message) from error


def _with_calculated(
    plan: ImportPlan,
    spec: ImportSpec,
    match: Matched,
    types: Mapping[str, Finding],
    table: TargetTable | None,
    target: Target,
) -> ImportPlan:
    """The plan with its calculated columns. In a new table, a column has the type of its expression."""
    calculated = []
    for each in match.assignments:
        if each.source is not None:
            continue
        column = _draft(_name(each.target), each, table)
        found = types.get(each.wish.target)
        title = expressions.title_of(column.target)
        with _refused(f"columns[{spec.columns.index(each.wish)}].expression", title, column.filled.expression):
            kind = expressions.kind_of(plan, expressions.parsed(plan, column.filled.expression, title))
            if found is None and isinstance(each.target, str):
                found = Finding(type=TEXT if column.filled.prepares else _storable(expressions.type_of(kind), target))
        if found is not None:
            column = replace(column, type=str(found.type), notation=found.notation)
        calculated.append(column)
    return replace(plan, columns=(*plan.columns, *calculated))


def _storable(kind: FieldType, target: Target) -> FieldType:
    """A type that the target has. Raises BadExpression."""
    try:
        target.check_type(kind)
    except ValueError as error:
        raise BadExpression(f"{error}; round it, or give another type with --type") from error
    return kind


def _with_merge(
    plan: ImportPlan, spec: ImportSpec, table: TargetTable | None, target: Target, sample: Sample
) -> ImportPlan:
    """The plan with the phase that merges staged records, if there is one."""

    def spread(column: Column) -> pa.Array | None:
        """The values of a column. Files that declare its type are sampled at their beginning only."""
        is_declared = column.source in sample.types and not sample.inferred
        return sample.columns[sample.names.index(column.source)] if column.from_file and not is_declared else None

    merge = planned_merge(spec, plan, table, target, spread)
    if merge is None:
        return plan
    if table is None and merge.makes_unique:
        columns = tuple(replace(column, nullable=column.target not in merge.key) for column in plan.columns)
        plan = replace(plan, primary_key=merge.key, columns=columns)
    plan = replace(plan, merge=merge, phases=(*plan.phases, Phase.MERGE))
    if table is not None:
        target.check_merge(plan)
    return plan


def _check_filter(plan: ImportPlan) -> None:
    """Raises InvalidSpec if the filter is no condition."""
    if plan.filter:
        with _refused("filter", "the filter", plan.filter):
            kind = expressions.kind_of(plan, expressions.parsed(plan, plan.filter, "the filter"))
            if kind != "BOOLEAN":
                raise BadExpression(f"it is {kind}, not a condition")


def _check_defaults(plan: ImportPlan, spec: ImportSpec, target: Target) -> None:
    """Raises InvalidSpec if a default is no value of its column."""
    if all(column.filled.default is None for column in plan.columns):
        return
    for column, reading in zip(plan.columns, target.readings(plan), strict=True):
        misfit = ColumnReading.of(plan, column, reading).default_misfit()
        if misfit is not None:
            number = next(
                number
                for number, wish in enumerate(spec.columns)
                if wish.default_value == column.filled.default
                and fold(wish.target or wish.source) in (fold(column.target), fold(column.source))
            )
            raise InvalidSpec(f"columns[{number}].default_value", misfit.message)


def _looked_at(plan: ImportPlan, target: Target, sample: Sample) -> tuple[ImportPlan, Sequence[Reading], Sample]:
    """The columns that the file fills, how the target reads them, and their values in the sample."""
    pairs = [
        (column, reading)
        for column, reading in zip(plan.columns, target.readings(plan), strict=True)
        if column.from_file
    ]
    places = {name: place for place, name in enumerate(sample.names)}
    columns = tuple(column for column, _ in pairs)
    values = [sample.columns[places[column.source]] for column in columns]
    return replace(plan, columns=columns), [reading for _, reading in pairs], replace(sample, columns=values)


def _fits(plan: ImportPlan, sample: Sample, place: int, found: Finding) -> bool:
    """Whether most values of a column of the sample are of a type, however they are written."""
    name, values = sample.names[place], sample.columns[place]
    column = Column(source=name, target=name, type=str(found.type))
    (found,) = known_types(
        replace(plan, columns=(column,)), replace(sample, names=[name], columns=[values]), {name: found}
    )
    how = ColumnReading.of(plan, replace(column, notation=found.notation), typed(found.type))
    return bool(2 * len(how.read(values, nulled=True).misfits) <= len(values) - values.null_count)


def _renamed(
    names: Sequence[str], wanted: Sequence[str], columns: Sequence[Column], kept: Sequence[str], target: Target
) -> tuple[str, ...]:
    """The sentences about columns of a new table that have not the name that they should have."""
    filled = {column.source: column.target for column in columns}
    own = [place for place, name in enumerate(names) if filled.get(name) == kept[place]]
    names, wanted, kept = ([each[place] for place in own] for each in (names, wanted, kept))
    return (*(numbered(names, wanted) if wanted != names else ()), *renamed(wanted, kept, target))


def _additions(columns: Sequence[Column], spec: ImportSpec, table: TargetTable, target: Target) -> tuple[str, ...]:
    """A sentence about the columns that the table gets. Raises InvalidSpec if it cannot get them."""
    added = [column for column in columns if column.added]
    if not added:
        return ()
    target.check_addable(spec.target)
    if len(table.columns) + len(added) > target.column_limit:
        raise InvalidSpec(
            "add_columns",
            f"table {table.name} has {len(table.columns):,} columns and would get {len(added):,} more; "
            f"the database stores at most {target.column_limit:,}",
        )
    listing = ", ".join(f"{column.target} ({column.type})" for column in added)
    return (f"table {table.name} gets new columns: {listing}",)


def _left_out(extra: Sequence[str]) -> tuple[str, ...]:
    """The sentence about columns that are left out because the table lacks them."""
    if not extra:
        return ()
    listing = ", ".join(extra[:_LISTED]) + (f" and {len(extra) - _LISTED:,} more" if len(extra) > _LISTED else "")
    return (f"{listing} {'is' if len(extra) == 1 else 'are'} not imported: the table has no such column",)


_LISTED = 20


def _warnings(columns: Sequence[Column], table: TargetTable | None) -> tuple[str, ...]:
    """The notes of the table and of the columns that the import fills."""
    filled = {column.target for column in columns}
    if table is None:
        return ()
    return (*table.notes, *(column.note for column in table.columns if column.note and column.name in filled))
