"""Reads a chunk into columns of text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ladingd.core.errors import BillImbalance
from ladingd.core.job import RejectType
from ladingd.data.files.digest import digest_all
from ladingd.data.files.fingerprint import check_chunk
from ladingd.data.formats.format import Origins, Piece
from ladingd.data.formats.lines import RecordPlaces, line_ends, read_chunk, refused_record
from ladingd.data.formats.xml.chunker import MISPLACED
from ladingd.data.formats.xml.markup import Frame
from ladingd.data.formats.xml.record import NotARecord, Parser
from ladingd.data.formats.xml.scanner import Found, records_in
from ladingd.data.rejects.fault import Fault
from ladingd.data.rejects.lines import texts

if TYPE_CHECKING:
    from ladingd.core.plan import Chunk, ImportPlan
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.xml.record import Row
    from ladingd.data.values.positions import Positions

_MISPLACED = "this text stands between the records"


def read_piece(source: Source, plan: ImportPlan, chunk: Chunk) -> Piece:
    """The records of a chunk. Raises SourceChanged, and BillImbalance if their number differs from the cut."""
    if chunk.refused is not None:
        return refused_record(source, plan, chunk, {MISPLACED: _MISPLACED})
    if not chunk.records:
        check_chunk(source, chunk, digest_all(source.blocks(chunk.start, chunk.end)))
        data = b""
    else:
        data = read_chunk(source, plan, chunk)
    found = records_in(data, Frame.of(plan.file.layout), final=True)
    if len(found.starts) != chunk.records:
        raise BillImbalance(f"chunk {chunk.ordinal} was cut as {chunk.records} records and read as {len(found.starts)}")
    places = RecordPlaces(
        starts=np.array(found.starts, np.int64), ends=np.array(found.ends, np.int64), line_ends=line_ends(data)
    )
    parser = Parser.of(plan.file.layout, lenient=plan.ignore_extra)
    known = {name: place for place, name in enumerate(parser.names)}
    order = [known.get(field.name) for field in plan.file_columns]
    origins = XmlOrigins(data=data, places=places, parser=parser, order=order, first_line=chunk.first_line)
    rows: list[Row] = []
    indexes: list[int] = []
    faults: list[Fault] = []
    for index, row in enumerate(parser.rows(data, found.starts, found.ends)):
        if isinstance(row, NotARecord):
            line = int(origins.lines(np.array([index]))[0])
            faults.append(Fault(index=index, code=row.code, message=row.message(line)))
        else:
            rows.append(row)
            indexes.append(index)
    return Piece(
        columns=_in_order(columns_of(rows, len(parser.names)), len(rows), order),
        indexes=np.array(indexes, np.int64),
        origins=origins,
        faults=faults,
        warnings=_warnings(found, plan),
    )


def _warnings(found: Found, plan: ImportPlan) -> list[Fault]:
    """A warning for each other element between the records that the plan has not told."""
    told = json.loads(plan.file.layout.details.get("beside", "[]"))
    names = ((name.decode(errors="replace"), index) for name, index in found.beside.items())
    return [
        Fault(
            index=index,
            code="OTHER_ELEMENT",
            message=f"the element <{name}> before this record is not imported (--record-element)",
            type=RejectType.WARNING,
        )
        for name, index in names
        if name not in told
    ]


def _in_order(columns: Sequence[pa.Array], rows: int, order: Sequence[int | None]) -> list[pa.Array]:
    """The columns of a plan. Another file may have columns that this one lacks."""
    return [pa.nulls(rows, pa.string()) if place is None else columns[place] for place in order]


def columns_of(rows: Sequence[Row], width: int) -> list[pa.Array]:
    """The columns of some records."""
    return [pa.array(values, pa.string()) for values in zip(*rows, strict=True)] or [pa.array([], pa.string())] * width


@dataclass(frozen=True, kw_only=True)
class XmlOrigins(Origins):
    """The records of a chunk in its bytes."""

    data: bytes
    places: RecordPlaces
    parser: Parser
    order: Sequence[int | None]
    """The place in the file of each column of the plan."""
    first_line: int

    def lines(self, records: Positions) -> Positions:
        return self.first_line + self.places.lines(records)

    def raw(self, records: Positions) -> pa.Array:
        return texts(self.places.raw(self.data, records))

    def texts(self, records: Positions, column: int) -> pa.Array:
        place = self.order[column]
        if place is None:
            return pa.repeat("", records.size)
        found = self.places.raw(self.data, records).to_pylist()
        return pa.array([self.parser.values(text)[place] or "" for text in found], pa.string())
