"""Checks an import against its real file and table, before anything runs."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import Column, Dialect, ImportPlan
from ladingd.data import field_type, fingerprint
from ladingd.data.cast import cast
from ladingd.data.detection import Layout, detect, first_record
from ladingd.data.framing import frame
from ladingd.data.inference import infer
from ladingd.data.parse import BOM, RecordPlaces, parse
from ladingd.data.target_columns import fold, match_columns, target_shape

if TYPE_CHECKING:
    from pathlib import Path

    from ladingd.core.spec import ImportSpec
    from ladingd.data.field_type import FieldType
    from ladingd.data.files import Source

HEAD = 1 << 20
"""How many bytes of a file are looked at."""

_FIELD = "files[0].path"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sample:
    """The records of the head, as columns of text."""

    columns: list[pa.Array]
    lines: list[int]

    @classmethod
    def of(cls, data: bytes, dialect: Dialect, width: int, first_line: int) -> _Sample:
        parsed = parse(data, dialect, width)
        places = RecordPlaces.of(data, dialect)
        left_out = {each.index for each in parsed.misshapen}
        lines = [first_line + places.line(index) for index in range(places.ends.size) if index not in left_out]
        return cls(columns=parsed.columns, lines=lines)


def plan_import(spec: ImportSpec, source: Source, database: Path) -> ImportPlan:
    """Make the plan. Raises InvalidSpec; changes nothing."""
    if spec.chunk_bytes < 1:
        raise InvalidSpec("chunk_bytes", "must be greater than 0")
    shape = target_shape(spec.target, database)
    size = source.size
    head = source.read(0, min(HEAD, size))
    start = len(BOM) if head.startswith(BOM) else 0
    text = _text_of(head, source.path, whole=len(head) == size)[start:]
    names: list[str] = []
    header_end = header_lines = 0
    if not text:
        if shape is None:
            raise InvalidSpec(_FIELD, "is empty: no columns to make a table from")
        layout = Layout(dialect=_dialect(spec), header=False)
    else:
        layout = detect(text, spec.csv)
        names, header_end, header_lines = _header(text, layout, source.path)
    first_line = 1 + header_lines
    whole = _whole_records(text[header_end:], layout.dialect, final=len(head) == size)
    sample = _Sample.of(whole, layout.dialect, len(names), first_line) if names else None
    types = _wanted_types(spec, names)
    if shape is not None:
        columns = match_columns(names, shape, by_name=layout.header, types=types) if names else ()
    else:
        columns = tuple(
            Column(source=name, target=name, type=str(types.get(name) or infer(sample.columns[place])))
            for place, name in enumerate(names)
            if sample is not None
        )
    return ImportPlan(
        file=spec.file,
        fingerprint=fingerprint.take(source, size),
        dialect=layout.dialect,
        columns=columns,
        target=spec.target,
        create_table=shape is None,
        start=start + header_end,
        end=size,
        first_line=first_line,
        chunk_bytes=spec.chunk_bytes,
        notes=_notes(columns, sample) if sample is not None else (),
    )


def _dialect(spec: ImportSpec) -> Dialect:
    return Dialect(delimiter=spec.csv.delimiter or ",", quote=spec.csv.quote or '"')


def _text_of(head: bytes, path: str, *, whole: bool) -> bytes:
    """The head without a character that was cut in two. Raises InvalidSpec where it is not text in UTF-8."""
    for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        if head.startswith(mark):
            raise InvalidSpec(_FIELD, f"{path} is UTF-16; only UTF-8 can be read yet: convert it first")
    first_line = head.split(b"\n", 1)[0]
    # A record with a NUL byte in it is refused alone; a file that is full of them, or begins so, is no text.
    if b"\0" in first_line or head.count(0) * 1000 > len(head) + 1000:
        raise InvalidSpec(_FIELD, f"{path} is a binary file: byte {head.index(0)} is NUL")
    try:
        return head[: codecs.utf_8_decode(head, "strict", whole)[1]]
    except UnicodeDecodeError as error:
        line = head.count(b"\n", 0, error.start) + 1
        raise InvalidSpec(
            _FIELD,
            f"{path} is not text in UTF-8: byte {error.start} (line {line}) is 0x{head[error.start]:02X}; "
            "convert it first",
        ) from error


def _header(text: bytes, layout: Layout, path: str) -> tuple[list[str], int, int]:
    """The names of the columns, where the header ends, and how many lines it has."""
    frames = frame(text, layout.dialect, final=True)
    if not frames.record_ends.size:
        raise InvalidSpec(_FIELD, f"{path}: a quote is opened in the first record and never closed")
    fields = first_record(text, layout.dialect)
    if not layout.header:
        return [f"column{number}" for number in range(1, len(fields) + 1)], 0, 0
    names = [name or f"column{number}" for number, name in enumerate(fields, 1)]
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if "\0" in name:
            raise InvalidSpec(_FIELD, f"{path}: the name of column {number} has a NUL byte in it")
        if fold(name) in seen:
            other = seen[fold(name)]
            raise InvalidSpec(
                _FIELD, f"{path}: columns {other} and {number} have the same name: {names[other - 1]!r} and {name!r}"
            )
        seen[fold(name)] = number
    end = int(frames.record_ends[0])
    return names, end, frames.lines_before(end)


def _whole_records(text: bytes, dialect: Dialect, *, final: bool) -> bytes:
    ends = frame(text, dialect, final=final).record_ends
    return text[: ends[-1]] if ends.size else b""


def _wanted_types(spec: ImportSpec, names: list[str]) -> dict[str, FieldType]:
    by_fold = {fold(name): name for name in names}
    types: dict[str, FieldType] = {}
    for wanted, word in spec.types.items():
        name = by_fold.get(fold(wanted))
        if name is None:
            raise InvalidSpec(f"types.{wanted}", f"the file has no column {wanted!r}; it has {', '.join(names)}")
        try:
            types[name] = field_type.parse(word)
        except ValueError as error:
            raise InvalidSpec(f"types.{wanted}", str(error)) from error
    return types


def _notes(columns: tuple[Column, ...], sample: _Sample) -> tuple[str, ...]:
    """A sentence for each column with values in the sample that will be refused."""
    notes = []
    for column, values in zip(columns, sample.columns, strict=True):
        misfits = cast(values, field_type.parse(column.type)).misfits
        if misfits:
            first = misfits[0]
            notes.append(
                f"{column.source} is read as {column.type}: {len(misfits)} of the first "
                f"{len(values) - values.null_count} values will be refused, the first in line "
                f"{sample.lines[first.index]}: {first.message}"
            )
    return tuple(notes)
