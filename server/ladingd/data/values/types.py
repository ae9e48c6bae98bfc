"""The types of fields, and their spelling in specs, in files and in SQLite."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The word of a type in the API."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    REAL = "real"
    BOOLEAN = "boolean"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"
    """A timestamp with a zone. Without a zone it is in UTC."""
    UUID = "uuid"
    TEXT = "text"


DECIMAL_DIGITS = 38
"""The most digits of a decimal, which is the limit of Arrow's decimal128."""

EXACT_DIGITS = 15
"""How many decimal digits a double keeps. SQLite stores decimals as doubles, so more digits are out of range."""

NUMBERS = frozenset({Kind.INTEGER, Kind.REAL, Kind.DECIMAL})

# SQL Server writes seven places, programs that count nanoseconds nine. Those after the sixth must be zeros.
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6}0{0,3})?)?"
_YEAR = r"([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"  # there was no year 0
_DAY = rf"{_YEAR}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"

PATTERNS: dict[Kind, str] = {
    Kind.INTEGER: r"^-?[0-9]+$",
    Kind.DECIMAL: r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)$",
    Kind.REAL: r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$",
    # "Boolean Type" in PostgreSQL's manual: these words and their unique prefixes.
    Kind.BOOLEAN: r"^(?i:t|tr|tru|true|f|fa|fal|fals|false|y|ye|yes|n|no|on|of|off|1|0)$",
    Kind.DATE: rf"^{_DAY}$",
    Kind.TIME: rf"^{_CLOCK}$",
    Kind.TIMESTAMP: rf"^{_DAY}[ T]{_CLOCK}$",
    Kind.TIMESTAMPTZ: rf"^{_DAY}[ T]{_CLOCK}(Z|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)?$",
    Kind.UUID: r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$",
}
"""What a value looks like. A value that matches may still be out of range or not in the calendar."""

PHRASES: dict[Kind, str] = {
    Kind.INTEGER: "an integer",
    Kind.DECIMAL: "a decimal number",
    Kind.REAL: "a number",
    Kind.BOOLEAN: "a boolean (true or false)",
    Kind.DATE: "a date (YYYY-MM-DD)",
    Kind.TIME: "a time (HH:MM:SS)",
    Kind.TIMESTAMP: "a timestamp (YYYY-MM-DD HH:MM:SS)",
    Kind.TIMESTAMPTZ: "a timestamp with a time zone (YYYY-MM-DD HH:MM:SS+HH:MM)",
    Kind.UUID: "a UUID",
}

_ARTICLES = {Kind.INTEGER: "AN"}

_DECIMAL = re.compile(r"(?:decimal|numeric)\s*\(\s*([0-9]{1,2})\s*,\s*([0-9]{1,2})\s*\)", re.IGNORECASE)

_LENGTH = re.compile(r"[a-z ]*char[a-z ]*\(\s*([0-9]{1,7})\s*\)", re.IGNORECASE)

_DECLARED: dict[str, Kind] = {
    "BOOL": Kind.BOOLEAN,
    "BOOLEAN": Kind.BOOLEAN,
    "DATE": Kind.DATE,
    "TIME": Kind.TIME,
    "DATETIME": Kind.TIMESTAMP,
    "TIMESTAMP": Kind.TIMESTAMP,
    "TIMESTAMPTZ": Kind.TIMESTAMPTZ,
    "UUID": Kind.UUID,
    "NUMERIC": Kind.REAL,
    "DECIMAL": Kind.REAL,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldType:
    """A kind; for decimals also the number of digits, and how many of them follow the point."""

    kind: Kind
    precision: int = 0
    scale: int = 0

    def __str__(self) -> str:
        return f"{self.kind}({self.precision},{self.scale})" if self.kind is Kind.DECIMAL else str(self.kind)

    @property
    def declaration(self) -> str:
        """The type of a column in SQLite's CREATE TABLE."""
        return str(self).upper()

    @property
    def with_article(self) -> str:
        """The type with its article: ``an integer``."""
        return f"{_ARTICLES.get(self.kind, 'A').lower()} {self}"

    @property
    def refusal_code(self) -> str:
        """The code of a reject whose value is not of this type."""
        return f"NOT_{_ARTICLES.get(self.kind, 'A')}_{self.kind.name}"


TEXT = FieldType(kind=Kind.TEXT)


def parse(word: str) -> FieldType:
    """A type as the API spells it. Raises ValueError with the choices."""
    decimal = _DECIMAL.fullmatch(word.strip())
    if decimal is not None and word.strip().lower().startswith("decimal"):
        precision, scale = int(decimal[1]), int(decimal[2])
        if 1 <= precision <= DECIMAL_DIGITS and scale <= precision:
            return FieldType(kind=Kind.DECIMAL, precision=precision, scale=scale)
    elif word.strip().lower() in set(Kind) - {Kind.DECIMAL}:
        return FieldType(kind=Kind(word.strip().lower()))
    raise ValueError(
        f"{word!r} is not a type; types are text, integer, real, decimal(P,S) with P up to {DECIMAL_DIGITS}, boolean, "
        "date, time, timestamp, timestamptz and uuid"
    )


def split(spelled: str) -> tuple[FieldType, str]:
    """A type and the notation of its values, as the API spells them: ``date:DD/MM/YYYY``. Raises ValueError."""
    word, _, notation = spelled.partition(":")
    return parse(word), notation


class Affinity(StrEnum):
    """How a column of SQLite converts values (sqlite.org/datatype3.html, 3.1)."""

    INTEGER = "integer"
    TEXT = "text"
    BLOB = "blob"
    """Values are kept as they are."""
    REAL = "real"
    NUMERIC = "numeric"


def affinity(declared: str) -> Affinity:
    """The affinity of a declared type."""
    word = declared.upper()
    if "INT" in word:
        return Affinity.INTEGER
    if any(part in word for part in ("CHAR", "CLOB", "TEXT")):
        return Affinity.TEXT
    if "BLOB" in word or not word.strip():
        return Affinity.BLOB
    if any(part in word for part in ("REAL", "FLOA", "DOUB")):
        return Affinity.REAL
    return Affinity.NUMERIC


def of_declaration(declared: str) -> FieldType:
    """The type that a column of SQLite is read as: its declared word, else its affinity (sqlite.org/datatype3.html)."""
    decimal = _DECIMAL.fullmatch(declared.strip())
    if decimal is not None:
        precision, scale = int(decimal[1]), int(decimal[2])
        if 1 <= precision <= DECIMAL_DIGITS and scale <= min(precision, EXACT_DIGITS):
            return FieldType(kind=Kind.DECIMAL, precision=precision, scale=scale)
        return FieldType(kind=Kind.REAL)
    word = declared.split("(")[0].strip().upper()
    if word in _DECLARED:
        return FieldType(kind=_DECLARED[word])
    if "INT" in word:
        return FieldType(kind=Kind.INTEGER)
    if has_text_affinity(declared):
        return TEXT
    if any(part in word for part in ("REAL", "FLOA", "DOUB")):
        return FieldType(kind=Kind.REAL)
    return TEXT


def declared_length(declared: str) -> int:
    """The characters in the declaration of a text, as in ``VARCHAR(40)``; 0: it has none. SQLite does not check it."""
    length = _LENGTH.fullmatch(declared.strip())
    return int(length[1]) if length is not None else 0


def has_text_affinity(declared: str) -> bool:
    """Whether SQLite turns every number in the column into text, so that it cannot hold reals."""
    return affinity(declared) is Affinity.TEXT
