"""Decides whether the first record of a file names the columns, and makes their names different.

A record mistaken for a header is lost; a header mistaken for a record is one row too many. The first record is
therefore a header only if its values look like names and there is further evidence: the columns below hold values of
another kind, or the names are spelled as names are (``first_name``). Without evidence, it is a record.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from ladingd.data.values.names import fold

if TYPE_CHECKING:
    from collections.abc import Sequence

_CURRENCY = (
    r"[$€£¥₹]|kr\.?|zł|Kč|Fr\.?|USD|EUR|GBP|CHF|JPY|CNY|SEK|NOK|DKK|PLN|CZK|HUF|INR|AUD|CAD|NZD|BRL|RUB|UAH|TRY|ZAR|MXN"
)
_DAY = r"(?:0?[1-9]|[12][0-9]|3[01])"
_MONTH = (
    r"(?:0?[1-9]|1[0-2]|jan|feb|mar|mär|apr|may|mai|jun|jul|aug|sep|sept|oct|okt|nov|dec|dez"
    r"|january|february|march|april|june|july|august|september|october|november|december)\.?"
)
_CLOCK = r"[0-2]?[0-9][:.h][0-5][0-9](?:[:.][0-5][0-9](?:[.,][0-9]+)?)?(?:\s?[ap]\.?m\.?)?"
_ZONE = r"(?:\s?(?:Z|UTC|GMT|[+-][0-9]{2}:?(?:[0-9]{2})?))?"
_DATE = (
    rf"(?:[0-9]{{4}}[-/.]{_MONTH}[-/.]{_DAY}|{_DAY}[-/. ]+{_MONTH}[-/., ]+(?:[0-9]{{2}}|[0-9]{{4}})"
    rf"|{_MONTH}[-/. ]+{_DAY}[-/., ]+(?:[0-9]{{2}}|[0-9]{{4}})|[0-9]{{4}}-[0-9]{{2}}"
    r"|(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])|[0-9]{4}-W[0-9]{2}(?:-[1-7])?)"
)
_NUMBER = r"(?:[0-9]{1,3}(?:[.,'\u2019 \u00a0\u202f][0-9]{2,3})+|[0-9]+)(?:[.,][0-9]*)?|[.,][0-9]+"

_KINDS = {
    "number": rf"\(?[+-]?(?:(?:{_CURRENCY})\s?)?[+-]?(?:{_NUMBER})(?:e[+-]?[0-9]+)?-?\)?"
    rf"\s?(?:%|‰|{_CURRENCY}|°[CF]?)?|0x[0-9a-f]+|[+-]?(?:nan|inf|infinity)|#(?:N/A|DIV/0!|REF!|VALUE!)",
    "date": rf"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s+)?{_DATE}(?:[T ,]+{_CLOCK}{_ZONE})?",
    "time": rf"{_CLOCK}{_ZONE}|[0-9]+:[0-5][0-9]:[0-5][0-9]|P(?=[0-9T])(?:[0-9]+[YMWD])*(?:T(?:[0-9.]+[HMS])+)?",
    "address": r"[^@\s,;]+@[^@\s,;]+\.[a-z]{2,}|(?:https?|ftp|s3|file|mailto|tel)://?\S+|www\.\S+\.\S+"
    r"|[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:[:/][0-9]+)?|(?=.*:)[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?:/[0-9]+)?"
    r"|[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}|(?:/[\w.-]+){2,}/?|[a-z]:\\.*",
    "phone": r"(?:\+|00)?[(]?[0-9][0-9() ./-]{5,}[0-9](?:\s?(?:x|ext\.?)\s?[0-9]+)?",
    "identifier": r"\{?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\}?|(?=.*[0-9])[0-9a-f]{16,}",
    "boolean": r"true|false",
    "answer": r"yes|no|ja|nein|oui|non|si|sí|on|off",
    "letter": r"y|n|t|f|x",
    "nothing": r"null|nil|none|n/?a|n\.a\.|nan|\\n|-+|\?+|unknown|tbd",
    "coordinate": r"-?[0-9]+[.,][0-9]+[,; ]\s*-?[0-9]+[.,][0-9]+|[0-9]+°.*",
    "structure": r"[\[{].*[:,].*[\]}]|\[\]|\{\}",
}
"""Patterns of values, in the order in which they are tried."""

_PATTERNS = {kind: re.compile(pattern, re.IGNORECASE | re.DOTALL) for kind, pattern in _KINDS.items()}

_WORDS = frozenset({"boolean", "answer", "letter", "nothing"})
"""Kinds of values that are words and may therefore be names. The column below decides."""

_NO_CONTRAST = frozenset({None, "letter", "nothing"})
"""Kinds of columns whose name may look like anything."""

_NAME = re.compile(r"[^\W\d_]|[_@#$%&(]\s?[^\W\d]|№")
_YEAR = re.compile("(?:19|20)[0-9][0-9]")
_NAME_LENGTH = 100
_LONGEST_KIND = 200

_COMMON = re.compile(
    r"""
    ids?|keys?|codes?|names?|titles?|labels?|types?|kind|class|categor(?:y|ies)|group|status|states?|values?|amounts?
    |prices?|costs?|totals?|sum|count|numbers?|no|nr|num|quantity|qty|dates?|days?|month|year|time|timestamp|created
    |updated|modified|start|end|from|to|by|at|cit(?:y|ies)|town|countr(?:y|ies)|region|street|address|zip|postcode|postal
    |plz|ort|land|phone|telephone|tel|mobile|fax|emails?|mail|url|link|website|web|users?|username|login|password|first
    |last|given|family|surname|firstname|lastname|person|people|customer|client|contact|company|firm|organi[sz]ation
    |department|team|role|gender|sex|age|birth|birthday|born|dob|description|desc|text|notes?|comments?|remarks?|message
    |subject|content|body|words?|language|lang|locale|currency|units?|size|weight|height|width|length|colou?r|brand|model
    |products?|items?|sku|article|orders?|invoice|accounts?|bank|iban|bic|source|target|path|file|filename|folder|version
    |host|hostname|server|port|ip|domain|tags?|rank|score|rating|level|grade|points?|lat|lon|lng|latitude|longitude
    |location|place|site|station|line|row|column|field|index|position|reference|ref|parent|child|children|flag|active
    |enabled|deleted|nom|prénom|prenom|ville|pays|adresse|naam|stad|straat|vorname|nachname|straße|strasse|menge|preis
    |betrag|datum|kommentar|beschreibung|nombre|apellido|ciudad|país|nome|cognome|città|fecha|data|valor """,
    re.VERBOSE | re.IGNORECASE,
)
"""Words that name columns, in several languages."""


class Judgement(NamedTuple):
    """Whether the first record is a header, and why that is uncertain; empty: it is certain."""

    header: bool
    doubt: str = ""
    lines: int = 1
    """How many records are the header."""


_PRESENT = "--header to override"
_ABSENT = "--no-header to override"
_BOTH = "--header-lines 2 to override"


def judge_lines(
    first: Sequence[str | None], second: Sequence[str | None], below: Sequence[Sequence[str | None]]
) -> Judgement:
    """Judge whether the first record is the header, or the first two are. ``below``: the columns below both.

    The first of two has gaps, as merged cells leave them, and its values stand out from the columns below. The second
    is a header beyond doubt.
    """
    judged = judge(first, [(field, *column) for field, column in zip(second, below, strict=True)])
    if all(first) or not any(first):
        return judged
    lower = judge(second, below, repeats=True)
    if not lower.header or lower.doubt:
        return judged
    if _stands_out(first, below):
        return Judgement(True, lines=2)
    return Judgement(judged.header, f"the second record looks like a header; {_BOTH}")


def _stands_out(first: Sequence[str | None], below: Sequence[Sequence[str | None]]) -> bool:
    """Whether a value differs in kind from the column below, and none is like it. Years differ if they are several and
    none occurs below."""
    texts, columns = _stripped(first, below)
    years = [text for text in texts if _YEAR.fullmatch(text)]
    of_years = len(set(years)) == len(years) > 1 and not any(
        _YEAR.fullmatch(each) for column in columns for each in column
    )
    found = False
    for text, kind in zip(texts, map(_common_kind, columns), strict=True):
        own = _kind(text)
        if not text or own in ("letter", "nothing"):
            continue
        if of_years and _YEAR.fullmatch(text):
            found = True
        elif kind not in _NO_CONTRAST:
            if own == kind:
                return False
            found = True
    return found


def joined_names(lines: Sequence[Sequence[str | None]]) -> list[str]:
    """The names of columns whose header has several lines.

    A cell of an upper line also stands for the empty ones right of it, up to the next cell of its own line or of one
    above. Columns behind the last cell have no name.
    """
    width = max(map(len, lines))
    full = [[*((cell or "").strip() for cell in line), *[""] * (width - len(line))] for line in lines]
    filled: list[list[str]] = []
    begun: set[int] = set()
    for line in full[:-1]:
        begun.update(place for place, cell in enumerate(line) if cell)
        cell, cells = "", []
        for place in range(width):
            cell = line[place] if place in begun else cell
            cells.append(cell)
        filled.append(cells)
    end = max((place + 1 for line in full for place, cell in enumerate(line) if cell), default=0)
    names = [" ".join(cell for cell in column if cell) for column in zip(*filled, full[-1], strict=True)]
    return [*names[:end], *[""] * (width - end)]


def judge(first: Sequence[str | None], below: Sequence[Sequence[str | None]], *, repeats: bool = False) -> Judgement:
    """Judge the fields of the first record, alone and against the columns below. ``repeats``: several columns may have
    the same name if the columns below give evidence."""
    texts, columns = _stripped(first, below)
    kinds = [_common_kind(column) for column in columns]
    if _name_periods(texts, columns):
        return Judgement(True)
    contrast = any(
        text and kind not in _NO_CONTRAST and kind != _kind(text) and _kind(text) in (None, *_WORDS)
        for text, kind in zip(texts, kinds, strict=True)
    )
    against = _reason_against(texts, columns, kinds, repeats=repeats and contrast)
    if against:
        return Judgement(False, f"{against}; {_PRESENT}" if contrast or not _has_kind(texts) else "")
    if contrast:
        return Judgement(True)
    if not all(texts):
        return Judgement(False, f"the first record has an empty field; {_PRESENT}")
    written = all(map(_is_written_as_name, texts))
    if any(map(_is_common, texts)) or (written and not all(map(_are_written_as_names, columns))):
        return Judgement(True, "" if any(columns) else f"there is no record to compare it with; {_ABSENT}")
    what = "all columns are text" if any(columns) else "there is no record to compare it with"
    return Judgement(written, f"{what}; {_ABSENT if written else _PRESENT}")


def _stripped(first: Sequence[str | None], below: Sequence[Sequence[str | None]]) -> tuple[list[str], list[list[str]]]:
    """The fields of a record, and the values below that are not blank."""
    texts = [(field or "").strip() for field in first]
    return texts, [[value.strip() for value in column if value and value.strip()] for column in below]


def _name_periods(texts: list[str], columns: list[list[str]]) -> bool:
    """Whether the names are words, followed by two or more years in order or different dates, and no value below is
    one."""
    words = [text for text in texts if not _is_period(text)]
    periods = texts[len(words) :]
    below = columns[len(words) :]
    return (
        bool(words)
        and all(map(_NAME.search, words))
        and all(map(_is_period, periods))
        and _follow_one_another(periods)
        and any(below)
        and not any(_is_period(value) for column in below for value in column)
    )


def _is_period(text: str) -> bool:
    return _YEAR.fullmatch(text) is not None or _kind(text) == "date"


def _follow_one_another(periods: list[str]) -> bool:
    if not all(map(_YEAR.fullmatch, periods)):
        return len(periods) > 1 and len(set(periods)) == len(periods) and not any(map(_YEAR.fullmatch, periods))
    steps = {int(after) - int(before) for before, after in pairwise(periods)}
    return len(steps) == 1 and steps <= {1, -1, 5, -5, 10, -10}


def _has_kind(texts: list[str]) -> bool:
    """Whether a field is certainly a value. A year may be a name."""
    return any(_kind(text) not in (None, *_WORDS) and not _YEAR.fullmatch(text) for text in texts)


def _reason_against(texts: list[str], columns: list[list[str]], kinds: list[str | None], *, repeats: bool) -> str:
    """Why the first record cannot be names; empty: it can."""
    if not any(texts):
        return "the first record is empty"
    for text, column, below in zip(texts, columns, kinds, strict=True):
        kind = _kind(text)
        if not text:
            continue
        if kind is not None and (kind not in _WORDS or below == kind or (kind == "nothing" and below is not None)):
            return f"{text[:40]!r} is not a name"
        if not _NAME.search(text):
            return f"{text[:40]!r} is not a name"
        if text in column:
            return f"{text[:40]!r} occurs in its column again"
        if any(map(str.isdigit, text)) and column and _shape(text) == _shape(column[0]) == _shape(column[-1]):
            return f"{text[:40]!r} is written like the values below"
    folded = [text.casefold() for text in texts if text]
    if not repeats and len(set(folded)) < len(folded) and not any(map(_is_common, folded)):
        return "a value occurs twice in the first record"
    return ""


def _kind(text: str) -> str | None:
    if len(text) > _LONGEST_KIND:
        return None
    return next((kind for kind, pattern in _PATTERNS.items() if pattern.fullmatch(text)), None)


def _common_kind(column: list[str]) -> str | None:
    """The kind of nine in ten values of a column, without empty ones; None: text."""
    kinds = [_kind(value) for value in column]
    told = [kind for kind in kinds if kind != "nothing"] or kinds
    if not told:
        return None
    most = max(set(told), key=told.count)
    return most if told.count(most) * 10 >= len(told) * 9 else None


def _is_common(text: str) -> bool:
    words = re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", text)
    return len(text) <= _NAME_LENGTH and any(map(_COMMON.fullmatch, words))


def _is_written_as_name(text: str) -> bool:
    """Whether a text is in lower case, or has an underscore or camel case."""
    return (
        len(text) <= _NAME_LENGTH and re.fullmatch(r"[^\W\dA-Z][^\WA-Z]*(?:[A-Z][^\WA-Z]*)*|\w*_\w*", text) is not None
    )


def _are_written_as_names(column: list[str]) -> bool:
    return sum(map(_is_written_as_name, column)) * 2 >= len(column)


def _shape(text: str) -> str:
    return re.sub(r"[A-Z]", "A", re.sub(r"[a-z]", "a", re.sub(r"[0-9]", "9", text)))


def shown_header(lines: int) -> str:
    """What people are told of a header of so many records."""
    return "no" if not lines else "yes" if lines == 1 else f"yes, {lines} lines"


def different_names(names: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """A name for each column that no other column has, and what people are told of it."""
    different: list[str] = []
    notes = []
    taken = {fold(name) for name in names if name}
    known: set[str] = set()
    for place, name in enumerate(names, 1):
        wanted = name or f"column{place}"
        new, number = wanted, 2
        while fold(new) in known or (new != name and fold(new) in taken):
            new, number = f"{wanted}_{number}", number + 1
        known.add(fold(new))
        different.append(new)
        if name and new != name:
            notes.append(f"column {place} is called {new!r}: an earlier column is called {name!r} as well")
    return different, tuple(notes)
