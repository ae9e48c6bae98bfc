"""A pattern of the usual records of a file. To match it takes a fifth of the time of parsing.

It describes records whose elements are in the usual order, without comments and control characters. Its groups are the
columns, with their references such as ``&amp;``. A record that it does not match is parsed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ladingd.data.formats.xml.names import FIELD, NIL, field_tag, local

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ladingd.data.formats.xml.shape import Branch

SUSPECT = (b"]]>", "\ufffe".encode(), "\uffff".encode())
"""What values must not contain, although the pattern allows it."""

_BLANKS = rb"[ \t\r\n]*+"
_TEXT = rb"[^<\x00-\x08\x0b-\x1f]"
_PLAIN_TEXT = rb"[^<>&\x00-\x08\x0b-\x1f]"
_VALUE = rb'"([^"<\x00-\x1f]*+)"'
_NEVER = rb"((?!))?+"


def pattern_of(record: bytes, columns: Branch, namespaces: Sequence[tuple[str, str]]) -> re.Pattern[bytes] | None:
    """The pattern of records with these columns; None: elements have text beside others. ``namespaces`` are those
    around the records, by prefix."""
    if _has_mixed(columns):
        return None
    prefixes = {uri: prefix for prefix, uri in reversed(namespaces)}
    if "" not in dict(namespaces):
        prefixes[""] = ""
    return re.compile(_element(record, record, columns, prefixes))


def without_references(value: bytes) -> bytes | None:
    """A value with the characters that its references stand for; None: one of them stands for none."""
    try:
        value, number = _REFERENCE.subn(_character, (text := value))
    except ValueError:
        return None
    return value if number == text.count(b"&") else None


_REFERENCE = re.compile(rb"&(?:(amp|lt|gt|quot|apos)|#([0-9]{1,7})|#x([0-9A-Fa-f]{1,6}));")
_CHARACTERS = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}


def _character(reference: re.Match[bytes]) -> bytes:
    """The character of a reference. Raises ValueError if XML has no such character."""
    name, decimal, hexadecimal = reference.groups()
    if name:
        return _CHARACTERS[name]
    code = int(decimal) if decimal else int(hexadecimal, 16)
    if code in (0xFFFE, 0xFFFF) or (code < ord(" ") and code not in b"\t\n\r"):
        raise ValueError(code)
    return chr(code).encode()  # Half a pair raises UnicodeEncodeError.


def _has_mixed(branch: Branch) -> bool:
    return (branch.text is not None and bool(branch.children)) or any(map(_has_mixed, branch.children.values()))


def _element(start: bytes, end: bytes, branch: Branch, prefixes: Mapping[str, str]) -> bytes:
    """``start``: what the start tag contains before its attributes. ``end``: the name in the end tag."""
    tag = b"<" + re.escape(start) + b"".join(_attribute(key, prefixes) for key in branch.attributes)
    closing = b"</" + re.escape(end) + b">"
    if branch.text is None:
        children = b"".join(_child(key, child, prefixes) for key, child in branch.children.items())
        return tag + rb"(?:>" + _BLANKS + children + closing + rb"| ?/>)"
    text = rb">?((?<=>)" + _TEXT + rb"*+|(?= ?/>))(?:" + closing + rb"| ?/>)"
    nil = _raw(NIL, prefixes)
    return tag + (rb"(?:" + text + rb"| " + nil + rb'="true" ?/>)' if nil else text)


def _child(key: str, branch: Branch, prefixes: Mapping[str, str]) -> bytes:
    if key.startswith(f"{FIELD}="):
        start, end = field_tag(local(key)).encode(), FIELD.encode()
    else:
        start = end = _raw(key, prefixes) or b""
    if not start or (branch.xml is not None and start != local(key).encode()):
        return _NEVER * _columns(branch)
    if branch.xml is None:
        return rb"(?:" + _element(start, end, branch, prefixes) + _BLANKS + rb")?+"
    name = re.escape(start)
    return rb"((?:<" + name + rb">" + _PLAIN_TEXT + rb"++</" + name + rb">)++)?+" + _BLANKS


def _attribute(key: str, prefixes: Mapping[str, str]) -> bytes:
    name = _raw(key, prefixes) if key.startswith("{") else key.encode()
    return rb"(?:[ \t\n]++" + re.escape(name) + rb"=" + _VALUE + rb")?+" if name else _NEVER


def _raw(key: str, prefixes: Mapping[str, str]) -> bytes | None:
    """A name as the file spells it; None: its namespace is declared within records."""
    uri = key[1:].rpartition("}")[0] if key.startswith("{") else ""
    prefix = prefixes.get(uri)
    if prefix is None:
        return None
    return f"{prefix}:{local(key)}".removeprefix(":").encode()


def _columns(branch: Branch) -> int:
    own = len(branch.attributes) + (branch.text is not None) + (branch.xml is not None)
    return own + sum(map(_columns, branch.children.values()))
