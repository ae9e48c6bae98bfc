"""JSON Lines: one JSON object a line (https://jsonlines.org). Strings stay strings. Numbers are those of the column's
type; in a column of text they keep their digits.

pyarrow reads the lines typed, and refuses all of them if one does not fit. Halving finds those lines. Python's own
parser reads them and finds every fault. A record has the same fate in both, whatever stands beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from json.decoder import JSONDecodeError, scanstring  # type: ignore[attr-defined]
from json.scanner import make_scanner
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson

from ladingd.core.errors import BillImbalance, InvalidSpec
from ladingd.core.plan import Chunk, Column, ImportPlan, Layout
from ladingd.core.spec import CsvFormat
from ladingd.data.files.digest import digest, digest_all
from ladingd.data.formats.format import SAMPLE, Format, Origins, Outline, Piece, Writer
from ladingd.data.formats.lines import (
    FILE_FIELD,
    RECORD_LIMIT,
    RECORD_TOO_LONG,
    Cursor,
    RecordPlaces,
    blank_lines,
    chunk_size,
    decodable,
    end_of_line,
    find_beginning,
    in_one_piece,
    is_utf8,
    read_chunk,
    refused_record,
    unique_names,
    without_line_end,
)
from ladingd.data.rejects.fault import Fault
from ladingd.data.rejects.lines import escaped, texts
from ladingd.data.values import types as field_type
from ladingd.data.values.casting import VALUE_CAP, shorten
from ladingd.data.values.inference import infer
from ladingd.data.values.types import FieldType, Kind

if TYPE_CHECKING:
    from ladingd.core.spec import ExportSpec, ImportSpec
    from ladingd.data.files.roots import Source
    from ladingd.data.values.positions import Positions

NAME = "json_lines"

_NO_OPTIONS = CsvFormat()

HEAD = 1 << 20
"""Bytes at the beginning of a file that the columns and their types are taken from."""

_SAMPLED = 2_000
"""Records of the head that are looked at."""

_FEW = 32
"""So few records are not halved any more: each is read by itself."""

_MANY, _PROBE = 4096, 8
"""Of so many records, so many are tried in two places before they are halved. If a text column holds numbers, pyarrow
refuses nearly every record, and halving takes longer than reading each by itself."""

_NUMBER = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$"
_BLANK = b" \t\r"
_NUMBERS = frozenset({Kind.INTEGER, Kind.REAL, Kind.DECIMAL})

Value = tuple[str | None, bool]
"""The text of a value, and whether it is a string. Numbers, arrays and objects have the text that the file has."""

Record = dict[str, Value]

_ABSENT: Value = (None, False)


class _NotARecord(Exception):
    """A line that is refused, with the fault's code, its message, and the key it is about."""

    def __init__(self, code: str, message: str, column: str = "", value: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.column = column
        self.value = value


class JsonLines(Format):
    """Each line is an object; its keys are the columns. A key that is missing is null."""

    name: ClassVar[str] = NAME
    title: ClassVar[str] = "JSON Lines"
    endings: ClassVar[frozenset[str]] = frozenset({"jsonl", "ndjson"})

    def recognises(self, sample: bytes) -> bool:
        line, end, _ = sample.lstrip(_BLANK + b"\n").partition(b"\n")
        if not end and len(sample) == SAMPLE:
            return False
        try:
            return isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            return False

    def check(self, spec: ImportSpec | ExportSpec) -> None:
        for name in ("delimiter", "quote", "header"):
            if getattr(spec.csv, name) != getattr(_NO_OPTIONS, name):
                raise InvalidSpec(f"csv.{name}", "has no meaning for JSON Lines")

    def outline(self, source: Source, size: int, spec: ImportSpec, column_limit: int) -> Outline:
        beginning = find_beginning(source, size)
        outline = Outline(
            layout=Layout(format=NAME),
            start=beginning.start,
            end=size,
            first_line=1 + beginning.lines,
            notes=blank_lines(beginning.lines),
            detected={"format": self.title, "encoding": "UTF-8"},
        )
        head, whole = _head(source, beginning.start, size)
        lines = decodable(head, source.path, beginning, whole=whole).splitlines() if head else []
        names: dict[str, None] = {}
        records: list[tuple[int, Record]] = []
        for number, line in enumerate(lines[:_SAMPLED]):
            if not line.strip(_BLANK):
                continue
            try:
                fields = _fields(line)
            except _NotARecord as error:
                if not records:
                    raise InvalidSpec(
                        FILE_FIELD, f"{source.path}, line {outline.first_line + number:,}: {error}"
                    ) from error
                continue
            names.update(dict.fromkeys(fields))
            records.append((outline.first_line + number, fields))
        if len(names) > column_limit:
            raise InvalidSpec(
                FILE_FIELD, f"{source.path} has {len(names):,} columns; at most {column_limit:,} can be imported"
            )
        if records and not names:
            raise InvalidSpec(FILE_FIELD, f"{source.path}: the first records have no keys, so there are no columns")
        columns = [[fields.get(name, _ABSENT) for _, fields in records] for name in names]
        arrays = [pa.array([text for text, _ in column], pa.string()) for column in columns]
        types = {
            name: _type_of(values, [text for text, quoted in column if quoted], column)
            for name, values, column in zip(names, arrays, columns, strict=True)
        }
        return replace(
            outline,
            names=unique_names(list(names), source.path),
            columns=arrays,
            lines=[line for line, _ in records],
            types={name: kind for name, kind in types.items() if kind is not None},
        )

    def cut(self, source: Source, plan: ImportPlan, previous: Chunk | None, limit: int) -> tuple[Chunk, ...]:
        chunks: list[Chunk] = []
        cursor = Cursor.after(source, plan, previous)
        while cursor.start < plan.end and len(chunks) < limit:
            chunks.append(_next(source, plan, cursor))
            cursor = cursor.behind(chunks[-1], chunks[-1].records or 0)
        return tuple(chunks)

    def read(self, source: Source, plan: ImportPlan, chunk: Chunk) -> Piece:
        if chunk.refused is not None:
            return refused_record(source, plan, chunk, {})
        return _Reader(data=read_chunk(source, plan, chunk), plan=plan, chunk=chunk).piece()

    def layout(self, spec: ExportSpec) -> Layout:
        return Layout(format=NAME)

    def writer(self, layout: Layout, columns: Sequence[Column]) -> Writer:
        return JsonLinesWriter(columns=columns)


def _head(source: Source, start: int, size: int) -> tuple[bytes, bool]:
    """The whole lines at the beginning, at least one, and whether they are the whole file."""
    end = min(start + HEAD, size)
    text = source.read(start, end)
    if end < size and b"\n" not in text:
        end = min(start + RECORD_LIMIT + 1, size)
        text = source.read(start, end)
    if end == size:
        return text, True
    if b"\n" not in text:
        raise InvalidSpec(FILE_FIELD, f"{source.path}: the first record has more than {RECORD_LIMIT:,} bytes")
    return text[: text.rindex(b"\n") + 1], False


def _type_of(values: pa.Array, strings: list[str | None], column: Sequence[Value]) -> FieldType | None:
    """The type of a column by what JSON says of its values. None: that of its text."""
    present = sum(text is not None for text, _ in column)
    kind = infer(values)
    is_plain = kind.kind in _NUMBERS or kind.kind is Kind.BOOLEAN
    if strings:
        return field_type.TEXT if is_plain or len(strings) < present else None
    if is_plain:
        return kind
    numbers = values.drop_null()
    if kind.kind is Kind.TEXT and len(numbers) and pc.all(pc.match_substring_regex(numbers, _NUMBER)).as_py():
        return FieldType(kind=Kind.REAL)
    return None


def _next(source: Source, plan: ImportPlan, cursor: Cursor) -> Chunk:
    """As many whole lines as fit, or one line that is longer."""
    size, longest = chunk_size(plan, cursor.start), max(RECORD_LIMIT + 1, plan.chunk_bytes)
    while True:
        end = min(cursor.start + size, plan.end)
        data = source.read(cursor.start, end)
        length = len(data) if end == plan.end else data.rfind(b"\n") + 1
        if length and not (end == plan.end and length > longest):
            records = data.count(b"\n", 0, length) + (not data.endswith(b"\n", 0, length))
            first = data.find(b"\n") + 1 or length
            if first <= RECORD_LIMIT + 2:
                taken = memoryview(data)[:length]
                return replace(cursor.chunk(length, records), digest=digest(taken))
            return replace(cursor.chunk(first, 1, RECORD_TOO_LONG), digest=digest(memoryview(data)[:first]))
        if size >= longest:
            break
        size = min(2 * size, longest)
    line_end = end_of_line(source, cursor.start, plan.end)
    refused = cursor.chunk(line_end - cursor.start, 1, RECORD_TOO_LONG)
    return replace(refused, digest=digest_all(source.blocks(refused.start, refused.end)))


@dataclass(frozen=True, kw_only=True)
class JsonOrigins(Origins):
    """The records of a chunk in its bytes."""

    data: bytes
    places: RecordPlaces
    names: Sequence[str]
    first_line: int

    def lines(self, records: Positions) -> Positions:
        return self.first_line + np.asarray(records, np.int64)

    def raw(self, records: Positions) -> pa.Array:
        return texts(self.places.raw(self.data, records))

    def texts(self, records: Positions, column: int) -> pa.Array:
        lines = self.places.raw(self.data, records).to_pylist()
        return pa.array([_fields(line).get(self.names[column], _ABSENT)[0] or "" for line in lines], pa.string())


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Reads the lines of a chunk, which are its records."""

    data: bytes
    plan: ImportPlan
    chunk: Chunk

    @cached_property
    def places(self) -> RecordPlaces:
        ends = np.flatnonzero(np.frombuffer(self.data, np.uint8) == ord("\n")) + 1
        if not self.data.endswith(b"\n"):
            ends = np.append(ends, len(self.data))
        return RecordPlaces(starts=np.concatenate((np.zeros(1, np.int64), ends))[:-1], ends=ends, line_ends=ends)

    @cached_property
    def names(self) -> list[str]:
        return [column.source for column in self.plan.columns]

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema([(column.source, _arrow_type(column.type)) for column in self.plan.columns])

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
        self._read(filled, regular[filled] & is_utf8(self.data), parts, faults)
        columns = [
            _joined([part[place] for part in parts]) if parts else pa.array([], column.type)
            for place, column in enumerate(self.schema)
        ]
        refused = {fault.index for fault in faults}
        indexes = filled if not refused else filled[~np.isin(filled, list(refused))]
        return Piece(
            columns=columns,
            indexes=indexes,
            origins=JsonOrigins(data=self.data, places=places, names=self.names, first_line=self.chunk.first_line),
            faults=faults,
            empty=int(blank.sum()),
            nul=b"\\u0000" in self.data,
        )

    def _looks(self) -> tuple[np.ndarray[Any, np.dtype[np.bool_]], np.ndarray[Any, np.dtype[np.bool_]]]:
        """Which lines are blank, and which begin and end as an object does: of several such lines none goes over into
        another, as behind the end of an object no object begins."""
        codes = np.frombuffer(self.data, np.uint8)
        starts, ends = self.places.starts, self.places.ends
        ends = ends - (codes[ends - 1] == ord("\n"))
        ends = ends - ((ends > starts) & (codes.take(ends - 1, mode="clip") == ord("\r")))
        blank = ends == starts
        regular = (
            ~blank & (codes.take(starts, mode="clip") == ord("{")) & (codes.take(ends - 1, mode="clip") == ord("}"))
        )
        for index in np.flatnonzero(~blank & ~regular):
            blank[index] = not self.data[starts[index] : ends[index]].strip(_BLANK)
        return blank, regular

    def _read(
        self,
        lines: Positions,
        regular: np.ndarray[Any, np.dtype[np.bool_]],
        parts: list[list[pa.Array]],
        faults: list[Fault],
    ) -> None:
        if not lines.size:
            return
        if regular.all() and (columns := self._typed(lines)) is not None:
            parts.append(columns)
        elif lines.size <= _FEW or (lines.size <= _MANY and self._are_mostly_unfit(lines)):
            parts.append(self._one_by_one(lines, faults))
        else:
            half = lines.size // 2
            self._read(lines[:half], regular[:half], parts, faults)
            self._read(lines[half:], regular[half:], parts, faults)

    def _are_mostly_unfit(self, lines: Positions) -> bool:
        """Whether pyarrow refuses some lines at the beginning and some in the middle: halving would find no end."""
        return all(self._typed(lines[start : start + _PROBE]) is None for start in (0, lines.size // 2))

    def _typed(self, lines: Positions) -> list[pa.Array] | None:
        """The columns of these lines, read by pyarrow; None if one of them does not fit."""
        start, end = int(self.places.starts[lines[0]]), int(self.places.ends[lines[-1]])
        data = pa.py_buffer(self.data).slice(start, end - start)
        try:
            table = pajson.read_json(
                data,
                read_options=pajson.ReadOptions(use_threads=False, block_size=len(data) + 1),
                parse_options=pajson.ParseOptions(explicit_schema=self.schema, unexpected_field_behavior="error"),
            )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
            return None
        if table.num_rows != lines.size:
            return None  # Several objects in one line.
        columns = [in_one_piece(column) for column in table.columns]
        return None if any(map(_is_infinite, columns)) else columns  # NaN is no JSON.

    def _one_by_one(self, lines: Positions, faults: list[Fault]) -> list[pa.Array]:
        records: list[Record] = []
        known = set(self.names)
        for index in lines.tolist():
            line = without_line_end(self.data[self.places.starts[index] : self.places.ends[index]])
            try:
                fields = _fields(line)
                for name in fields:
                    if name not in known:
                        raise _NotARecord("UNEXPECTED_KEY", f"there is no column for the key {name!r}", name)
            except _NotARecord as error:
                faults.append(
                    Fault(index=index, code=error.code, message=str(error), column=error.column, value=error.value)
                )
                continue
            records.append(fields)
        return [
            _typed_if_all([record.get(column.name, _ABSENT) for record in records], column.type)
            for column in self.schema
        ]


def _arrow_type(word: str) -> pa.DataType:
    """What pyarrow reads a column as. Dates and the like are strings in JSON, and are cast as other text is."""
    kind = field_type.parse(word)
    match kind.kind:
        case Kind.INTEGER:
            return pa.int64()
        case Kind.REAL:
            return pa.float64()
        case Kind.BOOLEAN:
            return pa.bool_()
        case Kind.DECIMAL:
            # pyarrow reads a string as well as a number here.
            return pa.decimal128(field_type.DECIMAL_DIGITS, kind.scale)
    return pa.string()


def _typed_if_all(values: Sequence[Value], kind: pa.DataType) -> pa.Array:
    """Values as pyarrow would have read them, if it took each of them; else their texts.

    Among those texts, a value that pyarrow takes has the text that its type would give it.
    """
    texts = [text for text, _ in values]
    if pa.types.is_string(kind):
        return pa.array(texts, pa.string())
    try:
        return _cast(values, kind)
    except pa.ArrowInvalid:
        for place, value in enumerate(values):
            with suppress(pa.ArrowInvalid):
                texts[place] = pc.cast(_cast([value], kind), pa.string())[0].as_py()
        return pa.array(texts, pa.string())


def _cast(values: Sequence[Value], kind: pa.DataType) -> pa.Array:
    """Values as pyarrow reads them. Raises ArrowInvalid if it would refuse one."""
    if any(is_string for _, is_string in values):
        raise pa.ArrowInvalid("a string is no number")
    texts = pa.array([text for text, _ in values], pa.string())
    if pa.types.is_boolean(kind) and not pc.all(pc.is_in(texts, _BOOLEANS)).as_py():
        raise pa.ArrowInvalid("not a boolean")
    column = pc.cast(texts, kind)
    if _is_infinite(column):
        raise pa.ArrowInvalid("out of range")
    return column


def _is_infinite(column: pa.Array) -> bool:
    """Whether a number was too large for its type, or is none."""
    return bool(pa.types.is_floating(column.type) and pc.all(pc.is_finite(column)).as_py() is False)


def _joined(arrays: Sequence[pa.Array]) -> pa.Array:
    """One column of several parts: typed if all of them are."""
    kinds = {array.type for array in arrays}
    return pa.concat_arrays(arrays if len(kinds) == 1 else [pc.cast(array, pa.string()) for array in arrays])


_BOOLEANS = pa.array(["true", "false", None], pa.string())

_SPACE = re.compile(r"[ \t\r\n]*")


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_scan = make_scanner(json.JSONDecoder(parse_constant=_constant))  # type: ignore[arg-type]


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


_quick = json.JSONDecoder(
    object_pairs_hook=tuple, parse_int=_Number, parse_float=_Number, parse_constant=_constant
).raw_decode
_WORDS = {True: "true", False: "false", None: None}


def _fields(line: bytes) -> Record:
    """The fields of a line by their keys. Raises _NotARecord."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise _NotARecord("NOT_UTF8", f"byte {error.start + 1} of the line is not UTF-8") from error
    return _fields_of_plain(text) or _fields_of(text)


def _fields_of_plain(text: str) -> Record | None:
    """The fields of a line if it is an object without faults, arrays and objects; else None."""
    try:
        pairs, end = _quick(text)
    except (ValueError, RecursionError):
        return None
    if not text.startswith("{") or text[end:].strip(" \t\r\n") or "\\u" in text:
        return None
    fields: Record = {}
    for name, value in pairs:
        if isinstance(value, _Number):
            fields[name] = (value, False)
        elif isinstance(value, str):
            fields[name] = (value, True)
        elif isinstance(value, tuple | list):
            return None
        else:
            fields[name] = (_WORDS[value], False)
    return fields if len(fields) == len(pairs) else None


def _fields_of(text: str) -> Record:
    """The fields of any line, or what is wrong with it."""
    place = _skip(text, 0)
    if text[place : place + 1] != "{":
        raise _NotARecord("NOT_JSON", "the line is not a JSON object")
    fields: Record = {}
    place = _skip(text, place + 1)
    try:
        while text[place : place + 1] != "}":
            if fields:
                place = _skip(text, _expect(text, place, ","))
            start = _expect(text, place, '"')
            name, place = scanstring(text, start, True)
            place = _skip(text, _expect(text, _skip(text, place), ":"))
            value, end = _scan(text, place)
            if name in fields:
                raise _NotARecord("DUPLICATE_KEY", f"the key {name!r} occurs twice", name)
            is_string = isinstance(value, str)
            shown: str | None = value if is_string else text[place:end]
            if is_string and _has_surrogate(value):
                raise _NotARecord("NOT_JSON", f"the value of {name!r} has half a surrogate pair", name)
            fields[name] = (None if value is None else shown, is_string)
            place = _skip(text, end)
        rest = _skip(text, place + 1)
    except JSONDecodeError as error:
        raise _NotARecord(
            "NOT_JSON", f"the line is not a JSON object: {error.msg} at character {error.pos + 1}"
        ) from error
    except StopIteration as error:
        raise _NotARecord(
            "NOT_JSON", f"the line is not a JSON object: a value is missing at character {place + 1}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise _NotARecord("NOT_JSON", f"the line is not a JSON object: {error}") from error
    if rest != len(text):
        message = f"behind the object, at character {rest + 1}, is more"
        raise _NotARecord("NOT_JSON", message, value=shorten(text[rest:].encode(), VALUE_CAP))
    return fields


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _skip(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    return place if match is None else match.end()


def _expect(text: str, place: int, mark: str) -> int:
    if text[place : place + 1] != mark:
        raise JSONDecodeError(f"Expected {mark!r}", text, place)
    return place + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonLinesWriter(Writer):
    """Writes each row as an object. Numbers and booleans are written as such, all else as strings."""

    columns: Sequence[Column]

    def header(self) -> bytes:
        return b""

    def records(self, columns: Sequence[pa.Array]) -> list[bytes | memoryview]:
        parts: list[pa.Array | str] = []
        separator = "{"
        for column, values in zip(self.columns, columns, strict=True):
            parts += [f"{separator}{json.dumps(column.target, ensure_ascii=False)}:", self._values(column, values)]
            separator = ","
        joined = pc.binary_join_element_wise(*parts, "}\n", "")
        _, offsets, data = joined.buffers()
        if data is None:
            return []
        bounds = memoryview(offsets).cast("i")
        return [memoryview(data)[bounds[joined.offset] : bounds[joined.offset + len(joined)]]]

    @staticmethod
    def _values(column: Column, values: pa.Array) -> pa.Array:
        filled = pc.fill_null(values, "") if values.null_count else values
        quoted = pc.binary_join_element_wise('"', escaped(filled), '"', "")
        kind = field_type.parse(column.type).kind
        if kind in _NUMBERS or kind is Kind.BOOLEAN:
            pattern = "^(?:true|false)$" if kind is Kind.BOOLEAN else _NUMBER
            quoted = pc.if_else(pc.match_substring_regex(filled, pattern), filled, quoted)
        return pc.if_else(pc.is_null(values), "null", quoted) if values.null_count else quoted
