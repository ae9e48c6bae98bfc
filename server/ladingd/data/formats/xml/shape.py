"""The shape of the records of a file: which elements and attributes are columns."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ladingd.data.formats.xml.names import Place, is_part_of_name, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from xml.etree.ElementTree import Element

T = TypeVar("T")

_DEPTH = 3
"""Elements that are nested more deeply are part of the XML text of one of these."""


@dataclass(kw_only=True, slots=True)
class Node:
    """What is known of the elements in one place, from some records."""

    attributes: dict[str, None] = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)
    has_text: bool = False
    has_parts: bool = False
    """It has attributes or elements."""
    is_xml: bool = False
    """It is repeated, or has text beside elements, or is nested too deeply."""

    def learn(self, element: Element, path: tuple[str, ...] = ()) -> None:
        """Learn from the element of one record."""
        own = [key for key in element.attrib if not is_part_of_name(key, path)]
        before: str | None = None
        for key in own:
            if key not in self.attributes:
                self.attributes = _put_behind(self.attributes, before, key, None)
            before = key
        self.has_parts |= bool(own) or len(element) > 0
        texts = [element.text or "", *(child.tail or "" for child in element)]
        if any(text and not text.isspace() for text in texts):
            self.has_text = True
            self.is_xml |= bool(path) and len(element) > 0
        if len(path) >= _DEPTH and len(element) > 0:
            self.is_xml = True
            return
        counts: Counter[str] = Counter()
        before = None
        for child in element:
            key = key_of(child, path)
            counts[key] += 1
            if key not in self.children:
                self.children = _put_behind(self.children, before, key, Node())
            node, before = self.children[key], key
            node.is_xml |= counts[key] > 1
            node.learn(child, (*path, key))

    def places(self, path: tuple[str, ...] = ()) -> Iterator[Place]:
        """The columns, in order."""
        if self.is_xml:
            yield Place("xml", path)
            return
        for key in self.attributes:
            yield Place("attribute", (*path, key))
        if self.has_text or not self.has_parts:
            yield Place("text", path)
        for key, child in self.children.items():
            yield from child.places((*path, key))


@dataclass(kw_only=True, slots=True)
class Branch:
    """The columns in one place of a record, by their numbers."""

    attributes: dict[str, int] = field(default_factory=dict)
    children: dict[str, Branch] = field(default_factory=dict)
    text: int | None = None
    xml: int | None = None

    @classmethod
    def of(cls, places: Sequence[Place]) -> Branch:
        root = cls()
        for number, (kind, path) in enumerate(places):
            branch = root
            for key in path[:-1] if kind == "attribute" else path:
                branch = branch.children.setdefault(key, cls())
            if kind == "attribute":
                branch.attributes[path[-1]] = number
            elif kind == "text":
                branch.text = number
            else:
                branch.xml = number
        return root


def _put_behind(mapping: dict[str, T], before: str | None, key: str, value: T) -> dict[str, T]:
    """A mapping with one more key, which follows another one or is the first. Columns that most records lack so get
    their place among the others."""
    keys = list(mapping)
    keys.insert(keys.index(before) + 1 if before is not None else 0, key)
    return {each: value if each == key else mapping[each] for each in keys}


def written(places: Sequence[Place]) -> str:
    """Places as text of ASCII."""
    return json.dumps(places)


def read(text: str) -> list[Place]:
    """The places that `written` made a text of."""
    return [Place(kind, tuple(path)) for kind, path in json.loads(text)]
