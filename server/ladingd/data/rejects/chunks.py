"""The chunks whose records are staged. A record that the merge rejects is read again from its chunk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ladingd.core.errors import SourceUnreadable
from ladingd.core.plan import Chunk
from ladingd.data.formats.format import Origins
from ladingd.data.storage.work_dir import write_durably

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ladingd.data.values.positions import Positions


@dataclass(frozen=True, kw_only=True)
class KeptChunks:
    """The chunks of one file of a job, in a file of the work directory."""

    path: Path

    def keep(self, chunks: Sequence[Chunk], lines: int | None) -> None:
        """Write the chunks durably. The file has so many lines, or none. Raises DestinationRefused."""
        ends = [chunk.first_line for chunk in chunks[1:]]
        ends += [chunks[-1].first_line if lines is None else lines + 1] if chunks else []
        kept = [asdict(chunk) | {"lines": end - chunk.first_line} for chunk, end in zip(chunks, ends, strict=True)]
        write_durably(self.path, [json.dumps(kept).encode()])

    def chunk(self, ordinal: int) -> KeptChunk | None:
        """The chunk with this ordinal, if it is one of this file. Raises SourceUnreadable."""
        return self._chunks.get(ordinal)

    @cached_property
    def _chunks(self) -> Mapping[int, KeptChunk]:
        try:
            chunks = json.loads(self.path.read_bytes())
        except (OSError, ValueError) as error:
            raise SourceUnreadable(f"the daemon cannot read its file {self.path}: {error}") from error
        kept = (KeptChunk(lines=chunk.pop("lines", 0), chunk=Chunk(**chunk)) for chunk in chunks)
        return {one.chunk.ordinal: one for one in kept}


@dataclass(frozen=True, kw_only=True)
class KeptChunk:
    """A chunk, and how many lines it has; 0 if that is unknown."""

    chunk: Chunk
    lines: int


@dataclass(frozen=True)
class LostOrigins(Origins):
    """What is known of records that cannot be read again: their lines, if each record of the chunk is one."""

    kept: KeptChunk

    def lines(self, records: Positions) -> Positions:
        """0 if the lines are unknown."""
        chunk = self.kept.chunk
        return chunk.first_line + records if self.kept.lines == chunk.records else np.zeros_like(records)

    def raw(self, records: Positions) -> pa.Array:
        """Empty texts."""
        return pa.repeat("", records.size)

    def texts(self, records: Positions, column: int) -> pa.Array:
        """Empty texts."""
        return pa.repeat("", records.size)
