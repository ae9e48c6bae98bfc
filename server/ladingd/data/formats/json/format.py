"""JSON: an array of objects, or an object of which one member is such an array. Nested values are their JSON text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import Layout
from ladingd.data.formats.format import SAMPLE, Format, Outline
from ladingd.data.formats.json.chunker import cut, is_behind
from ladingd.data.formats.json.elements import Elements, elements_in, find_array
from ladingd.data.formats.json.reader import read_piece
from ladingd.data.formats.json.writer import JsonWriter
from ladingd.data.formats.json_lines.parser import UNEXPECTED_KEY
from ladingd.data.formats.json_lines.reader import has_columns_of
from ladingd.data.formats.json_lines.sample import HEAD, SAMPLED, head_of, learned
from ladingd.data.formats.lines import (
    BOM,
    FILE_FIELD,
    RECORD_LIMIT,
    blank_lines,
    decodable,
    find_beginning,
    line_ends,
    lines_in,
)
from ladingd.data.formats.options import FLATTENED, refuse_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.plan import Chunk, Column, ImportPlan
    from ladingd.core.spec import ExportSpec, ImportSpec
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.format import Piece
    from ladingd.data.formats.json.elements import Array
    from ladingd.data.formats.lines import Beginning

NAME = "json"
_NEAR = 1 << 20


class Json(Format):
    """Each element of the array is an object; its keys are the columns. A key that is missing is null."""

    name: ClassVar[str] = NAME
    title: ClassVar[str] = "JSON"
    endings: ClassVar[frozenset[str]] = frozenset({"json"})
    sparse: ClassVar[bool] = True
    telling_faults: ClassVar[frozenset[str]] = frozenset({UNEXPECTED_KEY})
    surveyed_whole: ClassVar[int] = 12 << 20
    surveyed_block: ClassVar[int] = 512 << 10
    read_only_endings: ClassVar[frozenset[str]] = frozenset({"geojson"})

    def recognises(self, sample: bytes) -> bool:
        text = sample.removeprefix(BOM).strip()
        array = find_array(text)
        if array is None:
            return False
        if not array.key:
            rest = text[array.start :].lstrip()
            return rest.startswith(b"{") or rest == b"]"
        line, end, _ = text.partition(b"\n")
        return bool(end) and len(line) < SAMPLE and not _is_object(line)  # Else it may be JSON Lines: the name decides.

    def may_be(self, sample: bytes) -> bool:
        text = sample.removeprefix(BOM).strip()
        return _is_object(text) and find_array(text) is not None

    def check(self, spec: ImportSpec | ExportSpec) -> None:
        refuse_options(spec, self.title, but=("flatten",))

    def outline(self, source: Source, size: int, spec: ImportSpec, column_limit: int) -> Outline:
        beginning = find_beginning(source, size)
        if beginning.start == size:
            return _empty(size)
        head, array, found, whole = _look(source, beginning, size)
        shown = head[array.start :]
        line = 1 + beginning.lines + lines_in(head[: array.start])
        complete = whole and found.closed
        if not found.starts:
            if not found.closed:
                raise InvalidSpec(FILE_FIELD, f"{source.path}: the array is not closed: the file ends within it")
            return _empty(size)
        places = zip(found.starts, found.ends, _lines_before(shown, found), strict=True)
        sample = head_of(
            ((line + before, shown[first:last]) for first, last, before in places),
            source.path,
            column_limit,
            whole=complete,
            flatten=spec.flatten,
        )
        key = json.loads(array.key) if array.key else ""
        notes = blank_lines(beginning.lines)
        behind = _keys_in(shown[found.end :]) if key and complete else ()
        if others := (*map(json.loads, array.others), *behind):
            notes += (f"only the array {key!r} is imported, not what stands beside it: {_listed(others)}",)
        return Outline(
            layout=Layout(
                format=NAME,
                details={
                    "key": key,
                    "between": _between(shown, found),
                    "behind": json.dumps(behind),
                    **(FLATTENED if spec.flatten else {}),
                },
            ),
            start=beginning.start + array.start + found.starts[0],
            end=size,
            first_line=line + lines_in(shown[: found.starts[0]]),
            names=sample.names,
            columns=sample.columns,
            lines=sample.lines,
            whole=sample.whole,
            types=sample.types,
            inferred=True,
            raw=sample.raw,
            detected={"format": self.title, **({"array": repr(key)} if array.key else {}), "encoding": "UTF-8"},
            notes=notes,
        )

    def has_columns_of(self, outline: Outline, first: Outline) -> bool:
        return has_columns_of(outline, first)

    def learn(self, outline: Outline, records: Sequence[bytes], path: str, column_limit: int) -> Outline:
        return learned(outline, records, path, column_limit)

    def cut(self, source: Source, plan: ImportPlan, previous: Chunk | None, limit: int) -> tuple[Chunk, ...]:
        return cut(source, plan, previous, limit)

    def read(self, source: Source, plan: ImportPlan, chunk: Chunk) -> Piece:
        return read_piece(source, plan, chunk)

    def damage(self, source: Source, plan: ImportPlan, last: Chunk) -> str:
        end = _end_of_array(source, plan, last)
        if end is None:
            return f"{source.path}: the array is not closed: the file ends within it, at byte {plan.file.end:,}"
        rest = source.read(end, min(end + RECORD_LIMIT, plan.file.end))
        if plan.file.end - end > RECORD_LIMIT or _ends(rest, within_object=bool(plan.file.layout.details["key"])):
            return ""
        return f"{source.path}: what follows the array at byte {end + 1:,} is no part of it and was not imported"

    def left_out(self, source: Source, plan: ImportPlan, last: Chunk) -> str:
        details = plan.file.layout.details
        end = _end_of_array(source, plan, last)
        if end is None or not details["key"]:
            return ""
        shown = f"{source.path}: only the array {details['key']!r} was imported, not what follows it"
        if plan.file.end - end > RECORD_LIMIT:
            return f"{shown}: {plan.file.end - end:,} bytes"
        told = json.loads(details.get("behind", "[]"))
        new = [key for key in _keys_in(source.read(end, plan.file.end)) if key not in told]
        return f"{shown}: {_listed(new)}" if new else ""

    def record_near(self, source: Source, plan: ImportPlan, position: int) -> int | None:
        between = plan.file.layout.details["between"].encode()
        found = source.read(position, min(position + _NEAR, plan.file.end)).find(between) if between else -1
        return None if found < 0 else position + found + between.index(b",") + 1

    def layout(self, spec: ExportSpec, columns: Sequence[Column]) -> Layout:
        return Layout(format=NAME, details={"key": "", "between": ""})

    def writer(self, layout: Layout, columns: Sequence[Column]) -> JsonWriter:
        return JsonWriter(columns=columns)


def _end_of_array(source: Source, plan: ImportPlan, last: Chunk) -> int | None:
    """The place behind the bracket that closes the array; None: the file ends before. ``last`` is the last chunk."""
    if is_behind(source, plan, last):
        return last.start
    found = None if last.refused else elements_in(source.read(last.start, last.end), final=False)
    closed = source.read(last.end - 1, last.end) == b"]" if found is None else found.closed
    end = last.end if found is None else last.start + found.end
    return end if closed else None


def _look(source: Source, beginning: Beginning, size: int) -> tuple[bytes, Array, Elements, bool]:
    """The beginning of the file, its array, its first elements, and whether it is the whole file."""
    for reach in (HEAD, RECORD_LIMIT + HEAD):
        end = min(beginning.start + reach, size)
        head = decodable(source.read(beginning.start, end), source.path, beginning, whole=end == size)
        array = find_array(head)
        if array is not None:
            found = elements_in(head[array.start :], final=end == size, limit=SAMPLED)
            if found.starts or found.closed or end == size:
                return head, array, found, end == size
        elif end == size:
            break
    if array is None:
        raise InvalidSpec(
            FILE_FIELD,
            f"{source.path} has no array of objects near its beginning: choose --format json_lines if each line is an "
            "object",
        )
    raise InvalidSpec(FILE_FIELD, f"{source.path}: the first element has more than {RECORD_LIMIT:,} bytes")


def _lines_before(text: bytes, found: Elements) -> list[int]:
    """The number of lines before each element."""
    lines: list[int] = np.searchsorted(line_ends(text), found.starts, side="right").tolist()
    return lines


def _empty(size: int) -> Outline:
    layout = Layout(format=NAME, details={"key": "", "between": ""})
    return Outline(layout=layout, start=size, end=size, first_line=1, whole=True, detected={"format": Json.title})


def _between(text: bytes, found: Elements) -> str:
    """What stands between the first two elements, with the first key of the second: it tells where others begin."""
    if len(found.starts) < 2:
        return ""
    behind = text.find(b":", found.starts[1], found.ends[1])
    between = text[found.ends[0] - 1 : behind]
    return between.decode() if behind > 0 and between.startswith(b"}") and between.isascii() else ""


def _ends(rest: bytes, *, within_object: bool) -> bool:
    """Whether a document ends as it should after its array."""
    if not within_object:
        return not rest.strip()
    return _is_object(_OBJECT + rest)


_OBJECT = b'{"":0'
"""An object without its end, for what follows an array in an object."""


def _keys_in(rest: bytes) -> tuple[str, ...]:
    """The keys that follow the array in the object around it; none if it is damaged."""
    return tuple(json.loads(_OBJECT + rest))[1:] if _is_object(_OBJECT + rest) else ()


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _listed(keys: Sequence[str]) -> str:
    shown = [repr(key) for key in keys[:10]]
    return ", ".join(shown) + (f" and {len(keys) - 10:,} more" if len(keys) > 10 else "")
