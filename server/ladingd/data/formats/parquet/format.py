"""Parquet (https://parquet.apache.org/docs/file-format)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from ladingd.data.formats.columnar.format import Columnar
from ladingd.data.formats.columnar.rows import Contents, Damaged, Group, SourceFile
from ladingd.data.formats.parquet.writer import ParquetWriter

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from ladingd.core.plan import Column, Layout
    from ladingd.data.files.roots import Source

_MAGIC = b"PAR1"
_FIRST_FIELD = b"\x15"
"""How Thrift begins the header of the first page, or the footer of a file without pages."""
_BUFFER = 1 << 18
"""How much of each column is read at a time."""


@dataclass(frozen=True, kw_only=True)
class ParquetContents(Contents):
    """The footer of a file."""

    metadata: pq.FileMetaData
    length: int

    def batches(self, source: Source, place: int, size: int) -> Generator[pa.RecordBatch, None, None]:
        with pa.PythonFile(SourceFile(source, self.length), "r") as file:
            parquet = pq.ParquetFile(
                file, metadata=self.metadata, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True
            )
            yield from parquet.iter_batches(size, row_groups=[place], use_threads=False)


class Parquet(Columnar):
    """Columns with types; the footer describes them."""

    name: ClassVar[str] = "parquet"
    title: ClassVar[str] = "Parquet"
    endings: ClassVar[frozenset[str]] = frozenset({"parquet", "pq"})

    def recognises(self, sample: bytes) -> bool:
        return sample.startswith(_MAGIC + _FIRST_FIELD)

    def look(self, source: Source, size: int, options: Mapping[str, str]) -> ParquetContents:
        if size < 3 * len(_MAGIC) or source.read(0, len(_MAGIC)) != _MAGIC:
            raise Damaged("is not a Parquet file: it does not begin with PAR1")
        if source.read(size - len(_MAGIC), size) != _MAGIC:
            raise Damaged("is a damaged Parquet file: its end is missing, so it was not written or copied completely")
        try:
            with pa.PythonFile(SourceFile(source, size), "r") as file:
                parquet = pq.ParquetFile(file, pre_buffer=False)
                metadata, schema = parquet.metadata, parquet.schema_arrow
        except (pa.ArrowException, OSError) as error:
            raise Damaged(f"is a damaged Parquet file: its footer cannot be read ({error})") from error
        groups: list[Group] = []
        first, codecs = 0, set()
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            parts = [group.column(column) for column in range(group.num_columns)]
            starts = [part.dictionary_page_offset or part.data_page_offset for part in parts]
            ends = [start + part.total_compressed_size for start, part in zip(starts, parts, strict=True)]
            codecs |= {part.compression for part in parts}
            if max(ends, default=0) > size:
                raise Damaged(f"is a damaged Parquet file: row group {number + 1} lies behind its end")
            groups.append(
                Group(
                    first=first,
                    rows=group.num_rows,
                    size=group.total_byte_size,
                    start=min(starts, default=0),
                    end=max(ends, default=0),
                )
            )
            first += group.num_rows
        compression = ", ".join(sorted(codec.lower() for codec in codecs)).replace("uncompressed", "none")
        return ParquetContents(
            schema=schema,
            groups=groups,
            detected={"compression": compression or "none"},
            metadata=metadata,
            length=size,
        )

    def writer(self, layout: Layout, columns: Sequence[Column]) -> ParquetWriter:
        return ParquetWriter(columns=columns)
