"""Groups the rejects of a chunk while they are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.job import Connector, RejectType
from ladingd.core.reject_group import OTHERS, SHOWN, Place, RejectGroup, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.values.positions import Positions

_PATTERNS = 50
"""How many patterns of one column and code a chunk tells apart."""
_LONGEST = 32
"""A pattern has at most so many characters."""
_RUNS = ((r"\p{L}+", "a"), (r"\p{Nd}+", "9"), (r"\s+", " "))
"""Runs of characters, and what stands for them."""
_ASCII_RUNS = (("[A-Za-z]+", "a"), ("[0-9]+", "9"), (r"\s+", " "))
"""The same for ASCII, whose expressions are compiled ten times as fast."""
_KEY = ("type", "connector", "column", "code")

Label = tuple[str, ...]
"""The values of _KEY, and the pattern."""


@dataclass(kw_only=True, slots=True)
class Grouping:
    """The groups of the rejects of one chunk."""

    _groups: list[RejectGroup] = field(default_factory=list)
    _patterns: dict[Label, set[str]] = field(default_factory=dict)

    @property
    def groups(self) -> tuple[RejectGroup, ...]:
        """The groups of all blocks so far."""
        return joined(self._groups)

    def add(self, block: pa.RecordBatch) -> pa.Array:
        """Count a block of rejects. Returns the id of the group of each of them."""
        labels, members = self._labels(block)
        ids = []
        for number, label in enumerate(labels):
            group = _group(block, np.flatnonzero(members == number), label[-1])
            self._groups.append(group)
            ids.append(group.id)
        return pa.DictionaryArray.from_arrays(pa.array(members), pa.array(ids, pa.string())).cast(pa.string())

    def _labels(self, block: pa.RecordBatch) -> tuple[Sequence[Label], Positions]:
        """What tells apart the groups of the rejects, in the order of the source, and the number of each reject's. If
        there are too many patterns, the rest have a common one."""
        columns = [
            *(block.column(name) for name in _KEY),
            patterns_of(block.column("value"), block.column("connector")),
        ]
        codes = np.zeros(block.num_rows, np.int64)
        for column in map(pa.Array.dictionary_encode, columns):
            codes = codes * len(column.dictionary) + column.indices.to_numpy()
        _, firsts, kinds = np.unique(codes, return_index=True, return_inverse=True)
        numbers: dict[Label, int] = {}
        places = np.zeros(firsts.size, np.int64)
        for kind in np.argsort(firsts).tolist():
            label = self._known(tuple(column[int(firsts[kind])].as_py() for column in columns))
            places[kind] = numbers.setdefault(label, len(numbers))
        return list(numbers), places[kinds]

    def _known(self, label: Label) -> Label:
        """The label, or that of the rest."""
        known = self._patterns.setdefault(label[:-1], set())
        if len(known) < _PATTERNS:
            known.add(label[-1])
        return label if label[-1] in known else (*label[:-1], OTHERS)


def _group(block: pa.RecordBatch, rows: Positions, pattern: str) -> RejectGroup:
    first, *others = block.take(pa.array(rows[:SHOWN])).to_pylist()
    return RejectGroup(
        type=RejectType(first["type"]),
        connector=Connector(first["connector"]),
        column=first["column"],
        code=first["code"],
        pattern=pattern,
        count=int(rows.size),
        places=tuple(Place(file=row["file"], line=row["line"]) for row in (first, *others)),
        values=tuple(block.column("value").take(pa.array(rows)).unique()[:SHOWN].to_pylist()),
        message=first["message"],
    )


def patterns_of(values: pa.Array, connectors: pa.Array) -> pa.Array:
    """The patterns of values. What a database refuses does not depend on the form of the value."""
    patterns = pc.utf8_slice_codeunits(values, 0, _LONGEST)
    for run, mark in _ASCII_RUNS if pc.all(pc.string_is_ascii(patterns)).as_py() else _RUNS:
        patterns = pc.replace_substring_regex(patterns, run, mark)
    return pc.if_else(pc.equal(connectors, str(Connector.DATABASE)), "", patterns)
