"""Inserts a batch into its table. Records that the table refuses do not affect the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql

from ladingd.core.errors import TargetRefused
from ladingd.data.databases.postgres.attempts import Attempts
from ladingd.data.databases.postgres.catalog import PgColumn, TableShape
from ladingd.data.databases.postgres.constraints import Constraints, read_constraints
from ladingd.data.databases.postgres.copy_encoding import as_csv, conform, encode
from ladingd.data.databases.postgres.key_locks import Common, key_table
from ladingd.data.databases.postgres.recognition import nothing_vanishing
from ladingd.data.databases.postgres.refusal import Refusal, blames_record
from ladingd.data.databases.postgres.temporary import digest_of, temporary
from ladingd.data.databases.postgres.violations import ROW, Probe

if TYPE_CHECKING:
    from ladingd.data.databases.postgres.session import Session
    from ladingd.data.values.positions import Positions

    Wait = Callable[[Session, Sequence[int]], None]

PROBES = 3
"""How often a batch is probed: other transactions may insert keys in between."""

_UNIQUE_VIOLATION = "23505"
_WHOLE = "stage"
"""The temporary table of a batch, from which the server parses values that are text."""
_TRIED = "tried"
"""The temporary table of the rows that the server tries."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """A batch that is prepared for its table before a transaction begins."""

    shape: TableShape
    columns: Sequence[PgColumn]
    records: pa.RecordBatch
    whole: Sequence[bytes] | None
    """The data of one COPY with all rows; None if violators are likely."""
    probed: bool
    """Whether to search for violators before the first insert."""
    each: bool
    """Whether to skip inserting all rows at once, because no query will find all refused rows."""
    attempts: list[int] = field(default_factory=list)
    """The numbers of rows that had to be tried by `Attempts`."""

    @classmethod
    def of(cls, records: pa.RecordBatch, shape: TableShape, *, probed: bool, each: bool = False) -> Load:
        """Raises TargetRefused if the table lacks one of the columns."""
        columns = [_column(shape, name) for name in records.schema.names]
        arrays = [conform(array, column.type) for array, column in zip(records.columns, columns, strict=True)]
        ready = pa.RecordBatch.from_arrays(arrays, names=records.schema.names)
        each = each or shape.policed  # COPY does not work with row-level security.
        load = cls(shape=shape, columns=columns, records=ready, whole=None, probed=probed or each, each=each)
        if load.probed:
            return load
        return replace(load, whole=load.encoded(ready) if load.direct else as_csv(ready))

    @property
    def direct(self) -> bool:
        """Whether binary COPY accepts all columns, so that the server need not parse text."""
        return all(
            column.type.takes(array.type) for column, array in zip(self.columns, self.records.columns, strict=True)
        )

    def encoded(self, records: pa.RecordBatch) -> Sequence[bytes]:
        """The data of a binary COPY of these rows."""
        return encode(records, [column.type for column in self.columns])

    def run(self, session: Session, enter: Callable[[pa.Table | None], Common], wait: Wait) -> list[Refusal]:
        """Insert the rows. Returns the refused rows. Raises psycopg's errors that no record caused.

        If violators are likely, ``enter`` is called with the keys of the rows. It returns the rows that must ``wait``
        for other chunks.
        """
        rows = np.arange(self.records.num_rows)
        if not self.probed and self._insert_all(session, rows):
            return []
        if not self.direct:
            self._stage(session, _WHOLE, self.records)
        constraints = read_constraints(session, self.shape, frozenset(column.name for column in self.columns))
        if not (constraints.uniques or self.shape.excludes):
            return self._insert_good(session, constraints, rows)
        common = enter(self._keys(constraints))
        late = rows if common.rows is None else common.rows
        refusals = self._insert_good(session, constraints, np.setdiff1d(rows, late, assume_unique=True))
        if late.size:
            wait(session, common.chunks)
            refusals += self._insert_good(session, constraints, late)
        return refusals

    def _keys(self, constraints: Constraints) -> pa.Table | None:
        """The keys of the rows; None if the rows must stay together, or only the server can compare the keys."""
        if self.shape.excludes or any(key.to_itself for key in constraints.foreign_keys):
            return None
        return key_table(constraints.uniques, self.columns, self.records)

    def _insert_good(self, session: Session, constraints: Constraints, rows: Positions) -> list[Refusal]:
        """Insert the rows that the table accepts. Returns the refused rows."""
        refusals: list[Refusal] = []
        tried = not self.probed
        for _ in range(0 if self.shape.rewrites else PROBES):
            if not rows.size:
                return refusals
            found = self._probe(session, constraints, rows)
            if found is None or (tried and not found):
                break  # No query finds what the table has refused.
            refusals += found
            rows = np.setdiff1d(rows, [refusal.row for refusal in found], assume_unique=True)
            if self.each:
                break
            if self._insert_all(session, rows):
                return self._look_again(session, constraints, refusals, [])
            tried = True
        return self._look_again(session, constraints, refusals, self._try_each(session, rows))

    def _look_again(
        self, session: Session, constraints: Constraints, refusals: list[Refusal], late: list[Refusal]
    ) -> list[Refusal]:
        """Retry records, one by one, that were refused as doubles of records which were then refused themselves."""
        own = {key.name for key in constraints.foreign_keys if key.to_itself}
        if not late and not any(refusal.constraint in own for refusal in refusals):
            return refusals
        dependent = [each for each in refusals if each.state == _UNIQUE_VIOLATION or each.constraint in own]
        if all(each.constraint in own for each in dependent):
            return refusals + late  # Without doubles, no refused record can have become valid.
        rows = np.array(sorted(each.row for each in dependent))
        kept = [each for each in refusals if each not in dependent]
        return kept + late + self._try_each(session, rows)

    def _probe(self, session: Session, constraints: Constraints, rows: Positions) -> list[Refusal] | None:
        """The rows that violate a constraint; None if queries cannot find them."""
        looked_at = [
            place
            for place, (column, values) in enumerate(zip(self.columns, self.records.columns, strict=True))
            if column.name in constraints.columns or not column.nullable or column.type.may_refuse(values.type)
        ]
        every = rows.size == self.records.num_rows
        taken = pa.array(rows)
        arrays = [self.records.column(place) for place in looked_at]
        columns = [self.columns[place] for place in looked_at]
        if not columns:
            return []
        records = pa.RecordBatch.from_arrays(
            [values if every else values.take(taken) for values in arrays], names=[column.name for column in columns]
        )
        probe = Probe(session=session, shape=self.shape, constraints=constraints, columns=columns, records=records)
        try:
            found = probe.run()
        except psycopg.Error as error:
            # The account may not read the table, or an expression fails. Then trying decides.
            if error.sqlstate is None or error.sqlstate[:2] in ("08", "57", "40", "53", "25", "55"):
                raise
            return None
        return [
            Refusal(
                row=int(rows[each.row]),
                state=each.state,
                message=each.message,
                columns=each.columns,
                constraint=each.constraint,
            )
            for each in found
        ]

    def _insert_all(self, session: Session, rows: Positions) -> bool:
        """Insert all rows or none. Returns False if a record was refused, or skipped by a trigger."""
        if not rows.size:
            return True
        whole = rows.size == self.records.num_rows
        watched: AbstractContextManager[list[int]] = (
            nothing_vanishing(session, self.shape) if whole or self.shape.acts else nullcontext([])
        )
        try:
            with session.savepoint(), watched as inserted:
                written = self._insert(session, rows)
                if written != rows.size:
                    raise _LeftOut
                if self.shape.acts:  # A trigger may have deferred constraints again.
                    session.run("SET CONSTRAINTS ALL IMMEDIATE")
                inserted.append(written)
        except _LeftOut:
            return False
        except psycopg.Error as error:
            if not blames_record(error):
                raise
            return False
        return True

    def _insert(self, session: Session, rows: Positions) -> int:
        names = sql.SQL(", ").join(sql.Identifier(column.name) for column in self.columns)
        if self.whole is not None and rows.size == self.records.num_rows:
            form = "binary" if self.direct else "csv"
            query = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {})").format(self.shape.identifier, names, sql.SQL(form))
            return session.copy(query, self.whole)
        if self.direct:
            if rows[-1] - rows[0] + 1 == rows.size:
                payload = self.encoded(self.records.slice(int(rows[0]), rows.size))
            else:
                payload = self.encoded(self.records.take(pa.array(rows)))
            query = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(self.shape.identifier, names)
            return session.copy(query, payload)
        query = sql.SQL(
            "INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {stage}"
            " WHERE {row} = ANY (%s) ORDER BY {row}"
        ).format(
            table=self.shape.identifier,
            names=names,
            values=sql.SQL(", ").join(
                sql.SQL("{}::{}").format(sql.Identifier(f"lading {place}"), sql.SQL(column.type.plain))
                for place, column in enumerate(self.columns)
            ),
            stage=self._stage_table(_WHOLE)[0],
            row=sql.Identifier(ROW),
        )
        return session.run(query, (rows.tolist(),))

    def _stage_table(self, use: str) -> tuple[sql.Identifier, sql.Composed]:
        """The name and the columns of a temporary table for rows of the batch, numbered from 0. A session keeps its
        temporary tables, because creating and dropping one takes as long as inserting two thousand records. So tables
        with other columns have other names."""
        definitions = [sql.SQL("{} integer PRIMARY KEY").format(sql.Identifier(ROW))]
        definitions += [
            sql.SQL("{} {}").format(sql.Identifier(f"lading {place}"), sql.SQL(column.type.loose(array.type)))
            for place, (column, array) in enumerate(zip(self.columns, self.records.columns, strict=True))
        ]
        columns = sql.SQL(", ").join(definitions)
        return sql.Identifier("pg_temp", f"lading_{use}_{digest_of(columns.as_string())}"), columns

    def _stage(self, session: Session, use: str, records: pa.RecordBatch) -> sql.Identifier:
        """Replace the rows of a temporary table."""
        stage, columns = self._stage_table(use)
        with temporary(session):
            session.run(sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS").format(stage, columns))
        session.run(sql.SQL("DELETE FROM {}").format(stage))
        numbers = pa.array(np.arange(records.num_rows, dtype=np.int32))
        names = [ROW, *(f"lading {place}" for place in range(len(self.columns)))]
        staged = pa.RecordBatch.from_arrays([numbers, *records.columns], names=names)
        query = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(stage)
        session.copy(query, encode(staged, [None] * len(names)))
        return stage

    def _try_each(self, session: Session, rows: Positions) -> list[Refusal]:
        """Insert the rows that the table accepts, by trying. Returns the refused rows."""
        self.attempts.append(rows.size)
        every = rows.size == self.records.num_rows
        if every and not self.direct:
            stage, _ = self._stage_table(_WHOLE)  # The table is filled already.
        else:
            stage = self._stage(session, _TRIED, self.records if every else self.records.take(pa.array(rows)))
        with nothing_vanishing(session, self.shape) as inserted:
            refusals = Attempts(session=session, shape=self.shape, columns=self.columns, stage=stage).run(rows)
            inserted.append(rows.size - len(refusals))
        return refusals


class _LeftOut(Exception):
    """The server inserted fewer rows than were sent, without an error."""


def _column(shape: TableShape, name: str) -> PgColumn:
    column = shape.column(name)
    if column is None:
        raise TargetRefused(f"table {shape.name} has no column {name} any more")
    if column.generated:
        raise TargetRefused(f"column {name} of table {shape.name} is computed by the database")
    return column
