"""The files of the cases: records of ten columns, about 136 bytes each, clean or with bad records."""

from __future__ import annotations

import csv
import gzip
import json
import random
import shutil
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import xlsxwriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

RECORD_BYTES = 136
"""The average length of a record."""

COLUMNS = {
    "id": "INTEGER",
    "email": "TEXT",
    "first_name": "TEXT",
    "last_name": "TEXT",
    "birth_date": "DATE",
    "created_at": "TIMESTAMP",
    "amount": "DECIMAL(10,2)",
    "score": "DOUBLE PRECISION",
    "active": "BOOLEAN",
    "comment": "TEXT",
}
CONSTRAINED = {**COLUMNS, "id": "INTEGER PRIMARY KEY", "amount": "DECIMAL(10,2) CHECK (amount >= 0)"}
"""The constraints that `write_violations` violates."""

_ARROW = {
    "INTEGER": pa.int32(),
    "TEXT": pa.string(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
    "DECIMAL": pa.decimal128(10, 2),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
}
"""The types of Arrow for the types of the table."""

_FIRST = ("Anna", "Jörg", "Zoë", "Marie", "Luis", "Olu", "Chen", "Ivan", "Noor", "Priya")
_LAST = ("Müller", "O'Neil", "Smith", "García", "Nguyen", "Dubois", "Rossi", "Kowalski")
_ID, _BIRTH_DATE, _CREATED_AT, _AMOUNT, _SCORE = 0, 4, 5, 6, 7
_BAD = (
    (_BIRTH_DATE, "2001-02-30"),
    (_BIRTH_DATE, "unknown"),
    (_CREATED_AT, "1999-12-31 25:00:00"),
    (_AMOUNT, "n/a"),
    (_AMOUNT, "123456789.00"),
    (_SCORE, "0.5.1"),
    (_ID, "99999999999"),
)
"""Fields that are invalid for such a column: meaningless or out of range."""


def write(path: Path, number: int) -> None:
    """Write clean records with ids in order. The same number gives the same records."""
    _write(path, _records(number))


def write_json_lines(source: Path, path: Path) -> None:
    """Write the records of a file that `write` has made as JSON objects with the same digits."""
    plain = {name for name, kind in COLUMNS.items() if kind.startswith(("INTEGER", "DECIMAL", "DOUBLE", "BOOLEAN"))}
    with source.open(encoding="utf-8", newline="") as file, path.open("w", encoding="utf-8", newline="") as lines:
        for record in csv.DictReader(file):
            fields = (
                f"{json.dumps(name)}:"
                + ("null" if not value else value if name in plain else json.dumps(value, ensure_ascii=False))
                for name, value in record.items()
            )
            lines.write("{" + ",".join(fields) + "}\n")


def write_fixed_width(source: Path, path: Path) -> None:
    """Write the records of a file that `write` has made in columns of fixed width, numbers on the right."""
    with source.open(encoding="utf-8", newline="") as file:
        widths = [max(map(len, column)) for column in zip(*csv.reader(file), strict=True)]
    numbers = [kind.startswith(("INTEGER", "DECIMAL", "DOUBLE")) for kind in COLUMNS.values()]
    with source.open(encoding="utf-8", newline="") as file, path.open("w", encoding="utf-8", newline="") as lines:
        for record in csv.reader(file):
            fields = zip(record, widths, numbers, strict=True)
            padded = (text.rjust(width) if right else text.ljust(width) for text, width, right in fields)
            lines.write("  ".join(padded) + "\n")


def write_xml(source: Path, path: Path) -> None:
    """Write the records of a file that `write` has made as elements with an element for each field."""
    with source.open(encoding="utf-8", newline="") as file, path.open("w", encoding="utf-8", newline="") as out:
        out.write('<?xml version="1.0" encoding="UTF-8"?>\n<records>\n')
        for record in csv.DictReader(file):
            fields = (f"<{name}>{escape(value)}</{name}>" for name, value in record.items() if value)
            out.write(f"<record>{''.join(fields)}</record>\n")
        out.write("</records>\n")


def write_parquet(source: Path, path: Path) -> None:
    """Write the records of a file that `write` has made as Parquet, with the types of the table."""
    columns = {name: _ARROW[kind.split("(")[0].split()[0]] for name, kind in COLUMNS.items()}
    table = pacsv.read_csv(source, convert_options=pacsv.ConvertOptions(column_types=columns, strings_can_be_null=True))
    pq.write_table(table, path)


def write_gzip(source: Path, path: Path) -> None:
    """Compress a file as the program gzip does by default."""
    with source.open("rb") as file, gzip.open(path, "wb", compresslevel=6) as packed:
        shutil.copyfileobj(file, packed, 1 << 20)


def write_latin1(source: Path, path: Path) -> None:
    """Write a file that `write` has made in Latin-1."""
    with source.open(encoding="utf-8", newline="") as file, path.open("w", encoding="latin-1", newline="") as out:
        shutil.copyfileobj(file, out, 1 << 20)


def write_workbook(path: Path, number: int) -> None:
    """Write clean records as the sheet of a workbook, each value as Excel's own."""
    with xlsxwriter.Workbook(path, {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        days, moments = (book.add_format({"num_format": kind}) for kind in ("yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss"))
        sheet.write_row(0, 0, list(COLUMNS))
        for line, fields in enumerate(_records(number), 1):
            for place, (kind, value) in enumerate(zip(COLUMNS.values(), fields, strict=True)):
                if kind in ("DATE", "TIMESTAMP") and value:
                    moment = datetime.fromisoformat(value)
                    sheet.write_datetime(line, place, moment, days if kind == "DATE" else moments)
                elif kind == "BOOLEAN" and value:
                    sheet.write_boolean(line, place, value == "true")
                elif kind != "TEXT" and value:
                    sheet.write_number(line, place, float(value))
                else:
                    sheet.write_string(line, place, value)


def bad_share(number: int) -> int:
    """The number of bad records, 1 %: in `write_rejects`, and for each constraint in `write_violations`."""
    return number // 100


def write_rejects(path: Path, number: int) -> None:
    """Write the same records; `bad_share` of them, scattered over the file, have a bad date, number or range."""
    spoiled = set(random.Random(8).sample(range(number), bad_share(number)))

    def records() -> Iterator[list[str]]:
        for index, fields in enumerate(_records(number)):
            if index in spoiled:
                column, value = _BAD[index % len(_BAD)]
                fields[column] = value
            yield fields

    _write(path, records())


def write_shuffled(path: Path, number: int) -> None:
    """Write clean records with ids in random order."""
    _write(path, _numbered(number, _shuffled(number)))


def write_violations(path: Path, number: int) -> None:
    """Write the same records; twice `bad_share` of them, scattered, have the id of a good record or a negative
    amount."""
    ids = _shuffled(number)
    share = bad_share(number)
    chosen = random.Random(10).sample(range(number), 3 * share)
    # The other record of a double is good, so it does not matter which of the two is inserted.
    firsts, doubles, negative = chosen[:share], chosen[share : 2 * share], set(chosen[2 * share :])
    for first, double in zip(firsts, doubles, strict=True):
        ids[double] = ids[first]

    def records() -> Iterator[list[str]]:
        for index, fields in enumerate(_numbered(number, ids)):
            if index in negative:
                fields[_AMOUNT] = f"-{index + 1}.00"
            yield fields

    _write(path, records())


def _shuffled(number: int) -> list[int]:
    ids = list(range(1, number + 1))
    random.Random(9).shuffle(ids)
    return ids


def _numbered(number: int, ids: Sequence[int]) -> Iterator[list[str]]:
    for key, fields in zip(ids, _records(number), strict=True):
        fields[_ID] = str(key)
        yield fields


def _records(number: int) -> Iterator[list[str]]:
    chance = random.Random(7)
    days = [(date(1950, 1, 1) + timedelta(day)).isoformat() for day in range(20_000)]
    for index in range(number):
        first, last = chance.choice(_FIRST), chance.choice(_LAST)
        hour, minute, second = chance.randrange(24), chance.randrange(60), chance.randrange(60)
        yield [
            str(index + 1),
            f"{first.lower()}.{index}@example.org",
            first,
            last,
            chance.choice(days),
            f"{chance.choice(days)} {hour:02d}:{minute:02d}:{second:02d}",
            f"{chance.randrange(10**6) / 100:.2f}",
            f"{chance.random():.6f}",
            chance.choice(("true", "false")),
            f'"He said ""hi"", then left {chance.randrange(10**9)}"',
        ]


def _write(path: Path, records: Iterator[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(COLUMNS) + "\n")
        file.writelines(",".join(fields) + "\n" for fields in records)
