"""Where the tables and keys of a TOML text stand; Python's own parser does not tell."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Key = tuple[str, ...]

_NAME = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED = re.compile(rf"{_NAME}(?:[ \t]*\.[ \t]*{_NAME})*")
_ONE_NAME = re.compile(_NAME)
_HEADER = re.compile(rf"\[\[?[ \t]*({_DOTTED.pattern})[ \t]*\]\]?")
_BLANK = re.compile(r"(?:[\s,]|#[^\n]*)*")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_STRING = re.compile(
    r'''"""(?:[^\\]|\\.)*?""""{0,2}'''
    r"""|\'\'\'.*?\'\'\'\'{0,2}"""
    r'''|"(?:[^"\\\n]|\\.)*"'''
    r"""|'[^'\n]*'""",
    re.DOTALL,
)
_BARE = re.compile(r"[^\n#,\]}]*")


def lines_of(text: str) -> Mapping[Key, int]:
    """The line, from 1, of each table and key of a text that is TOML. The keys of inline tables are among them."""
    return _Scan(text).lines


class _Scan:
    """One walk over a text. What it does not understand ends it: then a message has no line, and that is all."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self.lines: dict[Key, int] = {}
        table: Key = ()
        while self._skip() < len(text):
            if header := self._take(_HEADER):
                table = self._note((), header[1], header.start())
            elif not self._pair(table):
                return

    def _skip(self) -> int:
        """Pass by white space, commas and comments."""
        self._take(_BLANK)
        return self._position

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._position)
        if found:
            self._position = found.end()
        return found

    def _note(self, above: Key, dotted: str, start: int) -> Key:
        key = above
        for name in _ONE_NAME.findall(dotted):
            key = (*key, _plain(name))
            self.lines.setdefault(key, self._text.count("\n", 0, start) + 1)
        return key

    def _pair(self, above: Key) -> bool:
        dotted = self._take(_DOTTED)
        if dotted is None or self._take(_EQUALS) is None:
            return False
        self._value(self._note(above, dotted[0], dotted.start()))
        return True

    def _value(self, key: Key) -> None:
        opening = self._text[self._position : self._position + 1]
        if opening not in ("[", "{"):
            if self._take(_STRING) is None:
                self._take(_BARE)
            return
        self._position += 1
        closing = "]" if opening == "[" else "}"
        while self._skip() < len(self._text) and self._text[self._position] != closing:
            begin = self._position
            if opening == "[":
                self._value(key)
            else:
                self._pair(key)
            if self._position == begin:
                return
        self._position += 1


def _plain(name: str) -> str:
    if name.startswith("'"):
        return name[1:-1]
    return str(tomllib.loads(f"name = {name}")["name"]) if name.startswith('"') else name
