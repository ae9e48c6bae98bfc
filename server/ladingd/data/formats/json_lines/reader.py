"""Reads a chunk of JSON Lines into columns.

pyarrow reads the lines typed, and refuses all of them if one does not fit. First, strings take the place of other
values that are to be text. Then halving finds the lines that do not fit. Python's own parser reads them and finds every
fault. Both give a record the same outcome, whatever its neighbours are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pajson

from ladingd.core.errors import BillImbalance
from ladingd.core.plan import Chunk, ImportPlan
from ladingd.data.formats.format import Origins, Piece
from ladingd.data.formats.json_lines.columns import arrow_type, is_infinite, is_large, joined, typed_if_all
from ladingd.data.formats.json_lines.parser import ABSENT, BLANK, UNEXPECTED_KEY, NotARecord, fields_of, prefixes_of
from ladingd.data.formats.json_lines.paths import columns_at, paths_of, schema_of
from ladingd.data.formats.json_lines.strings import Text
from ladingd.data.formats.lines import (
    RecordPlaces,
    is_utf8,
    read_chunk,
    refused_record,
    without_line_end,
)
from ladingd.data.formats.options import is_flattened
from ladingd.data.rejects.fault import Fault
from ladingd.data.rejects.lines import texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ladingd.data.files.roots import Source
    from ladingd.data.formats.format import Outline
    from ladingd.data.formats.json_lines.parser import Record
    from ladingd.data.formats.json_lines.paths import Path
    from ladingd.data.values.positions import Positions

_FEW = 32
"""At most this many lines are not halved: each is read by itself."""

_LOOKED = 64 << 10
"""So many bytes of a chunk tell which keys have dots in them."""

_DIGITS = re.compile(rb"[0-9]{16}")
"""Part of an integer that may be none of the doubles."""

_MANY, _PROBE = 4096, 8
"""Before at most ``_MANY`` lines are halved, ``_PROBE`` of them are tried in two places. If a text column holds
numbers, pyarrow refuses nearly every line, and halving takes longer than reading each by itself."""


def read_piece(source: Source, plan: ImportPlan, chunk: Chunk) -> Piece:
    """The records of a chunk. Raises SourceChanged, and BillImbalance if their number differs from the cut."""
    if chunk.refused is not None:
        return refused_record(source, plan, chunk, {})
    data = read_chunk(source, plan, chunk)
    return JsonReader(data=data, plan=plan, chunk=chunk, places=_lines(data)).piece()


def has_columns_of(outline: Outline, first: Outline) -> bool:
    """Whether a file has no column that the first one lacks. An object that is null in all records is no column."""
    beside = set(outline.names) - set(first.names)
    if is_flattened(outline.layout):
        null = {
            name
            for name, values in zip(outline.names, outline.columns, strict=True)
            if values.null_count == len(values)
        }
        beside -= prefixes_of(first.names) & null
    return not beside


def _lines(data: bytes) -> RecordPlaces:
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    return RecordPlaces(starts=np.concatenate((np.zeros(1, np.int64), ends))[:-1], ends=ends, line_ends=ends)


@dataclass(frozen=True, kw_only=True)
class JsonOrigins(Origins):
    """The records of a chunk in its bytes."""

    data: bytes
    places: RecordPlaces
    names: Sequence[str]
    first_line: int
    flatten: bool

    def lines(self, records: Positions) -> Positions:
        return self.first_line + self.places.lines(records)

    def raw(self, records: Positions) -> pa.Array:
        return texts(self.places.raw(self.data, records))

    def texts(self, records: Positions, column: int) -> pa.Array:
        lines = self.places.raw(self.data, records).to_pylist()
        name = self.names[column]
        found = [fields_of(line, flatten=self.flatten).get(name, ABSENT) for line in lines]
        return pa.array([text or "" for text, _ in found], pa.string())


@dataclass(frozen=True, kw_only=True)
class JsonReader:
    """Reads the records of a chunk. Between them is nothing but blanks."""

    data: bytes
    plan: ImportPlan
    chunk: Chunk
    places: RecordPlaces

    @cached_property
    def names(self) -> list[str]:
        return [field.name for field in self.plan.file_columns]

    @cached_property
    def types(self) -> list[pa.DataType]:
        return [arrow_type(field.type) for field in self.plan.file_columns]

    @cached_property
    def flatten(self) -> bool:
        return is_flattened(self.plan.file.layout)

    @cached_property
    def paths(self) -> list[Path]:
        """Where pyarrow finds the columns."""
        return paths_of(self.names, self.data[:_LOOKED]) if self.flatten else [(name,) for name in self.names]

    @cached_property
    def text_keys(self) -> frozenset[bytes]:
        """The keys of the values that pyarrow reads as text."""
        return frozenset(
            json.dumps(path[-1], ensure_ascii=False).encode()[1:-1]
            for path, kind in zip(self.paths, self.types, strict=True)
            if pa.types.is_string(kind)
        )

    @cached_property
    def schema(self) -> pa.Schema:
        return schema_of(self.paths, self.types)

    def piece(self) -> Piece:
        places = self.places
        if places.ends.size != self.chunk.records:
            raise BillImbalance(
                f"chunk {self.chunk.ordinal} was cut as {self.chunk.records} records and read as {places.ends.size}"
            )
        blank, regular = self._looks()
        filled = np.flatnonzero(~blank)
        parts: list[list[pa.Array]] = []
        faults: list[Fault] = []
        self._read_all(filled, regular[filled] & is_utf8(self.data), parts, faults)
        columns = [
            joined([part[place] for part in parts]) if parts else pa.array([], kind)
            for place, kind in enumerate(self.types)
        ]
        refused = {fault.index for fault in faults}
        indexes = filled if not refused else filled[~np.isin(filled, list(refused))]
        return Piece(
            columns=columns,
            indexes=indexes,
            origins=JsonOrigins(
                data=self.data,
                places=places,
                names=self.names,
                first_line=self.chunk.first_line,
                flatten=self.flatten,
            ),
            faults=faults,
            empty=int(blank.sum()),
            nul=b"\\u0000" in self.data,
        )

    def _looks(self) -> tuple[np.ndarray[Any, np.dtype[np.bool_]], np.ndarray[Any, np.dtype[np.bool_]]]:
        """Which lines are blank, and which are regular: they begin and end like an object. No object extends over
        several regular lines, because after the end of an object none can begin without a comma."""
        codes = np.frombuffer(self.data, np.uint8)
        starts, ends = self.places.starts, self.places.ends
        ends = ends - (codes[ends - 1] == ord("\n"))
        ends = ends - ((ends > starts) & (codes.take(ends - 1, mode="clip") == ord("\r")))
        blank = ends == starts
        regular = (
            ~blank & (codes.take(starts, mode="clip") == ord("{")) & (codes.take(ends - 1, mode="clip") == ord("}"))
        )
        for index in np.flatnonzero(~blank & ~regular):
            blank[index] = not self.data[starts[index] : ends[index]].strip(BLANK)
        return blank, regular

    def _read_all(
        self,
        lines: Positions,
        regular: np.ndarray[Any, np.dtype[np.bool_]],
        parts: list[list[pa.Array]],
        faults: list[Fault],
    ) -> None:
        for text in self._texts():
            if lines.size and regular.all() and (columns := self._typed(lines, text)) is not None:
                parts.append(columns)
                return
        self._read(lines, regular, text, parts, faults)

    def _texts(self) -> Iterator[Text]:
        """The records, and then with strings in place of other values that are to be read as text."""
        yield (text := Text(data=self.data, starts=self.places.starts, ends=self.places.ends))
        if self.text_keys:
            yield (text := text.with_nested(flatten=self.flatten))
            yield text.with_scalars(self.text_keys)

    def _read(
        self,
        lines: Positions,
        regular: np.ndarray[Any, np.dtype[np.bool_]],
        text: Text,
        parts: list[list[pa.Array]],
        faults: list[Fault],
    ) -> None:
        if not lines.size:
            return
        if regular.all() and (columns := self._typed(lines, text)) is not None:
            parts.append(columns)
        elif lines.size <= _FEW or (lines.size <= _MANY and self._are_mostly_unfit(lines, text)):
            parts.append(self._one_by_one(lines, faults))
        else:
            half = lines.size // 2
            self._read(lines[:half], regular[:half], text, parts, faults)
            self._read(lines[half:], regular[half:], text, parts, faults)

    def _are_mostly_unfit(self, lines: Positions, text: Text) -> bool:
        """Whether pyarrow refuses lines at the beginning and in the middle. Halving would then take too long."""
        return all(self._typed(lines[start : start + _PROBE], text) is None for start in (0, lines.size // 2))

    def _typed(self, lines: Positions, text: Text) -> list[pa.Array] | None:
        """The columns of these lines, read by pyarrow; None if one of them does not fit."""
        start, end = int(text.starts[lines[0]]), int(text.ends[lines[-1]])
        data = pa.py_buffer(text.data).slice(start, end - start)
        try:
            table = pajson.read_json(
                data,
                read_options=pajson.ReadOptions(use_threads=False, block_size=len(data) + 1),
                parse_options=pajson.ParseOptions(
                    explicit_schema=self.schema,
                    unexpected_field_behavior="ignore" if self.plan.ignore_extra else "error",
                    newlines_in_values=True,
                ),
            )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
            return None
        if table.num_rows != lines.size:
            return None  # Several objects in one line.
        columns = columns_at(table, self.paths, self.types)
        if any(map(is_infinite, columns)):
            return None  # pyarrow reads NaN, which is not JSON.
        if any(map(is_large, columns)) and _DIGITS.search(text.data, start, end):
            return None  # pyarrow rounds integers.
        return columns

    def _one_by_one(self, lines: Positions, faults: list[Fault]) -> list[pa.Array]:
        records: list[Record] = []
        known = set(self.names)
        around = prefixes_of(known) if self.flatten else set()
        for index in lines.tolist():
            line = without_line_end(self.data[self.places.starts[index] : self.places.ends[index]])
            try:
                fields = fields_of(line, flatten=self.flatten)
                for name, value in () if self.plan.ignore_extra else fields.items():
                    if name not in known and not (name in around and value[0] is None):
                        raise NotARecord(UNEXPECTED_KEY, f"there is no column for the key {name!r}", name)
            except NotARecord as error:
                faults.append(
                    Fault(index=index, code=error.code, message=str(error), column=error.column, value=error.value)
                )
                continue
            records.append(fields)
        return [
            typed_if_all([record.get(name, ABSENT) for record in records], kind)
            for name, kind in zip(self.names, self.types, strict=True)
        ]
