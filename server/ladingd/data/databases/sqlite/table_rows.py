"""Reads the rows of a table as columns of text, a bounded number of bytes at a time."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from ladingd.core.errors import SourceUnreadable
from ladingd.core.report import report
from ladingd.data.databases.sqlite.session import KindChanged, statement
from ladingd.data.databases.sqlite.text_columns import Unfit

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from ladingd.data.databases.sqlite.session import Database
    from ladingd.data.databases.sqlite.text_columns import TextColumn

ROW_LIMIT = 128 << 20
"""The most bytes of text in a row."""

CAREFUL_COLUMNS = 1000
"""The most columns of a query in the careful way: SQLite's results have at most 2,000 columns."""

_BATCH_ROWS = 16_384
_BATCH_BYTES = 32 << 20
_SHORT = 1024
"""Texts up to this length are not measured individually."""
_NUMBER = 32
"""The most bytes of a number, as text and in binary."""

_LENGTH = "octet_length({c})"
_TEXT_LENGTH = "CASE typeof({c}) WHEN 'blob' THEN 2 + 2 * length({c}) ELSE ifnull(octet_length({c}), 0) END"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """The rows of a table with keys from ``first`` to ``last``, in order. Without a key: all rows, in any order."""

    table: str
    key: str | None
    first: int
    last: int

    def query(self, expressions: Sequence[str], skipped: int = 0) -> str:
        """A query for expressions over the rows, without the first ``skipped`` rows."""
        text = self.aggregate(expressions)
        if self.key is None:
            return text
        return text + statement(" ORDER BY {key} LIMIT -1", key=self.key) + f" OFFSET {skipped}"

    def aggregate(self, expressions: Sequence[str]) -> str:
        """A query for expressions over the rows in any order."""
        text = f"SELECT {', '.join(expressions)}" + statement(" FROM {table}", table=self.table)  # noqa: S608 - quoted
        return text if self.key is None else text + statement(" WHERE {key} BETWEEN ? AND ?", key=self.key)

    @property
    def values(self) -> tuple[int, ...]:
        """The values to bind."""
        return () if self.key is None else (self.first, self.last)


def read_text(database: Database, rows: Rows, columns: Sequence[TextColumn]) -> Generator[list[pa.Array], None, None]:
    """Yield the rows in batches, as columns of text. Raises SourceUnreadable."""
    done = 0
    # Without a key a second query may return the rows in another order.
    if rows.key is not None:
        try:
            for texts in _read_typed(database, rows, columns):
                yield texts
                done += len(texts[0])
        except (Unfit, KindChanged):
            pass  # Continue in the careful way.
        else:
            return
    yield from _read_careful(database, rows, columns, done)


def _read_typed(database: Database, rows: Rows, columns: Sequence[TextColumn]) -> Iterator[list[pa.Array]]:
    longest = _survey(database, rows, columns)
    names = [statement("{c}", c=column.name) for column in columns]
    samples = [column.sample for column in columns]
    for values in _batches(database, rows, [(samples, names)], 0, longest):
        yield [column.typed_text(part) for column, part in zip(columns, values, strict=True)]


def _read_careful(
    database: Database, rows: Rows, columns: Sequence[TextColumn], skipped: int
) -> Iterator[list[pa.Array]]:
    lengths = [statement(_TEXT_LENGTH, c=column.name) for column in columns]
    longest, expected = database.rows(rows.aggregate([f"max({_tree(lengths, '+')})", "count(*)"]), rows.values)[0]
    longest = _checked(rows, longest)
    queries = []
    for start in range(0, len(columns), CAREFUL_COLUMNS):
        expressions = [column.expressions for column in columns[start : start + CAREFUL_COLUMNS]]
        samples = [sample for own in expressions for sample in ("'x'", "0.0")[: len(own)]]
        queries.append((samples, [expression for own in expressions for expression in own]))
    done = skipped
    for values in _batches(database, rows, queries, skipped, longest):
        if rows.key is None:
            report(done := done + len(values[0]), expected)
        parts = iter(values)
        yield [column.careful_text([next(parts) for _ in column.expressions]) for column in columns]


