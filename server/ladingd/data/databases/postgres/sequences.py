"""Moves sequences past the values that records bring for the columns which the sequences fill.

The server moves a sequence only when it gives a value itself. After an import with values of their own the next insert
without one would get a value that is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.databases.postgres.catalog import PgColumn, TableShape
    from ladingd.data.databases.postgres.session import Session

_INTEGERS = ("int2", "int4", "int8")

# An identity column has its sequence by a dependency of the sequence, a default by one of its own. A partition has the
# columns of the tables above it, and so their sequences.
_SEQUENCES = """
WITH tree AS (SELECT %s::oid AS relid UNION SELECT relid FROM pg_partition_ancestors(%s::oid))
SELECT DISTINCT a.attname, n.nspname, c.relname, s.seqrelid::bigint, s.seqincrement, s.seqmin, s.seqmax,
    has_sequence_privilege(s.seqrelid, 'SELECT') AND has_sequence_privilege(s.seqrelid, 'UPDATE')
        AND has_schema_privilege(n.oid, 'USAGE')
FROM (
    SELECT d.refobjid AS relid, d.refobjsubid AS attnum, d.objid AS seqrelid
    FROM pg_depend d JOIN tree ON d.refobjid = tree.relid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.refobjsubid > 0 AND d.deptype = 'i'
    UNION
    SELECT f.adrelid, f.adnum, d.refobjid
    FROM pg_attrdef f JOIN tree ON f.adrelid = tree.relid JOIN pg_depend d ON d.objid = f.oid
    WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
) filled JOIN pg_sequence s USING (seqrelid) JOIN pg_class c ON c.oid = s.seqrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = filled.relid AND a.attnum = filled.attnum
WHERE a.attname = ANY (%s) ORDER BY 4, 1
"""
_LOCKS = 0x1AD1
# To the first value in the sequence's own steps that is not before the given one, and never back. Each session compares
# the sequence with its own value: two of ours must not do so at the same time.
_ADVANCE = """
SELECT pg_advisory_lock({lock}, {number});
SELECT setval({name}, least(greatest(
    last_value + ceil(({value} - last_value) / {step}) * {step}, {least}), {most})::bigint)
FROM {sequence} WHERE {step} * (last_value + CASE WHEN is_called THEN {step} ELSE 0 END - {value}) <= 0;
SELECT pg_advisory_unlock({lock}, {number})
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnSequence:
    """The sequence that fills a column, and whether we may move it."""

    column: str
    schema: str
    name: str
    oid: int
    step: int
    least: int
    most: int
    movable: bool

    def furthest(self, values: pa.Array) -> int | None:
        """The last of some values in the direction of the sequence, of those that it can give at all."""
        if pa.types.is_string(values.type):
            values = pa.array([None if text is None else _integer(text) for text in values.to_pylist()], pa.int64())
        values = values.cast(pa.int64())
        own = values.filter(pc.and_(pc.greater_equal(values, self.least), pc.less_equal(values, self.most)))
        found = pc.min_max(own)["max" if self.step > 0 else "min"].as_py()
        return None if found is None else int(found)


def column_sequences(session: Session, shape: TableShape, columns: Sequence[PgColumn]) -> list[ColumnSequence]:
    """The sequences that fill some columns of a table, or of one that it is a partition of, where an insert leaves them
    out."""
    names = [column.name for column in columns if column.type.base in _INTEGERS]
    if not names:
        return []
    return [
        ColumnSequence(
            column=column, schema=schema, name=name, oid=oid, step=step, least=least, most=most, movable=movable
        )
        for column, schema, name, oid, step, least, most, movable in session.rows(
            _SEQUENCES, (shape.oid, shape.oid, names)
        )
    ]


def move_past(
    session: Session, shape: TableShape, columns: Sequence[PgColumn], records: pa.RecordBatch, refused: Sequence[int]
) -> None:
    """Move the sequences of columns past the values of the records that were inserted: all but the refused ones.

    It is done before the commit, and no rollback undoes it: whatever is committed, its values are never given again. At
    worst some values are never given at all.
    """
    for sequence in column_sequences(session, shape, columns):
        if sequence.movable:
            kept = np.delete(np.arange(records.num_rows), refused)
            furthest = sequence.furthest(records.column(sequence.column).take(pa.array(kept)))
            if furthest is not None:
                _move(session, sequence, furthest)


def _move(session: Session, sequence: ColumnSequence, value: int) -> None:
    identifier = sql.Identifier(sequence.schema, sequence.name)
    number = sequence.oid - (1 << 32) if sequence.oid >= 1 << 31 else sequence.oid  # as an int4
    bounds = {"value": value, "step": sequence.step, "least": sequence.least, "most": sequence.most}
    query = sql.SQL(_ADVANCE).format(
        lock=sql.Literal(_LOCKS),
        number=sql.Literal(number),
        name=sql.Literal(identifier.as_string()),
        sequence=identifier,
        **{word: sql.SQL("({})::numeric").format(bound) for word, bound in bounds.items()},
    )
    session.run(query)


def immovable(column: str, sequences: Sequence[ColumnSequence]) -> str:
    """A sentence where the account may not move the sequence of a column; empty where it may."""
    return next(
        (
            f"sequence {sequence.name} is not moved past the imported values of column {column}: this account may not "
            f"do that; GRANT SELECT, UPDATE ON SEQUENCE {sequence.schema}.{sequence.name} lets it"
            for sequence in sequences
            if sequence.column == column and not sequence.movable
        ),
        "",
    )


def _integer(text: str) -> int | None:
    """An integer as the server reads it from text; None where it is beyond 64 bits."""
    try:
        number = int(text, 0)
    except ValueError:
        number = int(text)  # with zeros in front
    return number if -(1 << 63) <= number < 1 << 63 else None
