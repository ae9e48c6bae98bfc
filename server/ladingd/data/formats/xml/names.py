"""Names of elements and attributes, and the names of columns that come from them or become them."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import quoteattr

from ladingd.data.formats.header import different_names
from ladingd.data.values.names import fold

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from xml.etree.ElementTree import Element

SCHEMA_INSTANCE = "{http://www.w3.org/2001/XMLSchema-instance}"
NIL = f"{SCHEMA_INSTANCE}nil"

FIELD = "field"
"""``<field name="first name">`` within a record is the column ``first name``."""
NAME = "name"

_FIRST = "A-Z_a-zÀ-ÖØ-öø-ÿΑ-ΡΣ-Ωα-ωА-Яа-я\u3041-\u3094\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3"
_PLAIN = re.compile(rf"[{_FIRST}][{_FIRST}.0-9-]*")
"""Names that are allowed in every edition of XML 1.0. The fifth allows more, but few programs know it."""


class Place(NamedTuple):
    """Where in a record the values of a column are."""

    kind: str
    """``text``, ``attribute``, or ``xml`` for all elements of a name."""
    path: tuple[str, ...]
    """The keys of the elements, and of the attribute."""


def key_of(element: Element, path: Sequence[str]) -> str:
    """The key of an element among its siblings. ``path`` leads to its parent; it is empty in a record."""
    if not path and element.tag == FIELD and NAME in element.attrib:
        return f"{FIELD}={element.attrib[NAME]}"
    return element.tag


def is_part_of_name(attribute: str, path: Sequence[str]) -> bool:
    """Whether an attribute says something about its element, not about the record. ``path`` leads to the element."""
    if attribute.startswith(SCHEMA_INSTANCE):
        return True
    return attribute == NAME and bool(path) and path[-1].startswith(f"{FIELD}=")


def local(key: str) -> str:
    """A name without its namespace."""
    if key.startswith(f"{FIELD}="):
        return key.removeprefix(f"{FIELD}=")
    return key.rpartition("}")[2]


def column_names(
    places: Sequence[Place], record: str, prefixes: Mapping[str, str]
) -> tuple[list[str], tuple[str, ...]]:
    """A name for each column that no other has, and what people are told about them.

    An attribute gets an ``@``, and a name its prefix, if it would have the name of another column otherwise.
    """
    names = [".".join(map(local, place.path)) or record for place in places]
    for more in (_with_mark, _with_prefixes):
        counts = Counter(map(fold, names))
        names = [
            more(place, name, prefixes) if counts[fold(name)] > 1 else name
            for place, name in zip(places, names, strict=True)
        ]
    return different_names(names)


def _with_mark(place: Place, name: str, _: Mapping[str, str]) -> str:
    if place.kind != "attribute":
        return name
    around, dot, last = name.rpartition(".")
    return f"{around}{dot}@{last}"


def _with_prefixes(place: Place, name: str, prefixes: Mapping[str, str]) -> str:
    return ".".join(_with_prefix(key, prefixes) for key in place.path) or name


def _with_prefix(key: str, prefixes: Mapping[str, str]) -> str:
    uri, is_in_namespace, name = key.removeprefix("{").rpartition("}")
    prefix = prefixes.get(uri) if is_in_namespace else None
    return f"{prefix}:{name}" if prefix else local(key)


def tags_of(name: str, taken: str) -> tuple[str, str]:
    """What the start tag of a column contains, and what its end tag does. ``taken``: a name that is not used."""
    if _PLAIN.fullmatch(name) and name != taken and not name.lower().startswith("xml"):
        return name, name
    return field_tag(name), FIELD


def field_tag(name: str) -> str:
    """What the start tag of a field contains."""
    return f"{FIELD} {NAME}={quoteattr(name, _IN_ATTRIBUTE)}"


_IN_ATTRIBUTE = {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
