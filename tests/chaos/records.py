"""The file that is imported: good and bad records, the same in every run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAKE_TABLE = (
    "CREATE TABLE {table} (id integer, code text UNIQUE, weight integer CHECK (weight < 1000), name text NOT NULL)"
)
"""Most records have no code: where one is written twice, nothing but the ledger could have kept it out."""
FIRST_ROW = "INSERT INTO {table} VALUES (0, 'TAKEN', 1, 'was there before')"

CHUNK_RECORDS = 50
CHUNK_BYTES = 2000
"""All records are equally long, so that it is known which are in one chunk."""

_RECORD_BYTES = CHUNK_BYTES // CHUNK_RECORDS
_BAD = 8
"""How many records of a chunk are refused; of two chunks, one more."""


def write_records(path: Path, chunks: int) -> None:
    """Write a file of so many chunks, an even number."""
    records = [_record(chunk, place) for chunk in range(chunks) for place in range(CHUNK_RECORDS)]
    path.write_bytes(b"id,code,weight,name\n" + b"".join(records))


def refused(chunks: int) -> int:
    """How many records of the file are refused."""
    return chunks * _BAD + chunks // 2


def _record(chunk: int, place: int) -> bytes:
    number = chunk * CHUNK_RECORDS + place + 1
    fields: dict[int, str] = {
        4: f"{number},",  # too few
        9: f"{number},,1,1,",  # too many
        14: f"{number},,heavy,",  # no integer
        19: f"{number},,99999999999,",  # none of the column's
        24: f"{number},TAKEN,1,",  # there before the job
        28: f"{number},C{number},1,",
        29: f"{number},C{number - 1},1,",  # a double in the same chunk
        33: f"{number},,5000,",  # beyond the CHECK
        34: f"{number},TAKEN,5000,",  # both
        # A double of the next chunk or the one before. Which comes first is chance, so they are alike in all.
        44: f"0,P{chunk // 2},1,",
    }
    text = fields.get(place, f"{number},,{number % 1000},")
    return text.encode().ljust(_RECORD_BYTES - 1, b"x") + b"\n"
