"""Writes rows as an array of objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, ClassVar

from ladingd.data.formats.json_lines.writer import JsonLinesWriter

_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonWriter(JsonLinesWriter):
    """Writes each row in a line of its own. Commas stand at the ends of lines, which no value contains."""

    appendable: ClassVar[bool] = False

    def assemble(self, rows: BinaryIO, file: BinaryIO) -> None:
        file.write(b"[")
        separator = b"\n"
        while block := rows.read(_BLOCK):
            is_end = block.endswith(b"\n")
            file.write(separator + block[: len(block) - is_end].replace(b"\n", b",\n"))
            separator = b",\n" if is_end else b""
        file.write(b"\n]\n")
