"""The messages of an Arrow file are where its footer says."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pyarrow as pa

from ladingd.core.spec import ImportSpec, Table

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard

WORDS = ["x", None, "ü", "x"]
TABLE = pa.table({"id": [1, 2, 3, 4], "word": WORDS, "kind": pa.array(WORDS).dictionary_encode()})


def arrow_file() -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_file(file, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=2)
    return file.getvalue()


def test_a_file_without_a_message_of_its_schema(yard: Yard) -> None:
    """Polars writes only the schema itself in this place."""
    data = arrow_file()
    size = int.from_bytes(data[12:16], "little")
    data = data[:8] + data[16 : 16 + size] + bytes(8) + data[16 + size :]
    plan = yard.transfer.plan(ImportSpec(files=(yard.write(data, "in.arrow"),), target=Table(table="t")))
    assert yard.run(plan).inserted == 4  # type: ignore[arg-type]
    assert yard.sql("SELECT word, kind FROM t ORDER BY id") == [(word, word) for word in WORDS]
