"""Words that stand for NULL.

They are null in columns of any type but text, where `NA` may be Namibia. Words of the user are null in text columns as
well. A word that the column's own type knows, such as NaN, is a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.errors import InvalidSpec
from ladingd.data.values.types import NUMBERS, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.values.types import FieldType

NULL_WORDS = ("\\N", "NULL", "null", "NA", "N/A", "#N/A", "NaN", "nan", "None", "nil", "-")
"""The words of databases, R, Excel, pandas, Python and Ruby."""

NO_NUMBERS = (".", "?")
"""What SAS and Weka write for a missing number."""

SWITCHED_OFF = "none"


def wanted(given: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The null words that a spec gives for all columns, and those of columns that are not text. Raises InvalidSpec."""
    words = tuple(dict.fromkeys(word for word in given if word != SWITCHED_OFF))
    check_words("null_words", words)
    return words, () if SWITCHED_OFF in given else NULL_WORDS


def check_words(field: str, words: Sequence[str]) -> None:
    """Raises InvalidSpec if one of these is no word."""
    for word in words:
        if not word or not word.isprintable():
            raise InvalidSpec(field, f"{word!r} is not a word: an empty field is null anyway")


def null_words(kind: FieldType, words: Sequence[str], typed: Sequence[str]) -> frozenset[str]:
    """The null words of a column. ``words`` are those of all columns, ``typed`` those of columns that are not text."""
    if kind.kind is Kind.TEXT:
        return frozenset(words)
    return frozenset((*words, *typed, *(NO_NUMBERS if typed and kind.kind in NUMBERS else ())))


def count_words(column: pa.Array, words: frozenset[str]) -> dict[str, int]:
    """How often each null word occurs in a column of text, the most frequent first."""
    if not words:
        return {}
    found = column.filter(pc.is_in(column, value_set=pa.array(sorted(words), column.type)))
    counts = {each["values"].as_py(): each["counts"].as_py() for each in pc.value_counts(found)}
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
