"""The staged records of a job: where each one comes from, and which slice it is in.

A record's place is one number that grows from the first record of the first file to the last record of the last one. So
the order of places is the order of the source, whichever chunk was committed first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.errors import TargetChanged
from ladingd.data.values.texts import as_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ladingd.core.plan import CommittedChunk, Merge
    from ladingd.data.mapping.batch import Batch
    from ladingd.data.values.positions import Positions

_Numbers = npt.NDArray[np.uint64]

PLACE = "lading place"
"""The column of the places. A file can have no column of this name: it would be a column of the table."""
_INDEX_BITS = 32
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
"""The constants of SplitMix64 (Steele, Lea and Flood, 2014)."""
_WEIGHTS = 257
"""After this many bytes the weights of a text repeat."""


def places(chunk: int, indexes: Positions) -> Positions:
    """The places of records of a chunk. ``indexes`` count the records of the chunk from 0."""
    return (np.int64(chunk) << _INDEX_BITS) | indexes.astype(np.int64)


def check_kept(entries: Sequence[CommittedChunk], *, exists: bool) -> None:
    """Check that the staging of a job that continues is still there. Raises TargetChanged."""
    staged = sum(entry.counts.pending for entry in entries)
    if staged > 0 and not exists:
        raise TargetChanged(
            f"the {staged:,} staged records of this job are gone, or another version of the daemon has staged them; to "
            "load all records again: lading clone"
        )


def by_chunk(places: Positions) -> Iterator[tuple[int, Positions, Positions]]:
    """Where these records come from: the ordinal of each chunk, the rows of its records in ``places``, and their
    indexes in the chunk, both in the order of the source."""
    order = np.argsort(places, kind="stable")
    chunks = places[order] >> _INDEX_BITS
    for ordinal in np.unique(chunks):
        rows = order[chunks == ordinal]
        yield int(ordinal), rows, places[rows] & ((1 << _INDEX_BITS) - 1)


def slices(batch: Batch, merge: Merge) -> Iterator[tuple[int, Positions]]:
    """The slices that the records of a batch are in: the number of each slice, and its rows."""
    if merge.slices == 1 or not merge.sliced_by:
        yield 0, np.arange(batch.records.num_rows)
        return
    numbers = _by_bounds(batch, merge) if merge.bounds else _by_hash(batch, merge)
    for number in range(merge.slices):
        rows = np.flatnonzero(numbers == number)
        if rows.size:
            yield number, rows


def extent(merge: Merge, number: int) -> tuple[int | None, int | None]:
    """The greatest values of the slice before and of this slice, if bounds decide. None: there is none."""
    if not merge.bounds:
        return None, None
    before = merge.bounds[number - 1] if number else None
    return before, merge.bounds[number] if number < len(merge.bounds) else None


def _by_bounds(batch: Batch, merge: Merge) -> Positions:
    (name,) = merge.sliced_by
    values = batch.records.column(name)
    if pa.types.is_uint64(values.type):  # All bounds are below 2^63, so these numbers need not differ.
        values = pc.min_element_wise(values, pa.scalar((1 << 63) - 1, pa.uint64()))
    values = values.cast(pa.int64()).to_numpy()
    numbers: Positions = np.searchsorted(np.array(merge.bounds), values)
    return numbers


def _by_hash(batch: Batch, merge: Merge) -> Positions:
    hashes = np.zeros(batch.records.num_rows, np.uint64)
    for name in merge.sliced_by:
        hashes = _mixed(hashes ^ _numbers(batch.records.column(name)))
    numbers: Positions = ((hashes >> np.uint64(32)) % np.uint64(merge.slices)).astype(np.int64)
    return numbers


def _mixed(numbers: _Numbers) -> _Numbers:
    with np.errstate(over="ignore"):
        numbers = numbers + _MIX[0]
        numbers = (numbers ^ (numbers >> np.uint64(30))) * _MIX[1]
        numbers = (numbers ^ (numbers >> np.uint64(27))) * _MIX[2]
    return numbers ^ (numbers >> np.uint64(31))


def _numbers(values: pa.Array) -> _Numbers:
    """A number for each value. Equal values of one column have equal numbers, in every chunk and every process."""
    if pa.types.is_integer(values.type):
        numbers: _Numbers = (
            pc.fill_null(values, 0).cast(pa.int64(), safe=False).to_numpy(zero_copy_only=False).view(np.uint64)
        )
        return numbers
    texts = values.cast(pa.binary()) if pa.types.is_fixed_size_binary(values.type) else as_text(values)
    texts = pc.fill_null(texts, b"" if pa.types.is_binary(texts.type) else "")
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    codes = np.frombuffer(data or b"", np.uint8)[bounds[0] : bounds[-1]]
    lengths = np.diff(bounds)
    within = np.arange(codes.size) - np.repeat(bounds[:-1] - bounds[0], lengths)
    weights = _mixed(np.arange(_WEIGHTS, dtype=np.uint64))
    with np.errstate(over="ignore"):
        weighed = (codes.astype(np.uint64) + np.uint64(1)) * weights[within % _WEIGHTS]
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(weighed, dtype=np.uint64)])
        hashes: _Numbers = sums[bounds[1:] - bounds[0]] - sums[bounds[:-1] - bounds[0]]
    return hashes
