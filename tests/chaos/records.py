"""The imported file: good and bad records, the same in every run."""

from __future__ import annotations

MAKE_TABLE = (
    "CREATE TABLE {table} (id integer, code text UNIQUE, weight integer CHECK (weight < 1000), name text NOT NULL)"
)
"""Most records have no code, so that only the ledger prevents a second insert of the same record."""
FIRST_ROW = "INSERT INTO {table} VALUES (0, 'TAKEN', 1, 'was there before')"

NAMES = ("id", "code", "weight", "name")
CHUNK_RECORDS = 50
CHUNK_BYTES = 2000
"""All records are equally long, so that the records of each chunk are known."""

RECORD_BYTES = CHUNK_BYTES // CHUNK_RECORDS
_BAD = 8
"""The rejected records of a chunk. Each pair of chunks has one more."""
BAD_ROWS = 5
"""The rejected rows of each ``CHUNK_RECORDS``."""


def lines_of(chunks: int) -> list[bytes]:
    """The lines of a CSV file of ``chunks`` chunks, an even number."""
    records = [_record(chunk, place) for chunk in range(chunks) for place in range(CHUNK_RECORDS)]
    return [f"{','.join(NAMES)}\n".encode(), *records]


def rows_of(chunks: int) -> list[tuple[str | None, ...]]:
    """As many records for formats whose chunks may end anywhere: no two have the same code. Each is rejected or not,
    whatever its neighbours are."""
    return [_row(number) for number in range(1, chunks * CHUNK_RECORDS + 1)]


def refused(chunks: int) -> int:
    """The number of rejected records of the file."""
    return chunks * _BAD + chunks // 2


def _row(number: int) -> tuple[str | None, ...]:
    fields: dict[int, tuple[str | None, ...]] = {
        4: (None, "1", None),  # no name
        14: (None, "heavy", "x"),  # not an integer
        19: (None, "99999999999", "x"),  # an invalid value
        24: ("TAKEN", "1", "x"),  # in the table before the job
        28: (f"C{number}", "1", "x"),
        33: (None, "5000", "x"),  # violates the CHECK
    }
    return str(number), *fields.get(number % CHUNK_RECORDS, (None, str(number % 1000), "x"))


def _record(chunk: int, place: int) -> bytes:
    number = chunk * CHUNK_RECORDS + place + 1
    fields: dict[int, str] = {
        4: f"{number},",  # too few fields
        9: f"{number},,1,1,",  # too many fields
        14: f"{number},,heavy,",  # not an integer
        19: f"{number},,99999999999,",  # an invalid value
        24: f"{number},TAKEN,1,",  # in the table before the job
        28: f"{number},C{number},1,",
        29: f"{number},C{number - 1},1,",  # a double in the same chunk
        33: f"{number},,5000,",  # violates the CHECK
        34: f"{number},TAKEN,5000,",  # both keys are taken
        # A double of a record in a neighbouring chunk. Either may come first, so both are identical.
        44: f"0,P{chunk // 2},1,",
    }
    text = fields.get(place, f"{number},,{number % 1000},")
    return text.encode().ljust(RECORD_BYTES - 1, b"x") + b"\n"
