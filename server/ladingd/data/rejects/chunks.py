"""The chunks whose records are staged. A record that the merge rejects is read again from its chunk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.core.errors import SourceUnreadable
from ladingd.core.plan import Chunk
from ladingd.data.storage.work_dir import write_durably

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class KeptChunks:
    """The chunks of one file of a job, in a file of the work directory."""

    path: Path

    def keep(self, chunks: Sequence[Chunk]) -> None:
        """Write the chunks durably. Raises DestinationRefused."""
        write_durably(self.path, [json.dumps([asdict(chunk) for chunk in chunks]).encode()])

    def chunk(self, ordinal: int) -> Chunk | None:
        """The chunk with this ordinal, if it is one of this file. Raises SourceUnreadable."""
        return self._chunks.get(ordinal)

    @cached_property
    def _chunks(self) -> Mapping[int, Chunk]:
        try:
            chunks = json.loads(self.path.read_bytes())
        except (OSError, ValueError) as error:
            raise SourceUnreadable(f"the daemon cannot read its file {self.path}: {error}") from error
        return {chunk["ordinal"]: Chunk(**chunk) for chunk in chunks}
