"""The rule for quotes in delimited text, applied to one record at a time.

A quote has a meaning only at the start of a field. Inside a quoted field, a doubled quote is a quote. Only a
delimiter, a line end or the end of the text may follow the closing quote. A field that breaks this rule is not a
quoted field. If it begins with quoted words, as in ``"B" Quay``, and its record is one line, the field is kept
verbatim. Any other record that breaks the rule loses its first line and nothing more. If the dialect has an escape
character, an escaped quote opens and closes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ladingd.data.formats.csv.dialect import Dialect

TEXT_AFTER_QUOTE = "TEXT_AFTER_QUOTE"
UNTERMINATED_QUOTE = "UNTERMINATED_QUOTE"


class Kind(Enum):
    """The shape of a record."""

    REGULAR = auto()
    """The quotes follow the rule. The record may have several lines."""
    LITERAL = auto()
    """One line, with a field that is kept verbatim."""
    REFUSED = auto()
    """The quotes break the rule: the first line is refused."""
    UNDECIDED = auto()
    """The text ends before the record does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A record: its shape, its end without the line end, and the code of its reject if it is refused."""

    kind: Kind
    end: int = 0
    code: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grammar:
    """The patterns of a dialect. Each takes time in proportion to what it matches, and no memory."""

    delimiter: bytes
    quote: bytes
    escape: bytes
    blanks: bool
    """Blanks before a field do not belong to it."""
    fields: re.Pattern[bytes]
    """All regular fields at this position, each with its delimiter."""
    plain: re.Pattern[bytes]
    """A field without quotes around it."""
    opened: re.Pattern[bytes]
    """A quote and the text up to the closing quote."""
    line: re.Pattern[bytes]
    """Fields of one line, regular or literal."""
    field: re.Pattern[bytes]
    """One field of a record. Group 1 is the text in quotes, group 2 a literal field."""
    inside: re.Pattern[bytes]
    """Two bytes that mean one (group 1) in a quoted field."""
    outside: re.Pattern[bytes]
    """The same for other fields."""

    def read(self, data: bytes, start: int, line_end: int | None, *, final: bool) -> Found:
        """The record that begins at ``start``.

        ``line_end`` is the end of its first line, without the line end; None if the data ends before. ``final``:
        nothing follows the data.
        """
        fields = self.fields.match(data, start)
        last = start if fields is None else fields.end()
        opened, plain = self.opened.match(data, last), self.plain.match(data, last)
        closing = len(data) if opened is None else opened.end()
        if plain is not None:  # No delimiter follows: the pattern takes every field that has one.
            whole = plain.end()
        elif data.startswith(self.quote, closing) and data[closing + 1 : closing + 2] in (b"\r", b"\n", b""):
            whole = closing + 1
        else:
            whole = None
        if whole is not None and (final or whole < len(data)):
            return Found(kind=Kind.REGULAR, end=whole)
        if not final and (line_end is None or closing >= len(data) - 1):
            return Found(kind=Kind.UNDECIDED)
        end = len(data) if line_end is None else line_end
        if closing >= end:
            return Found(kind=Kind.REFUSED, end=end, code=UNTERMINATED_QUOTE)
        if self.line.fullmatch(data, start, end):
            return Found(kind=Kind.LITERAL, end=end)
        return Found(kind=Kind.REFUSED, end=end, code=TEXT_AFTER_QUOTE)

    def split(self, record: bytes) -> Iterator[re.Match[bytes]]:
        """The fields of a record that is not refused, without its line end."""
        position = 0
        while position <= len(record):
            match = self.field.match(record, position)
            assert match is not None, "a field may be empty"
            yield match
            position = match.end() + 1

    def normal(self, record: bytes) -> bytes:
        """A record without its line end, rewritten with regular quotes and without escapes."""
        return self.delimiter.join(map(self._normal, self.split(record)))

    def _normal(self, field: re.Match[bytes]) -> bytes:
        quoted, literal = field.groups()
        if literal is not None:
            return self._in_quotes(literal)
        text = field[0].lstrip(b" ") if self.blanks else field[0]
        if not self.escape or self.escape not in text:
            return text
        if quoted is not None:
            return self._in_quotes(self.inside.sub(rb"\1", quoted))
        value = self.outside.sub(rb"\1", text)
        return text if value == text else self._in_quotes(value)

    def _in_quotes(self, value: bytes) -> bytes:
        return self.quote + value.replace(self.quote, self.quote * 2) + self.quote


def grammar_of(dialect: Dialect) -> Grammar:
    """The compiled patterns of a dialect, whose delimiter is one byte."""
    return _grammar(dialect.delimiter.encode(), dialect.quote.encode(), dialect.escape.encode(), dialect.blanks)


@lru_cache(maxsize=64)
def _grammar(delimiter: bytes, quote: bytes, escape: bytes, blanks: bool) -> Grammar:
    d, q, e = re.escape(delimiter), re.escape(quote), re.escape(escape)
    before = rb" *+" if blanks else b""
    escaped = rb"|%b(?:.|\Z)" % e if escape else b""
    body = rb"(?:[^%b%b]++|%b%b%b)*+" % (q, e, q, q, escaped)
    # The same without a delimiter: quoted words never contain one.
    words = rb"(?:[^%b%b%b]++|%b%b%b)*+" % (q, e, d, q, q, rb"|%b[^%b]" % (e, d) if escape else b"")
    plain = rb"(?!%b%b)[^%b\r\n]*+" % (before, q, d)
    regular = rb"(?:%b%b%b%b(?=[%b\r\n]|\Z)|%b)" % (before, q, body, q, d, plain)
    closed = rb"%b(?=%b|\Z)" % (q, d)
    literal = rb"%b%b%b(?=[^%b])[^%b]*+(?<!%b)(?=%b|\Z)" % (q, words, q, d, d, q, d)
    # Groups in a possessive repetition fail with a SystemError in Python 3.11.
    one = rb"(?:%b%b%b%b|%b%b|%b)" % (before, q, body, closed, before, literal, plain)
    field = rb"%b%b(%b)%b|%b(%b)|%b" % (before, q, body, closed, before, literal, plain)

    def pattern(text: bytes) -> re.Pattern[bytes]:
        return re.compile(text, re.DOTALL)

    return Grammar(
        delimiter=delimiter,
        quote=quote,
        escape=escape,
        blanks=blanks,
        fields=pattern(rb"(?:%b%b)*+" % (regular, d)),
        plain=pattern(plain),
        opened=pattern(before + q + body),
        line=pattern(rb"(?:%b%b)*+%b" % (one, d, one)),
        field=pattern(field),
        inside=pattern(rb"(?:%b(?=%b)%b)(.)" % (q, q, rb"|%b(?=[%b%b])" % (e, q, e) if escape else b"")),
        outside=pattern(rb"%b([%b%b])" % (e, q, e) if escape else rb"(?!)()"),
    )
