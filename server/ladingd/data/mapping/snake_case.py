"""Names in snake_case, by one rule for all databases."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_PREFIX = "column"
"""The beginning of a name that would be empty or begin with a digit."""
# Small letters that Unicode does not decompose into an ASCII letter and an accent. \u0131 is an i without a dot.
_LATIN = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "\u0131": "i"}
)


def snake_case(name: str) -> str:
    """A name in snake_case: ``First Name`` becomes ``first_name``, and ``Straße`` ``strasse``.

    Accents are removed, words in camelCase are separated, letters are small, and every run of other characters than
    letters and digits is one underscore between two of them. Letters of other alphabets stay. A name that would be
    empty or begin with a digit begins with ``column``.
    """
    words = _separated(unicodedata.normalize("NFC", name)).lower().translate(_LATIN)
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", words) if not unicodedata.combining(letter))
    kept = "".join(letter if letter.isalnum() else "_" for letter in plain.lower())
    snake = "_".join(part for part in kept.split("_") if part)
    if not snake or snake[0].isdigit():
        snake = f"{_PREFIX}_{snake}".rstrip("_")
    return snake


def snake_names(names: Sequence[str]) -> list[str]:
    """The names of columns in snake_case, in order. If several become equal, the later ones get a number: ``name_2``.

    The same names always give the same result.
    """
    wanted = [snake_case(name) for name in names]
    taken = set(wanted)
    given: set[str] = set()
    result = []
    for name in wanted:
        new, number = name, 1
        while new in given or (number > 1 and new in taken):
            number += 1
            new = f"{name}_{number}"
        given.add(new)
        result.append(new)
    return result


def numbered(names: Sequence[str], snake: Sequence[str]) -> tuple[str, ...]:
    """A sentence for each column whose name got a number."""
    return tuple(
        f"column {name!r} becomes {new!r}: another column becomes {snake_case(name)!r}"
        for name, new in zip(names, snake, strict=True)
        if new != snake_case(name)
    )


def _separated(name: str) -> str:
    """A name with blanks between the words of camelCase, also before the last of several capitals: HTTPServer."""
    neighbours = zip(" " + name, name, name[1:] + " ", strict=False)
    return "".join(
        f" {letter}"
        if letter.isupper() and (before.islower() or before.isdigit() or (before.isupper() and after.islower()))
        else letter
        for before, letter, after in neighbours
    )
