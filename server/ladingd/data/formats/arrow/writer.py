"""Writes rows in Arrow's IPC format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, ClassVar

import pyarrow as pa

from ladingd.data.formats.columnar.writer import ColumnarWriter, batches


@dataclass(frozen=True, kw_only=True)
class ArrowStreamWriter(ColumnarWriter):
    """Writes a stream, which may end after any message."""

    appendable: ClassVar[bool] = True
    title: ClassVar[str] = "Arrow"


@dataclass(frozen=True, kw_only=True)
class ArrowFileWriter(ColumnarWriter):
    """Writes a file, whose footer says where each batch is."""

    title: ClassVar[str] = "Arrow"

    def assemble(self, rows: BinaryIO, file: BinaryIO) -> None:
        with pa.ipc.new_file(file, self.schema) as writer:
            for batch in batches(rows):
                writer.write_batch(batch)
