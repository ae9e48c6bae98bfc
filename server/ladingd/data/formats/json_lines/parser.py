"""Parses one line with Python's own parser: its fields with their texts, or the fault that refuses it."""

from __future__ import annotations

import json
import re
from json.decoder import JSONDecodeError, scanstring  # type: ignore[attr-defined]
from json.scanner import make_scanner
from typing import TYPE_CHECKING, Any

from ladingd.data.values.casting import VALUE_CAP, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable

BLANK = b" \t\r"
"""The bytes of a blank line."""

NUMBER = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$"
"""The pattern of a JSON number."""

Value = tuple[str | None, bool]
"""The text of a value, and whether it is a string. Numbers, arrays and objects keep their text from the file."""

Record = dict[str, Value]

ABSENT: Value = (None, False)

UNEXPECTED_KEY = "UNEXPECTED_KEY"
"""A record has a key that is no column."""


class NotARecord(Exception):
    """The line is refused: the code and the message of the fault, and its key and value if it has them."""

    def __init__(self, code: str, message: str, column: str = "", value: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.column = column
        self.value = value


_SPACE = re.compile(r"[ \t\r\n]*")


def refuse_constant(name: str) -> Any:
    """Refuse NaN and the like, which Python would read."""
    raise ValueError(f"{name} is not JSON")


_scan = make_scanner(json.JSONDecoder(parse_constant=refuse_constant))  # type: ignore[arg-type]


class _Number(str):
    """The text of a number."""

    __slots__ = ()


_quick = json.JSONDecoder(
    object_pairs_hook=tuple, parse_int=_Number, parse_float=_Number, parse_constant=refuse_constant
).raw_decode
_WORDS = {True: "true", False: "false", None: None}


def fields_of(line: bytes, *, flatten: bool) -> Record:
    """The fields of a line by their keys. ``flatten``: those of objects within it by their paths, such as
    ``address.city``; an empty object is null. Raises NotARecord."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise NotARecord("NOT_UTF8", f"byte {error.start + 1} of the record is not UTF-8") from error
    return _fields_of_plain(text) or _fields_of_any(text, flatten=flatten)


def prefixes_of(names: Iterable[str]) -> set[str]:
    """The paths of the objects around fields with these paths."""
    return {name[:place] for name in names for place, character in enumerate(name) if character == "."}


def _fields_of_plain(text: str) -> Record | None:
    """The fields of a line, quickly. None if it has a fault, an array, an object or an escaped code point."""
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


def _fields_of_any(text: str, *, flatten: bool) -> Record:
    """The fields of any line. Raises NotARecord with what is wrong and where."""
    place = _skip(text, 0)
    if text[place : place + 1] != "{":
        raise NotARecord("NOT_JSON", "the record is not a JSON object")
    fields: Record = {}
    try:
        rest = _skip(text, _add_fields(text, place, fields, "", flatten=flatten))
    except JSONDecodeError as error:
        raise NotARecord(
            "NOT_JSON", f"the record is not a JSON object: {error.msg} at character {error.pos + 1}"
        ) from error
    except StopIteration as error:
        raise NotARecord(
            "NOT_JSON", f"the record is not a JSON object: a value is missing at character {error.value + 1}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise NotARecord("NOT_JSON", f"the record is not a JSON object: {error}") from error
    if rest != len(text):
        message = f"text follows the object at character {rest + 1}"
        raise NotARecord("NOT_JSON", message, value=shorten(text[rest:].encode(), VALUE_CAP))
    return fields


def _add_fields(text: str, start: int, fields: Record, prefix: str, *, flatten: bool) -> int:
    """Add the fields of the object that begins at ``start``, and return where it ends."""
    keys: set[str] = set()
    place = _skip(text, start + 1)
    while text[place : place + 1] != "}":
        if keys:
            place = _skip(text, _expect(text, place, ","))
        key, place = scanstring(text, _expect(text, place, '"'), True)
        place = _skip(text, _expect(text, _skip(text, place), ":"))
        name = prefix + key
        if key in keys:
            raise NotARecord("DUPLICATE_KEY", f"the key {name!r} occurs twice", name)
        keys.add(key)
        if flatten and text[place : place + 1] == "{":
            known = len(fields)
            end = _add_fields(text, place, fields, f"{name}.", flatten=True)
            if len(fields) == known:
                _add(fields, name, (None, False))
        else:
            value, end = _scan(text, place)
            is_string = isinstance(value, str)
            if is_string and _has_surrogate(value):
                raise NotARecord("NOT_JSON", f"the value of {name!r} has half a surrogate pair", name)
            _add(fields, name, (value if is_string or value is None else text[place:end], is_string))
        place = _skip(text, end)
    return place + 1


def _add(fields: Record, name: str, value: Value) -> None:
    if name in fields:
        raise NotARecord("DUPLICATE_KEY", f"a key and the path of a nested value are both {name!r}", name)
    fields[name] = value


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