def _survey(database: Database, rows: Rows, columns: Sequence[TextColumn]) -> int:
    """The most bytes of text in any of the rows. Raises Unfit if some values need the careful way."""
    odd = _tree([column.oddity for column in columns], "OR")
    texts = [column.name for column in columns if column.arrow_type == pa.string()]
    longer = [statement(_LENGTH, c=name) + f" > {_SHORT}" for name in texts]
    condition = _tree([*longer, odd], "OR")
    (found,) = database.rows(f"SELECT EXISTS ({rows.aggregate(['1'])} AND {condition})", rows.values)[0]
    if not found:
        return _SHORT * len(texts)
    lengths = _tree([statement(f"ifnull({_LENGTH}, 0)", c=name) for name in texts] or ["0"], "+")
    is_odd, longest = database.rows(rows.aggregate([f"max({odd})", f"max({lengths})"]), rows.values)[0]
    if is_odd:
        raise Unfit
    return _checked(rows, longest)


def _checked(rows: Rows, longest: int | None) -> int:
    if longest is not None and longest > ROW_LIMIT:
        raise SourceUnreadable(
            f"a row of {rows.table} has {longest:,} bytes of text; at most {ROW_LIMIT:,} can be exported"
        )
    return longest or 0


def _batches(
    database: Database, rows: Rows, queries: Sequence[tuple[list[str], list[str]]], skipped: int, longest: int
) -> Iterator[list[pa.Array]]:
    """Yield the results of several queries (samples and expressions), side by side."""
    width = longest + _NUMBER * sum(len(samples) for samples, _ in queries)
    size = max(1, min(_BATCH_ROWS, _BATCH_BYTES // width))
    with ExitStack() as stack:
        streams = []
        for samples, expressions in queries:
            # The first row is a sample, from which the driver infers the types. It is removed again.
            sample = ", ".join(f"{value} AS c{number}" for number, value in enumerate(samples))
            query = f"SELECT {sample} UNION ALL SELECT * FROM ({rows.query(expressions, skipped)})"  # noqa: S608 - all names are quoted
            streams.append(stack.enter_context(closing(database.stream(query, rows.values, rows=size))))
        yield from _merged(_without_samples(zip(*streams, strict=True)))


def _without_samples(answers: Iterable[tuple[pa.RecordBatch, ...]]) -> Iterator[list[pa.Array]]:
    first = 1
    for batches in answers:
        yield [values for batch in batches for values in batch.slice(first).columns]
        first = 0


def _merged(pieces: Iterable[list[pa.Array]]) -> Iterator[list[pa.Array]]:
    """Combine small pieces as far as rows and bytes allow, because later steps have a cost per batch."""
    waiting: list[list[pa.Array]] = []
    rows = size = 0
    for piece in pieces:
        waiting.append(piece)
        rows += len(piece[0])
        size += sum(values.nbytes for values in piece)
        if rows >= _BATCH_ROWS // 2 or size >= _BATCH_BYTES:
            yield _concatenated(waiting)
            waiting, rows, size = [], 0, 0
    if rows:
        yield _concatenated(waiting)


def _concatenated(pieces: list[list[pa.Array]]) -> list[pa.Array]:
    return pieces[0] if len(pieces) == 1 else [pa.concat_arrays(values) for values in zip(*pieces, strict=True)]


def _tree(terms: Sequence[str], operator: str) -> str:
    """Terms joined as a balanced tree: SQLite allows a depth of 1,000."""
    if len(terms) == 1:
        return terms[0]
    middle = len(terms) // 2
    return f"({_tree(terms[:middle], operator)} {operator} {_tree(terms[middle:], operator)})"
