"""The forms of the imported file: each registered format, CSV compressed by each registered codec, and for each
change."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import zstandard

from ladingd.core.plan import Column
from ladingd.core.spec import ExportSpec, File, FixedWidthFormat, Table
from ladingd.data.files.compression import CODECS, codec_named
from ladingd.data.formats.registry import FORMATS, format_to_write
from tests.chaos.changes import Change
from tests.chaos.records import BAD_ROWS, CHUNK_BYTES, NAMES, rows_of
from tests.contract.files import written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CSV = "csv"


def _zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("member", data)
    return file.getvalue()


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": _zipped,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """A format, a codec (empty: the file is not compressed), and what the records change. If it is no insert, the
    format is CSV."""

    file_format: str = CSV
    codec: str = ""
    change: Change = Change.INSERT

    def __str__(self) -> str:
        change = "" if self.change is Change.INSERT else self.change
        return "+".join(filter(None, (self.file_format, self.codec, change)))

    def write(self, directory: Path, chunks: int) -> Path:
        """Write the file of ``chunks`` chunks, unless it is there."""
        ending = codec_named(self.codec).endings[0] if self.codec else ""
        path = directory / f"{chunks}.{self.change}.{self.file_format}{ending}"
        if not path.exists():
            data = self.content(chunks)
            path.write_bytes(COMPRESS[self.codec](data) if self.codec else data)
        return path

    def content(self, chunks: int) -> bytes:
        """The file before it is compressed. Formats other than CSV are written as an export writes them."""
        if self.file_format == CSV:
            return self.change.content(chunks)
        spec = ExportSpec(
            source=Table(table="t"),
            file=File(path="out"),
            file_format=self.file_format,
            fixed_width=FixedWidthFormat(widths=self.widths),
        )
        columns = [Column(source=name, target=name, type="text") for name in NAMES]
        kind = format_to_write(spec)
        values = [pa.array(texts, pa.string()) for texts in zip(*rows_of(chunks), strict=True)]
        return written(kind.writer(kind.layout(spec, columns), columns), values)

    @property
    def widths(self) -> str:
        """The widths of the columns, for the format that has them."""
        return "8,8,12,40" if self.file_format == "fixed_width" else ""

    def lines(self, chunks: int) -> list[str]:
        """The lines of the file if the same record may be rejected in different places of it."""
        varies = self.file_format == CSV and self.change is Change.INSERT
        return self.change.content(chunks).decode().splitlines() if varies else []

    def refused(self, chunks: int) -> int:
        """The number of rejected records of the file."""
        return self.change.refused(chunks) if self.file_format == CSV else BAD_ROWS * chunks

    def chunk_bytes(self, chunks: int) -> int:
        """The size of a chunk."""
        return CHUNK_BYTES if self.file_format == CSV else len(self.content(chunks)) // chunks


PLAIN_FORMS = tuple(Form(file_format=each.name) for each in FORMATS)
FORMS = (*PLAIN_FORMS, *(Form(codec=each.name) for each in CODECS))
