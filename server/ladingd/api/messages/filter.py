"""Parses `filter` and `order_by` of a request."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidRequest
from ladingd.core.selection import EVERY, NEWEST_FIRST, TIMES, Comparison, Condition, Field, Order, Selection
from ladingd.core.state import State

if TYPE_CHECKING:
    from collections.abc import Set

MAX_BYTES = 2000

_TOKEN = re.compile(r'\s*(?:(?P<quoted>"(?:[^"\\]|\\["\\])*")|(?P<sign>!=|<=|>=|=|<|>|\|)|(?P<word>[\w.:*+-]+))')
_CHOICES = {
    Field.STATE: {state.name for state in State},
    Field.TYPE: {"import", "export"},
    Field.SHARED: {"true", "false"},
}
WATCHABLE: Set[Field] = frozenset({Field.STATE, Field.TYPE, Field.LABEL, Field.OWNER, Field.SHARED})
"""The fields by which a watch can filter: each change carries them."""


def selection_in(text: str, fields: Set[Field] = frozenset(Field)) -> Selection:
    """Parse conditions joined by AND. Raises InvalidRequest (field ``filter``)."""
    if len(text.encode()) > MAX_BYTES:
        raise _wrong(f"is longer than {MAX_BYTES} bytes")
    tokens = _tokens(text)
    if not tokens:
        return EVERY
    conditions = []
    while tokens:
        conditions.append(_condition(tokens, fields))
        if tokens and (tokens.pop(0) != ("word", "AND") or not tokens):
            raise _wrong("may join conditions only by AND")
    return Selection(conditions=tuple(conditions))


def order_in(text: str) -> Order:
    """Parse one field and a direction. Raises InvalidRequest (field ``order_by``)."""
    match text.split():
        case []:
            return NEWEST_FIRST
        case [name] | [name, "asc" | "desc"] if name in set(Field):
            return Order(field=Field(name), descending=text.endswith(" desc"))
    raise InvalidRequest("order_by", f"{text[:80]!r} is not one of {', '.join(Field)}, optionally followed by desc")


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens = []
    place = 0
    text = text.rstrip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise _wrong(f"cannot be read from {text[place:][:40]!r} on")
        kind = found.lastgroup or ""
        tokens.append((kind, found[kind]))
        place = found.end()
    return tokens


def _condition(tokens: list[tuple[str, str]], fields: Set[Field]) -> Condition:
    kind, name = tokens.pop(0)
    if kind != "word" or name not in fields:
        choice = ", ".join(field for field in Field if field in fields)
        raise _wrong(f"{name!r} is not a field to filter by; the fields are {choice}")
    field = Field(name)
    sign = tokens.pop(0)[1] if tokens else ""
    if sign not in set(Comparison):
        raise _wrong(f"has no comparison after {name}")
    comparison = Comparison(sign)
    if (comparison in (Comparison.IS, Comparison.IS_NOT)) is (field in TIMES):
        raise _wrong(f"cannot compare {name} by {sign}")
    given = [_value(tokens, name)]
    while tokens and tokens[0] == ("sign", "|"):
        tokens.pop(0)
        given.append(_value(tokens, name))
    if field in TIMES:
        if len(given) > 1:
            raise _wrong(f"may compare {name} with only one time")
        return Condition(field=field, comparison=comparison, values=(_time(given[0][1]),))
    return _of_words(field, comparison, given)


def _value(tokens: list[tuple[str, str]], name: str) -> tuple[bool, str]:
    """Whether the value was quoted, and the value."""
    kind, text = tokens.pop(0) if tokens else ("", "")
    if kind == "quoted":
        return True, re.sub(r'\\(["\\])', r"\1", text[1:-1])
    if kind != "word":
        raise _wrong(f"has no value after {name}")
    return False, text


def _of_words(field: Field, comparison: Comparison, given: list[tuple[bool, str]]) -> Condition:
    prefix = field is Field.LABEL and all(text.endswith("*") for _, text in given)
    if field is Field.LABEL and not prefix and any(text.endswith("*") for _, text in given):
        raise _wrong("mixes labels with and without a final *; use separate conditions")
    values = tuple(text[:-1] if prefix else text for _, text in given)
    choice = _CHOICES.get(field)
    wrong = next((value for value in values if choice is not None and value not in choice), None)
    if wrong is not None:
        raise _wrong(f"{wrong!r} is not a value of {field}; the values are {', '.join(sorted(choice or ()))}")
    if field is Field.SHARED:
        return Condition(field=field, comparison=comparison, values=tuple(value == "true" for value in values))
    return Condition(field=field, comparison=comparison, values=values, prefix=prefix)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        # Converting the first or last day of the calendar to UTC can overflow.
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _wrong(f"{text!r} is not a time, as in 2026-11-24T10:00:00Z") from None


def _wrong(problem: str) -> InvalidRequest:
    return InvalidRequest("filter", problem)
