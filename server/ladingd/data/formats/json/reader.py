"""Reads a chunk of an array into columns, as JSON Lines are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ladingd.data.files.digest import digest_all
from ladingd.data.files.fingerprint import check_chunk
from ladingd.data.formats.json.chunker import is_behind, places_of, remembered
from ladingd.data.formats.json.elements import elements_in
from ladingd.data.formats.json_lines.reader import JsonReader
from ladingd.data.formats.lines import RecordPlaces, line_ends, read_chunk, refused_record

if TYPE_CHECKING:
    from ladingd.core.plan import Chunk, ImportPlan
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.format import Piece
    from ladingd.data.values.positions import Positions


def read_piece(source: Source, plan: ImportPlan, chunk: Chunk) -> Piece:
    """The records of a chunk. Raises SourceChanged, and BillImbalance if their number differs from the cut."""
    if chunk.refused is not None:
        return refused_record(source, plan, chunk, {})
    if is_behind(source, plan, chunk):
        check_chunk(source, chunk, digest_all(source.blocks(chunk.start, chunk.end)))
        data = b""
    else:
        data = read_chunk(source, plan, chunk)
    starts, ends = remembered(plan, chunk) or places_of(elements_in(data, final=True))
    places = RecordPlaces(starts=starts, ends=ends, line_ends=line_ends(data))
    return JsonReader(data=_without_commas(data, starts, ends), plan=plan, chunk=chunk, places=places).piece()


def _without_commas(data: bytes, starts: Positions, ends: Positions) -> bytes:
    """The same with blanks between the records, as pyarrow wants them."""
    blank = np.zeros(len(data) + 1, np.int8)
    blank[0] = 1
    np.add.at(blank, starts, -1)
    np.add.at(blank, ends, 1)
    codes = np.frombuffer(data, np.uint8)
    return np.where(np.cumsum(blank, dtype=np.int8)[:-1] > 0, np.uint8(ord(" ")), codes).tobytes()
