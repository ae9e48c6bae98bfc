"""XML: an element that repeats. Its attributes and children are the columns."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import Layout
from ladingd.data.formats.format import UNKNOWN_LINE, Format, Outline
from ladingd.data.formats.json_lines.sample import HEAD, SAMPLED
from ladingd.data.formats.lines import (
    BOM,
    FILE_FIELD,
    RECORD_LIMIT,
    RECORD_TOO_LONG,
    blank_lines,
    count_lines,
    decodable,
    find_beginning,
    lines_in,
)
from ladingd.data.formats.options import refuse_options
from ladingd.data.formats.xml.chunker import cut, walked
from ladingd.data.formats.xml.markup import Frame
from ladingd.data.formats.xml.names import column_names
from ladingd.data.formats.xml.reader import columns_of, read_piece
from ladingd.data.formats.xml.record import NotARecord, Parser, is_well_formed, parse, start_tag
from ladingd.data.formats.xml.scanner import records_in
from ladingd.data.formats.xml.shape import Node, written
from ladingd.data.formats.xml.structure import Skeleton, listed
from ladingd.data.formats.xml.writer import XmlWriter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from xml.etree.ElementTree import Element

    from ladingd.core.plan import Chunk, Column, ImportPlan
    from ladingd.core.spec import ExportSpec, ImportSpec
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.format import Piece
    from ladingd.data.formats.lines import Beginning
    from ladingd.data.formats.xml.scanner import Found

NAME = "xml"
_NEAR = 1 << 20
_PROLOGUE = rb"(?:\s++|<!--(?s:.*?)-->|<\?(?s:.*?)\?>)*+"
_BESIDE = re.compile(_PROLOGUE)
"""What may stand before and behind the root."""
_XML = re.compile(
    rb"\s*+<\?xml\s|" + _PROLOGUE + rb"""<(?!html)[^\s<>/"'!?=]++(?:\s++[\w:.-]++\s*+=\s*+(?:"[^"<]*+"|'[^'<]*+'))*+"""
    rb"\s*+(?:/>\s*+\Z|>\s*+<)",
    re.IGNORECASE,
)
_HTML = re.compile(_PROLOGUE + rb"<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE)
"""How HTML begins, also if it is well-formed XML."""


class Xml(Format):
    """Each element with a certain name is a record."""

    name: ClassVar[str] = NAME
    title: ClassVar[str] = "XML"
    endings: ClassVar[frozenset[str]] = frozenset({"xml"})
    sparse: ClassVar[bool] = True
    telling_faults: ClassVar[frozenset[str]] = frozenset(
        {"UNEXPECTED_ELEMENT", "UNEXPECTED_ATTRIBUTE", "UNEXPECTED_TEXT", "REPEATED_ELEMENT"}
    )
    surveyed_whole: ClassVar[int] = 12 << 20
    surveyed_block: ClassVar[int] = 512 << 10

    def recognises(self, sample: bytes) -> bool:
        text = sample.removeprefix(BOM)
        return _XML.match(text) is not None and _HTML.match(text) is None

    def check(self, spec: ImportSpec | ExportSpec) -> None:
        refuse_options(spec, self.title, own="xml", but=("flatten",))

    def outline(self, source: Source, size: int, spec: ImportSpec, column_limit: int) -> Outline:
        beginning = find_beginning(source, size)
        if beginning.start == size:
            return _empty(size)
        head, skeleton, frame, start, found, whole = _look(source, beginning, size, spec.xml.record_element)
        if skeleton.is_empty:
            return _empty(size)
        namespaces = skeleton.namespaces(frame)
        first_line = 1 + beginning.lines + lines_in(head[:start])
        elements, lines, raw = _elements(head[start:], found, start_tag(namespaces), first_line, source.path)
        shown = frame.record.decode()
        details, notes = _shape(elements, namespaces, shown, source.path, column_limit)
        beside = skeleton.beside(frame)
        if beside:
            other = f"only the elements <{shown}> are imported, not these around them: {listed(beside)}"
            notes = (f"{other} (--record-element)", *notes)
        details |= {**frame.details(), "namespaces": json.dumps(namespaces), "beside": json.dumps(beside)}
        parser = Parser.of(layout := Layout(format=NAME, details=details))
        return Outline(
            layout=layout,
            start=beginning.start + start,
            end=size,
            first_line=first_line,
            names=parser.names,
            columns=columns_of([parser.row(element) for element in elements], len(parser.names)),
            lines=lines,
            raw=raw,
            whole=whole and len(found.starts) < SAMPLED,
            detected={"format": self.title, "record element": f"<{shown}>", "encoding": "UTF-8"},
            notes=(*blank_lines(beginning.lines), *notes),
        )

    def learn(self, outline: Outline, records: Sequence[bytes], path: str, column_limit: int) -> Outline:
        details = outline.layout.details
        namespaces = json.loads(details["namespaces"])
        raw = [*outline.raw, *records]
        elements = [parse(text, start_tag(namespaces)) for text in raw]
        shape, notes = _shape(elements, namespaces, details["record"], path, column_limit)
        parser = Parser.of(layout := Layout(format=NAME, details={**details, **shape}))
        return replace(
            outline,
            layout=layout,
            names=parser.names,
            columns=columns_of([parser.row(element) for element in elements], len(parser.names)),
            lines=[*outline.lines, *[UNKNOWN_LINE] * len(records)],
            raw=raw,
            notes=(*outline.notes, *(note for note in notes if note not in outline.notes)),
        )

    def cut(self, source: Source, plan: ImportPlan, previous: Chunk | None, limit: int) -> tuple[Chunk, ...]:
        return cut(source, plan, previous, limit)

    def read(self, source: Source, plan: ImportPlan, chunk: Chunk) -> Piece:
        return read_piece(source, plan, chunk)

    def damage(self, source: Source, plan: ImportPlan, last: Chunk) -> str:
        frame = Frame.of(plan.file.layout)
        within, closing, closed, _ = _end(source, plan, last, frame)

        def line(place: int) -> str:
            return f"line {last.first_line + count_lines(source, last.start, place):,}"

        if closed is None:
            return f"{source.path} ends within <{within}>, in {line(plan.file.end)}: it is not complete"
        if within:
            return f"{source.path}: <{within}> is not closed before the root element ends in {line(closing)}"
        rest = source.read(closed, min(closed + RECORD_LIMIT, plan.file.end))
        known = _BESIDE.match(rest)
        wrong = closed + (known.end() if known else 0)
        if wrong == plan.file.end:
            return ""
        return f"{source.path}: what follows the root element in {line(wrong)} is no part of it and was not imported"

    def left_out(self, source: Source, plan: ImportPlan, last: Chunk) -> str:
        details = plan.file.layout.details
        told = json.loads(details.get("beside", "[]"))
        beside = [name.decode(errors="replace") for name in _end(source, plan, last, Frame.of(plan.file.layout)).beside]
        new = [name for name in beside if name not in told]
        if not new:
            return ""
        shown = details["record"]
        return (
            f"{source.path}: only the elements <{shown}> were imported, not these behind them: {listed(new)} "
            "(--record-element)"
        )

    def record_near(self, source: Source, plan: ImportPlan, position: int) -> int | None:
        name = re.escape(plan.file.layout.details["record"].encode())
        found = re.search(rb"<" + name + rb"[ \t\r\n/>]", source.read(position, min(position + _NEAR, plan.file.end)))
        return None if found is None else position + found.start()

    def layout(self, spec: ExportSpec, columns: Sequence[Column]) -> Layout:
        return Layout(format=NAME)

    def writer(self, layout: Layout, columns: Sequence[Column]) -> XmlWriter:
        return XmlWriter(columns=columns)


def _look(
    source: Source, beginning: Beginning, size: int, wanted: str
) -> tuple[bytes, Skeleton, Frame, int, Found, bool]:
    """The beginning of the file, its elements, the place of the first record in it, the first records, and whether it
    is the whole file."""
    for reach in (HEAD, RECORD_LIMIT + HEAD):
        end = min(beginning.start + reach, size)
        head = decodable(source.read(beginning.start, end), source.path, beginning, whole=end == size)
        skeleton = Skeleton(source.path)
        skeleton.look(head, final=end == size)
        frame = skeleton.frame(wanted)
        start = skeleton.start(frame)
        found = records_in(head[start:], frame, final=end == size, limit=SAMPLED)
        if found.starts or end == size:
            return head, skeleton, frame, start, found, end == size
    raise InvalidSpec(FILE_FIELD, f"{source.path}: the first record has more than {RECORD_LIMIT:,} bytes")


def _shape(
    elements: Iterable[Element], namespaces: Iterable[tuple[str, str]], record: str, path: str, column_limit: int
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The columns of these records, as details of a layout, and what people are told about their names. Raises
    InvalidSpec."""
    node = Node()
    for element in elements:
        node.learn(element)
    places = list(node.places())
    if len(places) > column_limit:
        raise InvalidSpec(FILE_FIELD, f"{path} has {len(places):,} columns; at most {column_limit:,} can be imported")
    names, notes = column_names(places, record.rpartition(":")[2], {uri: prefix for prefix, uri in namespaces})
    return {"names": json.dumps(names), "columns": written(places)}, notes


def _elements(
    text: bytes, found: Found, before: bytes, first_line: int, path: str
) -> tuple[list[Element], list[int], list[bytes]]:
    """The records that are well-formed, with the line and the text of each. Raises InvalidSpec if there are none."""
    elements: list[Element] = []
    lines: list[int] = []
    raw: list[bytes] = []
    line, place, problem = first_line, 0, "its first record has no end"
    for start, end in zip(found.starts, found.ends, strict=True):
        line, place = line + lines_in(text[place:start]), start
        try:
            elements.append(parse(text[start:end], before))
            lines.append(line)
            raw.append(text[start:end])
        except NotARecord as error:
            problem = f"line {line:,}: {error.message(line)}"
    if not elements:
        raise InvalidSpec(FILE_FIELD, f"{path}, {problem}")
    return elements, lines, raw


class _End(NamedTuple):
    """What follows the records of a file."""

    within: str
    """The element that is not closed; empty: all are."""
    closing: int
    """Where the end tag of the root begins."""
    closed: int | None
    """Where it ends; None: it has none."""
    beside: Collection[bytes] = ()
    """The names of the elements that follow the records."""


def _end(source: Source, plan: ImportPlan, last: Chunk, frame: Frame) -> _End:
    """What follows the records of a file. ``last`` is its last chunk."""
    if last.refused == RECORD_TOO_LONG:
        return _End(frame.record.decode(), plan.file.end, None)
    if last.refused is None and last.records:
        found = records_in(source.read(last.start, last.end), frame, final=True)
        if not frame.parents:
            is_closed = found.closed is not None and is_well_formed(source.read(last.start, last.start + found.closed))
            return _End("", 0, last.start + found.closed if found.closed is not None and is_closed else None)
        start = last.start + found.ends[-1]
    else:
        start = last.start
    gap = walked(source, frame, start, plan.file.end)
    return _End(gap.open[-1].decode() if gap.open else "", gap.closing or 0, gap.closed, gap.beside)


def _empty(size: int) -> Outline:
    layout = Layout(format=NAME, details={"record": "record", "parents": "", "nests": ""})
    return Outline(layout=layout, start=size, end=size, first_line=1, whole=True, detected={"format": Xml.title})
