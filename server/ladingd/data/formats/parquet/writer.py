"""Writes rows as Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, ClassVar

import pyarrow.parquet as pq

from ladingd.data.formats.columnar.writer import ColumnarWriter, groups


@dataclass(frozen=True, kw_only=True)
class ParquetWriter(ColumnarWriter):
    """Compresses with Snappy, which every reader knows."""

    title: ClassVar[str] = "Parquet"

    def assemble(self, rows: BinaryIO, file: BinaryIO) -> None:
        with pq.ParquetWriter(file, self.schema, compression="snappy") as writer:
            for group in groups(rows, self.schema):
                writer.write_table(group, row_group_size=group.num_rows)
