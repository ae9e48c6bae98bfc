"""Files that are damaged are refused in words that name the place; nothing wrong is read from them."""

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ladingd.core.errors import InvalidSpec, SourceUnreadable, TechnicalError
from ladingd.core.spec import ImportSpec, Table

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard

TABLE = pa.table({"id": list(range(1000)), "name": [f"name {number}" for number in range(1000)]})


def parquet(table: pa.Table = TABLE) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=300, write_page_checksum=True, compression="none", use_dictionary=False)
    return file.getvalue()


def arrow(*, stream: bool = False) -> bytes:
    file = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(file, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=300)
    return file.getvalue()


FILES = {"in.parquet": parquet(), "in.arrow": arrow(), "in.arrows": arrow(stream=True)}


def problem_of(yard: Yard, data: bytes, name: str) -> str:
    with pytest.raises(InvalidSpec) as caught:
        yard.transfer.plan(ImportSpec(files=(yard.write(data, name),), target=Table(table="t")))
    assert caught.value.field == "files[0].path"
    return caught.value.problem


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_off_is_refused(yard: Yard, name: str) -> None:
    data = FILES[name]
    for size in (len(data) - 20, len(data) // 2, 60):
        assert "was not written or copied completely" in problem_of(yard, data[:size], name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("in.parquet", "is not a Parquet file: it does not begin with PAR1"),
        ("in.arrow", "is a damaged Arrow file: it ends within the message at byte 0"),
    ],
)
@pytest.mark.parametrize("data", [b"id,name\n1,Ann\n", b"PAR", b""])
def test_a_file_with_a_false_name_is_refused(yard: Yard, name: str, problem: str, data: bytes) -> None:
    told = problem_of(yard, data, name)
    assert problem in told or "is not an Arrow file" in told


def test_a_footer_that_cannot_be_read_is_told_of(yard: Yard) -> None:
    data = FILES["in.parquet"]
    assert "its footer cannot be read" in problem_of(yard, data[:-100] + bytes(92) + data[-8:], "in.parquet")


@pytest.mark.parametrize("name", FILES)
def test_any_changed_byte_ends_in_words_or_in_the_same_number_of_rows(yard: Yard, name: str) -> None:
    chance = random.Random(3)
    for turn in range(60):
        data = bytearray(FILES[name])
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        table = f"t{turn}"
        try:
            plan = yard.transfer.plan(ImportSpec(files=(yard.write(bytes(data), name),), target=Table(table=table)))
            counts = yard.run(plan, f"job{turn}")  # type: ignore[arg-type]
        except (InvalidSpec, TechnicalError):
            continue
        assert counts.read == 1000


@pytest.mark.parametrize("rows", [1000, 5000])
def test_a_damaged_row_group_is_named(yard: Yard, rows: int) -> None:
    data = bytearray(parquet(pa.concat_tables([TABLE] * (rows // 1000))))
    data[data.rindex(b"name 777")] ^= 1
    spec = ImportSpec(files=(yard.write(bytes(data), "in.parquet"),), target=Table(table="t"))
    with pytest.raises(
        (InvalidSpec, SourceUnreadable), match=r"in\.parquet: the rows [0-9],?[0-9]* to .* cannot be read"
    ):
        yard.run(yard.transfer.plan(spec))  # type: ignore[arg-type]


def test_text_that_is_not_utf8_is_rejected_alone(yard: Yard) -> None:
    file = io.BytesIO()
    pq.write_table(TABLE.slice(0, 20), file, compression="none", use_dictionary=False)
    data = file.getvalue()
    place = data.index(b"name 7")
    plan = yard.transfer.plan(
        ImportSpec(
            files=(yard.write(data[:place] + b"\xff" + data[place + 1 :], "in.parquet"),), target=Table(table="t")
        )
    )
    counts = yard.run(plan)  # type: ignore[arg-type]
    assert (counts.inserted, counts.rejected) == (19, 1)
