"""Advances sequences past imported values of the columns that they fill.

The server advances a sequence only when it generates a value. After an import of explicit values, the next insert
without a value would get one that is taken.
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

# The sequence of an identity column depends on the column. A default depends on its sequence. A partition inherits the
# columns of its parents, and so their sequences.
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
# Advances to the first value in the sequence's steps that is not before the given one, and never moves back. The lock
# prevents two sessions from comparing and setting at the same time.
_ADVANCE = """
SELECT pg_advisory_lock({lock}, {number});
SELECT setval({name}, least(greatest(
    last_value + ceil(({value} - last_value) / {step}) * {step}, {least}), {most})::bigint)
FROM {sequence} WHERE {step} * (last_value + CASE WHEN is_called THEN {step} ELSE 0 END - {value}) <= 0;
SELECT pg_advisory_unlock({lock}, {number})
"""

# The last staged value in the direction of a sequence, among those within its bounds.
_FURTHEST = "SELECT {furthest}({column}) FROM {stage} WHERE {column} BETWEEN {least} AND {most}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnSequence:
    """The sequence that fills a column, and whether the account may advance it."""

    column: str
    schema: str
    name: str
    oid: int
    step: int
    least: int
    most: int
    movable: bool

    def furthest(self, values: pa.Array) -> int | None:
        """The last of the values in the direction of the sequence, among those within its bounds."""
        if pa.types.is_string(values.type):
            values = pa.array([None if text is None else _integer(text) for text in values.to_pylist()], pa.int64())
        values = values.cast(pa.int64())
        own = values.filter(pc.and_(pc.greater_equal(values, self.least), pc.less_equal(values, self.most)))
        found = pc.min_max(own)["max" if self.step > 0 else "min"].as_py()
        return None if found is None else int(found)


def column_sequences(session: Session, shape: TableShape, columns: Sequence[PgColumn]) -> list[ColumnSequence]:
    """The sequences that fill these columns of a table, or of its parents if it is a partition, when an insert omits
    them."""
    names = [
        column.name
        for column in columns
        if column.type.base in _INTEGERS and (column.has_default or column.identity or shape.is_partition)
    ]
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
    """Advance the sequences past the values of the inserted records, which are all but the refused ones.

    This happens before the commit, and a rollback does not undo it. So committed values are never generated again; at
    worst some values are skipped.
    """
    for sequence in column_sequences(session, shape, columns):
        if sequence.movable:
            kept = np.delete(np.arange(records.num_rows), refused)
            furthest = sequence.furthest(records.column(sequence.column).take(pa.array(kept)))
            if furthest is not None:
                _move(session, sequence, furthest)


def move_past_staged(session: Session, shape: TableShape, columns: Sequence[PgColumn], stage: sql.Identifier) -> None:
    """Advance the sequences past the values of staged records, like ``move_past``."""
    for sequence in column_sequences(session, shape, columns):
        if sequence.movable:
            query = sql.SQL(_FURTHEST).format(
                furthest=sql.SQL("max" if sequence.step > 0 else "min"),
                column=sql.Identifier(sequence.column),
                stage=stage,
                least=sequence.least,
                most=sequence.most,
            )
            furthest = session.rows(query)[0][0]
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
    """A message if the account may not advance the sequence of a column; otherwise empty."""
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
    """An integer as the server parses it from text; None if it exceeds 64 bits."""
    try:
        number = int(text, 0)
    except ValueError:
        number = int(text)  # It has leading zeros.
    return number if -(1 << 63) <= number < 1 << 63 else None
