"""Shows what an import would do: the plan, and the first records as the plan reads them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ladingd.core.job import Connector, Reject, RejectType
from ladingd.core.preview import Preview, PreviewedRecord
from ladingd.data.formats.registry import format_of
from ladingd.data.imports.provenance import filled
from ladingd.data.mapping.compiled import CompiledMapping
from ladingd.data.rejects.fault import Faults
from ladingd.data.values.casting import shorten
from ladingd.data.values.decimals import decimal_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ladingd.core.plan import ImportPlan
    from ladingd.data.files.roots import Source
    from ladingd.data.mapping.batch import Batch
    from ladingd.data.values.converters import Reading

_CHUNK = 1 << 20
"""The bytes of the file that are looked at, unless the first record is longer."""
_REJECTS = 50
"""The most rejects that a preview shows."""
_JOB = "…"
"""The job in the columns of provenance: a preview has none."""
_CAP = 500
"""The longest value in bytes; a longer one is shortened."""


def preview(source: Source, plan: ImportPlan, readings: Sequence[Reading], number: int) -> Preview:
    """The first ``number`` records of a file, and the first rejects."""
    plan = replace(plan, chunk_bytes=min(plan.chunk_bytes, _CHUNK))
    form = format_of(plan.file.layout)
    chunks = form.cut(source, plan, None, 1)
    if not chunks:
        return Preview(plan=plan, whole=True)
    chunk = chunks[0]
    own = readings[: len(plan.mapped.columns)]
    batch = CompiledMapping.of(plan.mapped, own).apply(form.read(source, plan, chunk), chunk)
    batch = filled(batch, plan, readings, _JOB)
    faults = Faults.of(batch.faults)
    return Preview(
        plan=plan,
        records=_records(batch, number),
        rejects=[reject for block in batch.rejects(faults) for reject in _rejects(block)][:_REJECTS],
        read=chunk.records or 0,
        rejected=len(faults),
        filtered=batch.filtered,
        whole=chunk.end >= plan.file.end,
    )


def _records(batch: Batch, number: int) -> list[PreviewedRecord]:
    shown = batch.records.slice(0, number)
    lines = batch.lines(np.arange(shown.num_rows)).tolist()
    columns = [_texts(column) for column in shown.columns]
    return [PreviewedRecord(line=line, values=values) for line, *values in zip(lines, *columns, strict=True)]


def _texts(column: pa.Array) -> list[str | None]:
    if pa.types.is_decimal(column.type):
        column = decimal_text(column)
    elif pa.types.is_binary(column.type) or pa.types.is_fixed_size_binary(column.type):
        return [None if value is None else value.hex() for value in column.to_pylist()]
    texts = column.cast(pa.string()).to_pylist()
    return [None if text is None else shorten(text.encode(), _CAP) for text in texts]


def _rejects(block: pa.RecordBatch) -> Iterator[Reject]:
    for row in block.slice(0, _REJECTS).to_pylist():
        yield Reject(
            **{
                **row,
                "raw": shorten(row["raw"].encode(), _CAP),
                "type": RejectType(row["type"]),
                "time": datetime.fromisoformat(row["time"]),
                "connector": Connector(row["connector"]),
            }
        )
