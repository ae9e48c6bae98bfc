"""The records that a plan looks at, from all files of an import."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate

import pyarrow as pa

from ladingd.data.formats.format import UNKNOWN_LINE
from ladingd.data.imports.examination import Examination
from ladingd.data.values.texts import as_text
from ladingd.data.values.types import FieldType


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Some records of all files, or all records."""

    names: list[str]
    """The columns of the plan."""
    columns: Sequence[pa.Array]
    """The values of each column of the plan, from one file after another."""
    types: Mapping[str, FieldType]
    """The types that all files declare, by column name."""
    inferred: bool
    """These types come from the sample."""
    decimal_mark: str
    whole: bool
    """The sample has all records."""
    files: Sequence[Examination]
    """The files with records, in order."""

    @classmethod
    def of(cls, files: Sequence[Examination]) -> Sample:
        """The samples of files as one. The first file has all columns, unless the records of all name their fields."""
        first = files[0].outline
        names = [*reduce(Examination.with_columns_of, files).outline.names]
        if len(files) == 1:
            columns, types = first.columns, first.types
        else:
            columns = [_joined([_column(file, place, name) for file in files]) for place, name in enumerate(names)]
            types = {name: kind for name in names if (kind := _declared(files, name)) is not None}
        marks = {file.outline.decimal_mark for file in files}
        return cls(
            names=names,
            columns=columns,
            types=types,
            inferred=any(file.outline.inferred for file in files),
            decimal_mark=marks.pop() if len(marks) == 1 else "",
            whole=all(file.outline.whole for file in files),
            files=files,
        )

    def only(self, names: Sequence[str]) -> Sample:
        """The same with some of the columns."""
        places = {name: place for place, name in enumerate(self.names)}
        return replace(
            self,
            names=[*names],
            columns=[self.columns[places[name]] for name in names],
            types={name: self.types[name] for name in names if name in self.types},
        )

    def place(self, row: int) -> str:
        """Where a record of the sample is, for the end of a sentence; empty: nobody knows."""
        starts = [0, *accumulate(_rows(file) for file in self.files)]
        number = bisect_right(starts, row) - 1
        file, row = self.files[number], row - starts[number]
        behind = f" of {file.file.name}" if len(self.files) > 1 else ""
        line = file.outline.lines[row]
        if line == UNKNOWN_LINE:
            return behind and f" in {file.file.name}"
        return f" in line {line}{behind}" if line else f" in record {row + 1:,}{behind}"


def _declared(files: Sequence[Examination], name: str) -> FieldType | None:
    """The type that all files with a column declare for it; None: they do not agree."""
    types = {file.outline.types.get(name) for file in files if not file.form.sparse or name in file.outline.names}
    return types.pop() if len(types) == 1 else None


def _rows(file: Examination) -> int:
    return len(file.outline.columns[0])


def _column(file: Examination, place: int, name: str) -> pa.Array:
    """The values of a column of the plan in a file; all null if the file lacks it."""
    order, outline = file.file.order, file.outline
    if order:
        return outline.columns[order.index(place)]
    if file.form.sparse:
        places = [other for other, each in enumerate(outline.names) if each == name]
        return outline.columns[places[0]] if places else pa.nulls(_rows(file), pa.string())
    return outline.columns[place]


def _joined(parts: list[pa.Array]) -> pa.Array:
    """Values of several files, as text if their types differ."""
    if len({part.type for part in parts}) > 1:
        parts = [part if pa.types.is_binary(part.type) else as_text(part) for part in parts]
    if len({part.type for part in parts}) > 1:
        parts = [part.cast(pa.binary()) for part in parts]
    return pa.concat_arrays(parts)
