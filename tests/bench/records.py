"""The file that the cases move: records of ten columns, about 136 bytes each."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = {
    "id": "INTEGER",
    "email": "TEXT",
    "first_name": "TEXT",
    "last_name": "TEXT",
    "birth_date": "DATE",
    "created_at": "TIMESTAMP",
    "amount": "DECIMAL(10,2)",
    "score": "REAL",
    "active": "BOOLEAN",
    "comment": "TEXT",
}
_FIRST = ("Anna", "Jörg", "Zoë", "Marie", "Luis", "Olu", "Chen", "Ivan", "Noor", "Priya")
_LAST = ("Müller", "O'Neil", "Smith", "García", "Nguyen", "Dubois", "Rossi", "Kowalski")


def write(path: Path, number: int) -> Path:
    """Write a file of so many records with a header, the same ones for the same number."""
    chance = random.Random(7)
    days = [(date(1950, 1, 1) + timedelta(day)).isoformat() for day in range(20_000)]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(COLUMNS) + "\n")
        for index in range(number):
            first, last = chance.choice(_FIRST), chance.choice(_LAST)
            hour, minute, second = chance.randrange(24), chance.randrange(60), chance.randrange(60)
            file.write(
                f"{index + 1},{first.lower()}.{index}@example.org,{first},{last},{chance.choice(days)},"
                f"{chance.choice(days)} {hour:02d}:{minute:02d}:{second:02d},{chance.randrange(10**6) / 100:.2f},"
                f"{chance.random():.6f},{chance.choice(('true', 'false'))},"
                f'"He said ""hi"", then left {chance.randrange(10**9)}"\n'
            )
    return path
