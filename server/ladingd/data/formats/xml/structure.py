"""Finds out which elements of a file are its records."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.parsers import expat

from ladingd.core.errors import InvalidSpec
from ladingd.data.formats.lines import FILE_FIELD
from ladingd.data.formats.xml.markup import Frame
from ladingd.data.formats.xml.names import FIELD, NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

Path = tuple[bytes, ...]

_DEEPEST = 5
"""Records are children of the root, or up to so many levels below it."""

_SHARE = 0.9
"""The share of an element's children that records have, if they are not children of the root."""

_RECORD = "xml.record_element"


@dataclass(kw_only=True, slots=True)
class _Seen:
    """The elements with one path."""

    count: int = 0
    size: int = 0
    has_parts: bool = False
    is_field: bool = False
    """The last one is a field of a record, by its name and its attribute."""
    first: int = 0
    namespaces: dict[str, str] = field(default_factory=dict)
    """Those that the first of them declares, by prefix."""


class Skeleton:
    """The elements near the beginning of a file, by their paths."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._parser = expat.ParserCreate("utf-8")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.EntityDeclHandler = self._entity
        self._open: list[tuple[bytes, int]] = []
        self._seen: dict[Path, _Seen] = {}
        self._names: Counter[bytes] = Counter()
        """How many elements of each name are open."""
        self._nested: set[bytes] = set()
        self._problem = ""

    def look(self, head: bytes, *, final: bool) -> None:
        """Look at the beginning. Raises InvalidSpec if it is not XML, or declares entities."""
        try:
            self._parser.Parse(head, final)
        except expat.ExpatError as error:
            self._problem = f"{self._path} is not XML: {expat.ErrorString(error.code)}, in line {error.lineno:,}"
            if not self._seen:
                raise InvalidSpec(FILE_FIELD, self._problem) from error
        for depth in range(min(len(self._open), _DEEPEST), 0, -1):
            path = tuple(name for name, _ in self._open[:depth])
            if path in self._seen:
                self._seen[path].size += len(head) - self._open[depth - 1][1]

    @property
    def is_empty(self) -> bool:
        """Whether the root contains nothing. Raises InvalidSpec if it is not closed."""
        if len(self._seen) > 1 or any(seen.has_parts for seen in self._seen.values()):
            return False
        if self._problem:
            raise InvalidSpec(FILE_FIELD, self._problem)
        return True

    def frame(self, wanted: str) -> Frame:
        """Which elements are the records. ``wanted``: their name; empty: it is detected. Raises InvalidSpec."""
        path = self._named(wanted) if wanted else self._detected()
        return Frame(record=path[-1], parents=path[:-1], nests=path[-1] in self._nested)

    def start(self, frame: Frame) -> int:
        """Where the first record begins."""
        return self._seen[(*frame.parents, frame.record)].first

    def namespaces(self, frame: Frame) -> list[tuple[str, str]]:
        """The namespaces that are declared around the records, by prefix."""
        found: dict[str, str] = {}
        for depth in range(1, len(frame.parents) + 1):
            found |= self._seen[frame.parents[:depth]].namespaces
        return list(found.items())

    def beside(self, frame: Frame) -> list[str]:
        """The names of elements that stand around the records and are not imported."""
        depth = len(frame.parents)
        around = {frame.parents[:level] for level in range(1, depth + 1)} | {(*frame.parents, frame.record)}
        return [
            path[-1].decode()
            for path in self._seen
            if 1 < len(path) <= depth + 1 and path not in around and path[:-1] in around
        ]

    def _named(self, wanted: str) -> Path:
        name = wanted.encode()
        found = [path for path in self._seen if name in (path[-1], path[-1].rpartition(b":")[2])]
        if not found:
            names = ", ".join(dict.fromkeys(f"<{path[-1].decode()}>" for path in self._seen))
            raise InvalidSpec(_RECORD, f"{self._path} has no element <{wanted}> near its beginning; it has {names}")
        return min(found, key=len)

    def _detected(self) -> Path:
        children: Counter[Path] = Counter()
        for path, seen in self._seen.items():
            children[path[:-1]] += seen.count
        repeated = [
            path
            for path, seen in self._seen.items()
            if seen.count > 1
            and not seen.is_field
            and (len(path) == 2 or (len(path) > 2 and seen.count >= _SHARE * children[path[:-1]]))
        ]
        if repeated:
            return max(repeated, key=lambda path: (self._seen[path].size, -len(path)))
        with_parts = [path for path, seen in self._seen.items() if seen.has_parts]
        deepest = max(with_parts, key=len, default=None)
        return deepest or min(self._seen, key=lambda path: abs(len(path) - 2))

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        tag = name.encode()
        if not self._open and name.rpartition(":")[2].lower() == "html":
            raise InvalidSpec(
                FILE_FIELD, f"{self._path} is HTML, which Lading cannot read yet: save its table as CSV first"
            )
        if self._names[tag]:
            self._nested.add(tag)
        self._names[tag] += 1
        place = self._parser.CurrentByteIndex
        self._open.append((tag, place))
        if len(self._open) > _DEEPEST:
            return
        path = tuple(above for above, _ in self._open)
        seen = self._seen.get(path)
        if seen is None:
            declared = {key[6:]: uri for key, uri in attributes.items() if key == "xmlns" or key.startswith("xmlns:")}
            seen = self._seen[path] = _Seen(first=place, namespaces=declared)
        seen.count += 1
        seen.is_field = name == FIELD and NAME in attributes
        seen.has_parts |= not seen.is_field and any(not key.startswith(("xmlns", "xsi:")) for key in attributes)
        if path[:-1] in self._seen:
            self._seen[path[:-1]].has_parts = True

    def _end(self, _name: str) -> None:
        tag, start = self._open.pop()
        self._names[tag] -= 1
        if len(self._open) < _DEEPEST:
            path = (*(above for above, _ in self._open), tag)
            self._seen[path].size += self._parser.CurrentByteIndex - start

    def _entity(self, name: str, *_: object) -> None:
        raise InvalidSpec(
            FILE_FIELD,
            f"{self._path} declares the entity {name!r} in line {self._parser.CurrentLineNumber:,}: Lading expands no "
            "entities, because they can refer to other files or grow without limit; expand them first, with "
            "xmllint --noent FILE for example",
        )


def listed(names: Sequence[str]) -> str:
    shown = [f"<{name}>" for name in names[:10]]
    return ", ".join(shown) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")
