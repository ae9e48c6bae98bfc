"""Parses one record."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree.ElementTree import XML, Element, ParseError
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from ladingd.data.files.encoding import misfit
from ladingd.data.formats.lines import is_utf8
from ladingd.data.formats.xml.names import FIELD, NIL, is_part_of_name, key_of, local
from ladingd.data.formats.xml.pattern import SUSPECT, pattern_of, without_references
from ladingd.data.formats.xml.shape import Branch, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ladingd.core.plan import Layout

    Row = Sequence[str | bytes | None]

_TRUE = frozenset({"true", "1"})
_UNDEFINED = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)[^\s;&<#]{1,40};")
_AS_ASCII = bytes(min(code, ord("x")) if code >= 0x80 else code for code in range(256))


class NotARecord(Exception):
    """The record is refused: the code and the problem of the fault, and the line of the record, counted from 0."""

    def __init__(self, code: str, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.code = code
        self.line = line

    def message(self, first_line: int) -> str:
        """The message of the fault. ``first_line``: the line of the file in which the record begins."""
        return str(self) if self.line is None else f"{self}, in line {first_line + self.line:,}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Parser:
    """Parses the records of a file."""

    before: bytes
    """The start tag of an element that declares the namespaces around the records."""
    columns: Branch
    names: Sequence[str]
    """The names of the columns."""
    usual: re.Pattern[bytes] | None
    """The pattern of records that need not be parsed."""
    lenient: bool = False
    """Elements and attributes without a column are left out. Otherwise the record is refused."""

    @classmethod
    def of(cls, layout: Layout, *, lenient: bool = False) -> Parser:
        """The parser of a file in this layout."""
        details = layout.details
        namespaces, columns = json.loads(details["namespaces"]), Branch.of(read(details["columns"]))
        usual = pattern_of(details["record"].encode(), columns, namespaces)
        return cls(
            before=start_tag(namespaces),
            columns=columns,
            names=json.loads(details["names"]),
            usual=usual,
            lenient=lenient,
        )

    def values(self, text: bytes) -> Row:
        """The value of each column in a record. Raises NotARecord."""
        return self.row(parse(text, self.before))

    def rows(self, data: bytes, starts: Iterable[int], ends: Iterable[int]) -> Iterator[Row | NotARecord]:
        """The values of each record, or why it is refused."""
        usual = self.usual if is_utf8(data) and not any(mark in data for mark in SUSPECT) else None
        for start, end in zip(starts, ends, strict=True):
            row: Row | None = None
            if usual is not None and (found := usual.fullmatch(data, start, end)):
                texts = found.groups()
                row = texts if data.find(b"&", start, end) < 0 else self._resolved(texts)
            if row is not None:
                yield row
                continue
            try:
                yield self.values(data[start:end])
            except NotARecord as error:
                yield error

    @staticmethod
    def _resolved(row: Sequence[bytes | None]) -> Row | None:
        """A row of the pattern without references; None: one of them is not valid."""
        resolved: list[bytes | None] = []
        for value in row:
            if value is not None and b"&" in value:
                value = without_references(value)
                if value is None:
                    return None
            resolved.append(value)
        return resolved

    def row(self, element: Element) -> Row:
        """The value of each column in the element that a record is. Raises NotARecord."""
        values: list[str | None] = [None] * len(self.names)
        _fill(element, self.columns, values, (), lenient=self.lenient)
        return values


def start_tag(namespaces: Iterable[tuple[str, str]]) -> bytes:
    """The start tag of an element that declares namespaces, given by their prefixes."""
    declared = (f" xmlns{prefix and ':'}{prefix}={quoteattr(uri)}" for prefix, uri in namespaces)
    return f"<x{''.join(declared)}>".encode()


def parse(text: bytes, before: bytes) -> Element:
    """The element that a record is. Raises NotARecord."""
    try:
        around = XML(b"%b%b</x>" % (before, text))
    except ParseError as error:
        raise _fault(text, error) from error
    if len(around) != 1 or around.text or (around[0].tail or "").strip():
        raise NotARecord("NOT_XML", "this text stands between the records")
    return around[0]


def is_well_formed(text: bytes) -> bool:
    """Whether a text is one element, in any encoding that keeps ASCII."""
    try:
        expat.ParserCreate("us-ascii").Parse(text.translate(_AS_ASCII), True)
    except expat.ExpatError:
        return False
    return True


def _fault(text: bytes, error: ParseError) -> NotARecord:
    if not is_utf8(text):
        return NotARecord("NOT_UTF8", f"the record {misfit(text)}")
    what = expat.ErrorString(error.code)
    if what == expat.errors.XML_ERROR_UNDEFINED_ENTITY and (found := _UNDEFINED.search(text.decode())):
        what = f"the entity {found[0]} is not defined"
    return NotARecord("NOT_XML", f"the record is not well-formed XML: {what}", error.position[0] - 1)


def _fill(element: Element, branch: Branch, values: list[str | None], path: tuple[str, ...], *, lenient: bool) -> None:
    for key, value in element.items():
        column = branch.attributes.get(key)
        if column is not None:
            values[column] = value
        elif not is_part_of_name(key, path) and not lenient:
            raise NotARecord("UNEXPECTED_ATTRIBUTE", f"there is no column for the attribute {_shown((*path, key))}")
    if not len(element):
        _put(element, branch, values, path)
        return
    filled: set[str] = set()
    for child in element:
        key = child.tag if child.tag != FIELD else key_of(child, path)
        below = branch.children.get(key)
        if below is None and lenient:
            continue
        if below is None:
            raise NotARecord("UNEXPECTED_ELEMENT", f"there is no column for the element {_shown((*path, key))}")
        if below.xml is not None:
            values[below.xml] = (values[below.xml] or "") + xml_of(child)
            continue
        if key in filled:
            raise NotARecord("REPEATED_ELEMENT", f"the element {_shown((*path, key))} occurs twice")
        filled.add(key)
        if len(child) or child.attrib:
            _fill(child, below, values, (*path, key), lenient=lenient)
        elif below.text is not None:
            values[below.text] = child.text or ""
        elif child.text and not child.text.isspace():
            _put(child, below, values, (*path, key))
    texts = [element.text or "", *(child.tail or "" for child in element)]
    text = "".join(texts).strip()
    if not text:
        return
    if path or branch.text is None:
        raise NotARecord("UNEXPECTED_TEXT", f"text stands between the elements of {_shown(path)}")
    values[branch.text] = text


def _put(element: Element, branch: Branch, values: list[str | None], path: tuple[str, ...]) -> None:
    """The text of an element that contains no other."""
    if branch.text is not None:
        if element.get(NIL) not in _TRUE:
            values[branch.text] = element.text or ""
    elif element.text and not element.text.isspace():
        raise NotARecord("UNEXPECTED_TEXT", f"there is no column for the text of {_shown(path)}")


def xml_of(element: Element) -> str:
    """An element as XML without prefixes. The depth of its elements is not limited."""
    parts: list[str] = []
    rest: list[tuple[Element, str | None]] = [(element, None)]
    while rest:
        current, end = rest.pop()
        if end is not None:
            parts.append(end + escape((current.tail or "") if current is not element else ""))
            continue
        name = local(current.tag)
        attributes = "".join(f" {local(key)}={quoteattr(value)}" for key, value in current.items())
        is_empty = not len(current) and not current.text
        parts.append(f"<{name}{attributes}{'/' if is_empty else ''}>{escape(current.text or '')}")
        rest.append((current, "" if is_empty else f"</{name}>"))
        rest.extend((child, None) for child in reversed(current))
    return "".join(parts)


def _shown(path: tuple[str, ...]) -> str:
    return repr(".".join(map(local, path)))
