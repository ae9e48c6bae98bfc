"""Files of other shapes: few columns, many columns, long texts, quoted values."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_WORDS = ("bill", "lading", "ship", "harbour", "cargo,", "manifest;", "consignee", "freight", "“quay”", "berth")
_KINDS = ("INTEGER", "DOUBLE PRECISION", "TEXT", "DATE", "BOOLEAN")
_POOL = 1_000
"""Wide and long records are drawn from this many different ones, because making each would take minutes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A table and its records. ``record`` returns all fields after the id, as written in the file."""

    name: str
    columns: Mapping[str, str]
    record_bytes: int
    record: Callable[[random.Random], str]
    goal: float
    aim: float = 1.5

    def write(self, path: Path, number: int) -> None:
        """Write ``number`` records with a header. The same number gives the same records."""
        chance = random.Random(11)
        pool = [self.record(chance) for _ in range(_POOL)]
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(",".join(self.columns) + "\n")
            file.writelines(f"{index + 1},{chance.choice(pool)}\n" for index in range(number))


def _narrow(chance: random.Random) -> str:
    return f"{chance.choice(_WORDS).strip(',;')} {chance.randrange(1000)},{chance.randrange(10**6) / 100:.2f}"


def _wide(chance: random.Random) -> str:
    return ",".join(_field(chance, _KINDS[index % len(_KINDS)]) for index in range(199))


def _field(chance: random.Random, kind: str) -> str:
    match kind:
        case "INTEGER":
            return str(chance.randrange(10**6))
        case "DOUBLE PRECISION":
            return f"{chance.random():.6f}"
        case "TEXT":
            return chance.choice(_WORDS).strip(",;")
        case "DATE":
            return f"{chance.randrange(1950, 2020)}-{chance.randrange(1, 13):02d}-{chance.randrange(1, 29):02d}"
        case _:
            return chance.choice(("true", "false"))


def _long(chance: random.Random) -> str:
    text = " ".join(chance.choice(_WORDS) for _ in range(200))
    # The text contains quotes and line ends, as in real data.
    return f'{chance.choice(_WORDS).strip(",;")},"{text[:500]} ""so it was"",\n{text[500:1000]}"'


def _quoted(chance: random.Random) -> str:
    company = f'"{chance.choice(_WORDS).strip(",;")}, ""{chance.choice(_WORDS).strip(",;")}"" & Sons"'
    remark = f'"{chance.choice(_WORDS).strip(",;")}, said ""{chance.randrange(1000)}"""'
    return f"{company},{remark},{chance.randrange(10**6) / 100:.2f}"


SHAPES = (
    Shape(
        name="narrow",
        columns={"id": "INTEGER", "name": "TEXT", "amount": "DECIMAL(10,2)"},
        record_bytes=27,
        record=_narrow,
        goal=1.26,
    ),
    Shape(
        name="wide",
        columns={"id": "INTEGER", **{f"column_{index + 1}": _KINDS[index % len(_KINDS)] for index in range(199)}},
        record_bytes=1_500,
        record=_wide,
        goal=1.21,
    ),
    Shape(
        name="text",
        columns={"id": "INTEGER", "title": "TEXT", "body": "TEXT"},
        record_bytes=1_040,
        record=_long,
        goal=1.4,
    ),
    Shape(
        name="quoted",
        columns={"id": "INTEGER", "company": "TEXT", "remark": "TEXT", "amount": "DECIMAL(10,2)"},
        record_bytes=75,
        record=_quoted,
        goal=1.5,
        aim=1.8,
    ),
)
