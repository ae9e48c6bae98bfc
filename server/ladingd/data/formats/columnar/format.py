"""The base of the formats that hold typed columns. The unit of a chunk is the row."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.errors import InvalidSpec, SourceChanged, SourceUnreadable
from ladingd.core.plan import Chunk, Layout
from ladingd.data.files.fingerprint import check_chunk
from ladingd.data.formats.columnar.rows import Damaged, check_length, read_rows, remember, remembered
from ladingd.data.formats.columnar.values import as_json, plain, type_of
from ladingd.data.formats.format import Format, Origins, Outline, Piece
from ladingd.data.formats.header import different_names
from ladingd.data.formats.lines import FILE_FIELD
from ladingd.data.formats.options import FLATTENED, is_flattened, refuse_options
from ladingd.data.values.texts import as_text

if TYPE_CHECKING:
    import numpy.typing as npt

    from ladingd.core.plan import Column, ImportPlan
    from ladingd.core.spec import ExportSpec, ImportSpec
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.columnar.rows import Contents
    from ladingd.data.values.positions import Positions

_SAMPLED = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnarOrigins(Origins):
    """The rows of a chunk as the file has them."""

    batch: pa.RecordBatch
    names: Sequence[str]
    first_line: int

    def lines(self, records: Positions) -> Positions:
        return self.first_line + records if self.first_line else np.zeros(records.size, np.int64)

    def raw(self, records: Positions) -> pa.Array:
        rows = pa.array(records, pa.int64())
        columns = [as_json(column.take(rows)) for column in self.batch.columns]
        return pa.array(
            [
                json.dumps(dict(zip(self.names, row, strict=True)), ensure_ascii=False, default=str)
                for row in zip(*columns, strict=True)
            ],
            pa.string(),
        )

    def texts(self, records: Positions, column: int) -> pa.Array:
        texts = as_text(plain(self.batch.column(column).take(pa.array(records, pa.int64()))))
        return pc.fill_null(texts, pa.scalar("", texts.type))


class Columnar(Format):
    """A format whose files know the names and types of their columns, and their number of rows."""

    unit: ClassVar[str] = "rows"

    @abstractmethod
    def look(self, source: Source, size: int, options: Mapping[str, str]) -> Contents:
        """Look at the first ``size`` bytes of a file. Raises Damaged."""

    def options(self, spec: ImportSpec) -> Mapping[str, str]:
        """How a file is read, as far as the user decides it."""
        return {}

    def check(self, spec: ImportSpec | ExportSpec) -> None:
        refuse_options(spec, self.title, but=("flatten",))

    def outline(self, source: Source, size: int, spec: ImportSpec, column_limit: int) -> Outline:
        try:
            contents = self.look(source, size, self.options(spec))
        except Damaged as error:
            raise InvalidSpec(FILE_FIELD, f"{source.path} {error}") from error
        remember(source, size, contents)
        schema = _flattened(pa.RecordBatch.from_pylist([], contents.schema)).schema if spec.flatten else contents.schema
        names = schema.names
        if len(names) > column_limit:
            raise InvalidSpec(
                FILE_FIELD, f"{source.path} has {len(names):,} columns; at most {column_limit:,} can be imported"
            )
        rows = min(contents.rows, _SAMPLED)
        try:
            sample = read_rows(source, contents, 0, rows)
        except SourceUnreadable as error:
            raise InvalidSpec(FILE_FIELD, error.message) from error
        if spec.flatten:
            sample = _flattened(sample)
        named, renamed = different_names(names)
        return Outline(
            layout=Layout(format=self.name, details={**contents.options, **(FLATTENED if spec.flatten else {})}),
            start=0,
            end=contents.rows,
            first_line=contents.first_line,
            names=named,
            named=contents.named,
            columns=[plain(column) for column in sample.columns],
            lines=[contents.line(row) for row in range(rows)],
            types=dict(zip(named, map(type_of, schema.types), strict=True)),
            detected={"format": self.title, **contents.detected, "rows": f"{contents.rows:,}"},
            notes=(*contents.notes, *renamed),
        )

    def cut(self, source: Source, plan: ImportPlan, previous: Chunk | None, limit: int) -> tuple[Chunk, ...]:
        contents = self._planned(source, plan)
        chunks: list[Chunk] = []
        start = plan.file.start if previous is None else previous.end
        ordinal = 0 if previous is None else previous.ordinal + 1
        while start < plan.file.end and len(chunks) < limit:
            end = _end(contents, start, plan)
            chunks.append(
                Chunk(
                    ordinal=ordinal,
                    start=start,
                    end=end,
                    first_record=start + 1,
                    first_line=contents.line(start),
                    records=end - start,
                    digest=contents.digest(source, start, end),
                )
            )
            ordinal, start = ordinal + 1, end
        return tuple(chunks)

    def digest(self, source: Source, plan: ImportPlan, chunk: Chunk) -> str:
        return self._planned(source, plan).digest(source, chunk.start, chunk.end)

    def read(self, source: Source, plan: ImportPlan, chunk: Chunk) -> Piece:
        contents = self._planned(source, plan)
        check_chunk(source, chunk, contents.digest(source, chunk.start, chunk.end), self.unit)
        batch = read_rows(source, contents, chunk.start, chunk.end)
        if is_flattened(plan.file.layout):
            batch = _flattened(batch)
        origins = ColumnarOrigins(
            batch=batch, names=[field.name for field in plan.file_columns], first_line=contents.line(chunk.start)
        )
        columns = [plain(column) for column in batch.columns]
        indexes = np.arange(batch.num_rows, dtype=np.int64)
        if contents.blank_is_empty:
            indexes = indexes[_filled(batch)]
            columns = [column.take(pa.array(indexes)) for column in columns]
        return Piece(
            columns=columns,
            indexes=indexes,
            origins=origins,
            empty=batch.num_rows - indexes.size,
            nul=True,
        )

    def layout(self, spec: ExportSpec, columns: Sequence[Column]) -> Layout:
        return Layout(format=self.name)

    def _planned(self, source: Source, plan: ImportPlan) -> Contents:
        """The contents of the file that was planned. Raises SourceChanged."""
        size = source.size if plan.file.content.spooled else plan.file.fingerprint.size
        check_length(source, size)
        options = {key: value for key, value in plan.file.layout.details.items() if key not in FLATTENED}
        contents = remembered(source, size, options)
        if contents is None:
            try:
                contents = self.look(source, size, options)
            except Damaged as error:
                raise SourceChanged(f"{source.path} is not the file the job was planned with: it {error}") from error
            remember(source, size, contents)
        if contents.rows != plan.file.end:
            raise SourceChanged(
                f"{source.path} is not the file the job was planned with: it had {plan.file.end:,} rows, it has "
                f"{contents.rows:,}"
            )
        return contents


def _flattened(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with a column for each field of a struct, called by its path."""
    names: list[str] = []
    columns: list[pa.Array] = []
    left = [*zip(batch.schema.names, batch.columns, strict=True)][::-1]
    while left:
        name, column = left.pop()
        if pa.types.is_struct(column.type) and column.type.num_fields:
            inner = [f"{name}.{field.name}" for field in column.type]
            left += [*zip(inner, column.flatten(), strict=True)][::-1]
        else:
            names.append(name)
            columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names)


def _filled(batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """Which rows have any value."""
    filled = np.zeros(batch.num_rows, np.bool_)
    for column in batch.columns:
        filled |= column.is_valid().to_numpy(zero_copy_only=False)
    return filled


def _end(contents: Contents, start: int, plan: ImportPlan) -> int:
    """Where the chunk that begins at ``start`` ends: behind as many whole groups as fit, else within the first."""
    (place,) = contents.places(start, start + 1)
    group = contents.groups[place]
    most = max(1, min(contents.most_rows, plan.chunk_bytes * group.rows // max(group.size, 1)))
    if group.rows > most:
        pieces = -(-group.rows // most)
        return min(start + -(-group.rows // pieces), group.first + group.rows)
    end, size = start, 0
    for group in contents.groups[place:]:
        size += group.size
        if end > start and (size > plan.chunk_bytes or group.first + group.rows - start > contents.most_rows):
            break
        end = group.first + group.rows
    return end
