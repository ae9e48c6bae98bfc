"""Writes the rows of a chunk in the format of the export."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, BinaryIO

from ladingd.data.formats.registry import format_of

if TYPE_CHECKING:
    from ladingd.core.plan import Chunk, ExportPlan
    from ladingd.data.databases.row_source import RowSource
    from ladingd.data.formats.format import Writer


def writer_of(plan: ExportPlan) -> Writer:
    """The writer for the rows of an export."""
    return format_of(plan.layout).writer(plan.layout, plan.columns)


def write_rows(source: RowSource, plan: ExportPlan, chunk: Chunk, file: BinaryIO) -> int:
    """Write the rows of a chunk, and return their number."""
    writer = writer_of(plan)
    if writer.delimited and (written := source.write_text(plan, chunk, file)) is not None:
        return written
    rows = 0
    with closing(source.read(plan, chunk)) as batches:
        for batch in batches:
            file.writelines(writer.records(batch.columns))
            rows += batch.num_rows
    return rows
