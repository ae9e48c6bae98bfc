"""Checks the reconciliation of a spec against the columns of the file and the table, and leaves nothing open."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import Merge
from ladingd.core.spec import Doubles, Duplicates, Operation
from ladingd.data.mapping.condition import condition_of
from ladingd.data.values.names import fold
from ladingd.data.values.types import FieldType, Kind, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ladingd.core.plan import Column, ImportPlan
    from ladingd.core.spec import ImportSpec, Reconciliation
    from ladingd.data.databases.target import Target, TargetTable

_EXACT = frozenset({Kind.INTEGER, Kind.TEXT, Kind.UUID})
"""Kinds of values of a new table that are equal exactly if they are identical."""
_LEAST = 100
"""How many values of a sample for each slice tell where slices end."""
_UNEVEN = 2
"""How many times as large as the average the largest slice may be."""
_SMALL = 16 << 20
"""Up to this many bytes, files have one slice."""


def check_operation(spec: ImportSpec) -> None:
    """Check what needs neither file nor table. Raises InvalidSpec."""
    wanted = spec.reconciliation
    if spec.where and not spec.replace:
        raise InvalidSpec("where", "a condition says which rows are replaced, so it needs --replace")
    if spec.replace and not (inserts(wanted) and wanted.duplicates in (Duplicates.DEFAULT, Duplicates.UPDATE)):
        raise InvalidSpec("replace", "--replace makes rows of all records: leave out --operation and --duplicates")
    if spec.replace and wanted.second_key:
        raise InvalidSpec("reconciliation.second_key", "a second key does not work with --replace: choose one key")
    if wanted.key:
        return
    if wanted.operation not in (Operation.DEFAULT, Operation.INSERT):
        name = wanted.operation.lower().replace("_", "-")
        raise InvalidSpec("reconciliation.key", f"the operation {name} needs a key: --key COLUMN, or COLUMN,COLUMN")
    for field, given in {
        "second_key": wanted.second_key,
        "doubles": wanted.doubles is not Doubles.DEFAULT,
        "duplicates": wanted.duplicates is not Duplicates.DEFAULT,
        "keep_if_source_empty": wanted.keep_if_source_empty,
        "only_if_target_empty": wanted.only_if_target_empty,
        "on_insert_only": wanted.on_insert_only,
    }.items():
        if given:
            name = field.replace("_", " ")
            raise InvalidSpec(f"reconciliation.{field}", f"{name} has no effect without a key: --key COLUMN")


def inserts(wanted: Reconciliation) -> bool:
    """Whether records that the table lacks become rows."""
    return _operation(wanted) in (Operation.INSERT, Operation.UPDATE_OR_INSERT)


def _operation(wanted: Reconciliation) -> Operation:
    if wanted.operation is Operation.DEFAULT:
        return Operation.UPDATE_OR_INSERT if wanted.key else Operation.INSERT
    return wanted.operation


def planned_merge(
    spec: ImportSpec,
    plan: ImportPlan,
    table: TargetTable | None,
    target: Target,
    sample: Callable[[Column], pa.Array | None] = lambda _: None,
) -> Merge | None:
    """The merge of an import; None if its records go straight into the table. ``table``: None if it will be created.

    ``sample`` gives values of a column that are spread evenly over the files. Raises InvalidSpec.
    """
    wanted, columns = spec.reconciliation, plan.columns
    if not (wanted.key or spec.replace):
        return None
    operation = _operation(wanted)
    duplicates = wanted.duplicates
    if spec.replace:
        duplicates = Duplicates.UPDATE
    elif duplicates is Duplicates.DEFAULT:
        duplicates = Duplicates.REJECT if operation is Operation.INSERT else Duplicates.UPDATE
    key = _columns("key", wanted.key, columns, table)
    second_key = _columns("second_key", wanted.second_key, columns, table)
    if set(key) & set(second_key) and set(key) >= set(second_key):
        raise InvalidSpec("reconciliation.second_key", "the second key adds no column to the first one")
    policies = {
        field: _columns(field, getattr(wanted, field), columns, table)
        for field in ("keep_if_source_empty", "only_if_target_empty", "on_insert_only")
    }
    for field, names in policies.items():
        for name in names:
            if name in key:
                raise InvalidSpec(
                    f"reconciliation.{field}", f"{name} is a column of the key, which updates never change"
                )
    size = sum(file.fingerprint.size for file in plan.files)
    exact = [name for name in key if _is_exact(name, columns, table)]
    slices = 1  # A replacement is one transaction.
    if exact and not spec.replace and not second_key and size > _SMALL and _is_independent(key, table):
        slices = 2
        while slices * target.slice_bytes < size:
            slices *= 2
    bounds: tuple[int, ...] = ()
    if slices > 1:
        by_name = {column.target: column for column in columns}
        for name in exact:
            bounds = _bounds(sample(by_name[name]), slices) if by_name[name].type == Kind.INTEGER else ()
            if bounds:
                exact = [name]
                break
    part = None
    if spec.where:
        part = condition_of(spec.where, [column.target for column in columns], plan.variables, target.dialect)
    return Merge(
        operation=operation,
        key=key,
        second_key=second_key,
        doubles=Doubles.UPDATE if wanted.doubles is Doubles.DEFAULT else wanted.doubles,
        duplicates=duplicates,
        keep_if_source_empty=policies["keep_if_source_empty"],
        only_if_target_empty=policies["only_if_target_empty"],
        on_insert_only=policies["on_insert_only"],
        slices=slices,
        sliced_by=tuple(exact) if slices > 1 else (),
        bounds=bounds,
        replace=spec.replace,
        rows=part.rows if part else "",
        records=part.records if part else "",
    )


def _bounds(sample: pa.Array | None, slices: int) -> tuple[int, ...]:
    """The greatest value of each slice but the last, so that all have about as many records. Empty: there are none."""
    if sample is None or len(sample) < _LEAST * slices:
        return ()
    numbers = sample if pa.types.is_integer(sample.type) else pa.array(map(_integer, sample.to_pylist()), pa.int64())
    values = np.sort(numbers.drop_null().cast(pa.int64()).to_numpy())
    bounds = [int(values[len(values) * number // slices]) for number in range(1, slices)]
    largest = max(np.bincount(np.searchsorted(bounds, values), minlength=slices))
    is_even = len(set(bounds)) == len(bounds) and largest * slices <= _UNEVEN * len(values)
    return tuple(bounds) if is_even else ()


def _integer(value: str | None) -> int | None:
    try:
        number = int(value) if value else None
    except ValueError:
        return None
    return number if number is not None and -(1 << 63) <= number < 1 << 63 else None


def _columns(field: str, names: Sequence[str], columns: Sequence[Column], table: TargetTable | None) -> tuple[str, ...]:
    """The columns of the table with these names. Raises InvalidSpec if the file fills none of that name."""
    found: list[str] = []
    for name in names:
        column = _column(f"reconciliation.{field}", name, columns, table)
        if column in found:
            raise InvalidSpec(f"reconciliation.{field}", f"the column {column} is named twice")
        found.append(column)
    return tuple(found)


def _column(field: str, name: str, columns: Sequence[Column], table: TargetTable | None) -> str:
    targets = [column.target for column in columns]
    alike = [target for target in targets if fold(target) == fold(name)]
    if name in targets:
        return name
    if len(alike) == 1:
        return alike[0]
    if table is not None and any(column.name == name for column in table.columns):
        raise InvalidSpec(field, f"the file has no column for {name}; it has columns for {', '.join(targets)}")
    near = get_close_matches(name, targets, n=3) or targets
    raise InvalidSpec(field, f"there is no column {name!r}; did you mean {' or '.join(map(repr, near))}?")


def _is_exact(name: str, columns: Sequence[Column], table: TargetTable | None) -> bool:
    there = {} if table is None else {column.name: column.exact for column in table.columns}
    if name in there:
        return there[name]
    kind: FieldType = parse(next(column.type for column in columns if column.target == name))
    return kind.kind in _EXACT


def _is_independent(key: Sequence[str], table: TargetTable | None) -> bool:
    """Whether records with different keys cannot affect each other, so that their order does not matter."""
    if table is None:
        return True
    uniques = [set(unique) for unique in table.uniques]
    return not table.entangled and set(key) in uniques and all(unique >= set(key) for unique in uniques)
