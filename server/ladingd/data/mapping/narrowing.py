"""Whether a column accepts fewer values than before, by its declared type."""

from __future__ import annotations

import re

_PARTS = re.compile(r"(?P<base>[^(]*)(?:\((?P<numbers>[0-9, ]+)\))?(?P<rest>.*)", re.DOTALL)
_INTEGERS = {
    name: size
    for size, names in enumerate(
        (("TINYINT", "UTINYINT"), ("SMALLINT", "USMALLINT"), ("INTEGER", "INT", "UINTEGER"), ("BIGINT", "UBIGINT"))
    )
    for name in names
}
_ENUM = "ENUM("
_LABELS = re.compile(r"'(?:[^']|'')*'")
_UNLIMITED = frozenset({"TEXT", "VARCHAR", "CHARACTER VARYING", "NUMERIC", ""})
"""Types that accept every value of a narrower type, if they declare no limit."""
_DECIMALS = frozenset({"NUMERIC", "DECIMAL"})


def is_narrower(now: str, before: str) -> bool:
    """Whether a type accepts fewer values than the one before, or other ones. Both are spelled by the same database."""
    if now.startswith(_ENUM) and before.startswith(_ENUM):
        return not set(_LABELS.findall(before)) <= set(_LABELS.findall(now))
    (base, numbers), (old_base, old_numbers) = _parsed(now), _parsed(before)
    if base != old_base:
        if base in _UNLIMITED and not numbers:
            return False
        if base in _INTEGERS and old_base in _INTEGERS:
            return _INTEGERS[base] < _INTEGERS[old_base] or base.startswith("U") != old_base.startswith("U")
        return True
    if not numbers or numbers == old_numbers:
        return False
    if not old_numbers:
        return True
    if base in _DECIMALS:
        (precision, scale), (old_precision, old_scale) = _digits(numbers), _digits(old_numbers)
        return scale < old_scale or precision - scale < old_precision - old_scale
    return any(number < old for number, old in zip(numbers, old_numbers, strict=False))


def _parsed(declared: str) -> tuple[str, tuple[int, ...]]:
    parts = _PARTS.fullmatch(declared.strip())
    if parts is None:
        return declared.upper(), ()
    numbers = tuple(int(number) for number in (parts["numbers"] or "").replace(" ", "").split(",") if number)
    return (parts["base"].strip() + parts["rest"]).upper(), numbers


def _digits(numbers: tuple[int, ...]) -> tuple[int, int]:
    return (numbers[0], numbers[1]) if len(numbers) > 1 else (numbers[0], 0)
