"""Finds the records of a batch that a table will refuse, by one query for each constraint instead of trying.

Only columns with constraints are sent, into a temporary table that accepts every value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from ladingd.data.databases.postgres.catalog import PgColumn, TableShape
from ladingd.data.databases.postgres.constraints import Constraints
from ladingd.data.databases.postgres.copy_encoding import encode
from ladingd.data.databases.postgres.refusal import Refusal
from ladingd.data.databases.postgres.session import Session
from ladingd.data.databases.postgres.temporary import temporary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ladingd.data.databases.postgres.constraints import Check, ForeignKey, Unique

ROW = "lading row"
_SOFT_ERRORS = 160_000
"""Servers from this version on can test a value without an error that aborts the transaction."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Compares the rows of a batch with the table."""

    session: Session
    shape: TableShape
    columns: Sequence[PgColumn]
    constraints: Constraints
    records: pa.RecordBatch
    _found: dict[int, Refusal] = field(default_factory=dict)

    def run(self) -> list[Refusal]:
        """The violators in order, each with the first reason that was found. Changes nothing.

        A row is a violator of a unique key if an earlier row of the batch has the key and is not a violator itself.
        """
        self._nulls()
        with self.session.undone():
            sent = [
                place
                for place, column in enumerate(self.columns)
                if column.name in self.constraints.columns or self._is_doubtful(place)
            ]
            if sent:
                self._send(sent)
                # The table may be much larger than the batch. Only index look-ups do not grow with the table.
                for way in ("hashjoin", "mergejoin", "seqscan"):
                    self.session.run(f"SET LOCAL enable_{way} = off")
                self._check_all([place for place in sent if self._is_doubtful(place)])
        return sorted(self._found.values(), key=lambda refusal: refusal.row)

    def _check_all(self, doubtful: Sequence[int]) -> None:
        constraints = self.constraints
        if self.session.server_version >= _SOFT_ERRORS:
            for place in doubtful:
                self._invalid(place)
        for check in constraints.checks:
            self._check(check)
        for unique in constraints.uniques:
            self._existing(unique)
        for key in constraints.foreign_keys:
            if not key.to_itself:
                self._missing(key)
        told = {unique.name: self._groups(unique) for unique in constraints.uniques}
        if None in told.values():
            self._leave_out(self._found)
        self._doubles(constraints.uniques, told)
        own = [key for key in constraints.foreign_keys if key.to_itself]
        if own:
            self._leave_out(self._found)
        # The next turn finds records that refer to a violator of the same batch.
        while sum(self._missing(key) for key in own):
            self._leave_out(self._found)

    @property
    def _table(self) -> sql.Composable:
        return _only(self.shape.identifier, partitioned=self.shape.code == "p")

    def _is_doubtful(self, place: int) -> bool:
        return self.columns[place].type.may_refuse(self.records.column(place).type)

    def _nulls(self) -> None:
        for column, values in zip(self.columns, self.records.columns, strict=True):
            if not column.nullable and values.null_count:
                message = (
                    f'null value in column "{column.name}" of relation "{self.shape.name}" violates not-null constraint'
                )
                for row in pc.indices_nonzero(pc.is_null(values)).to_pylist():
                    self._refuse(Refusal(row=row, state="23502", message=message, columns=(column.name,)))

    def _send(self, places: Sequence[int]) -> None:
        arrays = [self.records.column(place) for place in places]
        kinds = [self.columns[place].type for place in places]
        definitions = [sql.SQL("{} integer").format(sql.Identifier(ROW))]
        definitions += [
            sql.SQL("{} {}").format(sql.Identifier(self.columns[place].name), sql.SQL(kind.loose(array.type)))
            for place, kind, array in zip(places, kinds, arrays, strict=True)
        ]
        with temporary(self.session):
            self.session.run(sql.SQL("CREATE TEMP TABLE lading_probe ({})").format(sql.SQL(", ").join(definitions)))
        numbers = pa.array(np.arange(self.records.num_rows, dtype=np.int32))
        names = [ROW, *(self.columns[place].name for place in places)]
        payload = encode(pa.RecordBatch.from_arrays([numbers, *arrays], names=names), [None] * len(names))
        self.session.copy("COPY pg_temp.lading_probe FROM STDIN (FORMAT binary)", payload)
        # The values converted to the table's types. Rows with invalid values are removed before anything reads this
        # view.
        shown: list[sql.Composable] = [sql.Identifier(ROW)]
        shown += [_as_declared(self.columns[place], array.type) for place, array in zip(places, arrays, strict=True)]
        self.session.run(
            sql.SQL("CREATE TEMP VIEW lading_probed AS SELECT {} FROM pg_temp.lading_probe").format(
                sql.SQL(", ").join(shown)
            )
        )

    def _invalid(self, place: int) -> None:
        """Find values that are invalid for their type: wrong lengths, ranges, labels, domains, JSON …"""
        column = self.columns[place]
        query = sql.SQL(
            "SELECT p.{row}, e.sql_error_code, e.message FROM pg_temp.lading_probe p"
            " CROSS JOIN LATERAL pg_input_error_info(p.{name}::text, {type}) e"
            " WHERE NOT pg_input_is_valid(p.{name}::text, {type})"
        ).format(row=sql.Identifier(ROW), name=sql.Identifier(column.name), type=sql.Literal(column.type.declared))
        self._leave_out(
            self._refuse(Refusal(row=row, state=state, message=message, columns=(column.name,)))
            for row, state, message in self.session.rows(query)
        )

    def _check(self, check: Check) -> None:
        message = f'new row for relation "{self.shape.name}" violates check constraint "{check.name}"'
        query = sql.SQL("SELECT {row} FROM pg_temp.lading_probed WHERE NOT ({expression})").format(
            row=sql.Identifier(ROW), expression=sql.SQL(check.expression)
        )
        self._refuse_all(query, "23514", message, check)

    def _existing(self, unique: Unique) -> None:
        """Find keys that the table has already."""
        if self._is_beyond(unique):
            return
        if len(unique.plain) == 1 and not unique.nulls_equal:
            self._existing_alone(unique)
            return
        equal = sql.SQL(" AND ").join(
            sql.SQL("({key}) IS NOT DISTINCT FROM p.{place}" if unique.nulls_equal else "({key}) = p.{place}").format(
                key=sql.SQL(key), place=sql.Identifier(f"lading {place}")
            )
            for place, key in enumerate(unique.keys)
        )
        condition = sql.SQL(f" AND ({unique.condition})" if unique.condition else "")
        query = sql.SQL(
            "SELECT p.{row} FROM ({keys}) p WHERE EXISTS (SELECT FROM {table} WHERE {equal}{condition})"
        ).format(
            row=sql.Identifier(ROW),
            keys=_keys(unique),
            table=self._table,
            equal=equal,
            condition=condition,
        )
        self._refuse_all(query, "23505", _double(unique), unique)

    def _existing_alone(self, unique: Unique) -> None:
        """The same for a key of one column: a single scan of the index finds all."""
        query = sql.SQL(
            "WITH there AS MATERIALIZED (SELECT {key} AS key FROM {table} WHERE {key} = ANY (ARRAY("
            "SELECT {key} FROM pg_temp.lading_probed)){condition})"
            " SELECT p.{row} FROM ({keys}) p JOIN there ON there.key = p.{place}"
        ).format(
            key=sql.Identifier(unique.plain[0]),
            table=self._table,
            condition=sql.SQL(f" AND ({unique.condition})" if unique.condition else ""),
            row=sql.Identifier(ROW),
            keys=_keys(unique),
            place=sql.Identifier("lading 0"),
        )
        self.session.run("SET LOCAL enable_hashjoin = on")
        self._refuse_all(query, "23505", _double(unique), unique)
        self.session.run("SET LOCAL enable_hashjoin = off")

    def _is_beyond(self, unique: Unique) -> bool:
        """Whether the table has no keys from the batch's smallest to its largest. Saves look-ups for files sorted by
        key."""
        if len(unique.keys) != 1 or len(unique.plain) != 1 or unique.condition or unique.nulls_equal:
            return False
        values = self.records.column(unique.plain[0])
        if not (pa.types.is_integer(values.type) or pa.types.is_temporal(values.type)):
            return False
        extent = pc.min_max(values).as_py()
        query = sql.SQL("SELECT EXISTS (SELECT FROM {table} WHERE {key} >= %s AND {key} <= %s)").format(
            table=self._table, key=sql.Identifier(unique.plain[0])
        )
        return not self.session.rows(query, (extent["min"], extent["max"]))[0][0]

    def _missing(self, key: ForeignKey) -> bool:
        """Find keys that the referenced table lacks. If that is the same table, the batch may contain them too."""
        pairs = list(zip(key.own, key.theirs, strict=True))
        query = sql.SQL("SELECT p.{row} FROM pg_temp.lading_probed p WHERE {given} AND {absent}").format(
            row=sql.Identifier(ROW),
            given=sql.SQL(" AND ").join(sql.SQL("p.{} IS NOT NULL").format(sql.Identifier(own)) for own in key.own),
            absent=sql.SQL(" AND ").join(
                sql.SQL("NOT EXISTS (SELECT FROM {table} t WHERE {equal})").format(
                    table=table,
                    equal=sql.SQL(" AND ").join(
                        sql.SQL("t.{} = p.{}").format(sql.Identifier(theirs), sql.Identifier(own))
                        for own, theirs in pairs
                    ),
                )
                for table in self._referred(key)
            ),
        )
        message = f'insert or update on table "{self.shape.name}" violates foreign key constraint "{key.name}"'
        return self._refuse_all(query, "23503", message, key)

    def _referred(self, key: ForeignKey) -> list[sql.Composable]:
        tables: list[sql.Composable] = [_only(sql.Identifier(key.schema, key.table), partitioned=key.partitioned)]
        if key.to_itself and set(key.theirs) <= {column.name for column in self.columns}:
            tables.append(sql.SQL("pg_temp.lading_probed"))
        return tables

    def _groups(self, unique: Unique) -> dict[int, int] | None:
        """For each row whose key occurs several times in the batch: the first row with this key. None if only the
        server can compare the keys."""
        by_name = dict(zip((column.name for column in self.columns), range(len(self.columns)), strict=True))
        if unique.condition or unique.nulls_equal or len(unique.keys) != len(unique.plain):
            return None
        rows = np.setdiff1d(np.arange(self.records.num_rows), list(self._found), assume_unique=True)
        codes = np.zeros(rows.size, np.int64)
        for name in unique.plain:
            column, values = self.columns[by_name[name]], self.records.column(by_name[name])
            if column.collation or not column.type.equal_alike(values.type):
                return None
            encoded = values.take(pa.array(rows)).dictionary_encode()
            known = encoded.indices.is_valid().to_numpy(zero_copy_only=False)
            # Combine each pair of codes into one, below the number of rows.
            pairs = codes[known] * (len(encoded.dictionary) + 1) + encoded.indices.drop_null().to_numpy()
            rows, codes = rows[known], pairs
            if len(unique.plain) > 1:
                codes = np.unique(codes, return_inverse=True)[1]
        doubled = np.flatnonzero(np.bincount(codes)[codes] > 1) if codes.size else codes
        _, firsts, places = np.unique(codes[doubled], return_index=True, return_inverse=True)
        rows = rows[doubled]
        return dict(zip(rows.tolist(), rows[firsts[places]].tolist(), strict=True))

    def _doubles(self, uniques: Sequence[Unique], told: Mapping[str, dict[int, int] | None]) -> None:
        """Find keys that occur several times in the batch, in the order in which the table would insert the rows."""
        groups: dict[int, list[tuple[Unique, int]]] = {}
        for unique in uniques:
            known = told[unique.name]
            if known is not None:
                for row, first in known.items():
                    groups.setdefault(row, []).append((unique, first))
                continue
            query = sql.SQL(
                "SELECT {row}, first FROM (SELECT {row}, min({row}) OVER w AS first, count(*) OVER w AS number"
                " FROM ({keys}) p WINDOW w AS (PARTITION BY {places})) d WHERE number > 1"
            ).format(
                row=sql.Identifier(ROW),
                keys=_keys(unique),
                places=sql.SQL(", ").join(sql.Identifier(f"lading {place}") for place in range(len(unique.keys))),
            )
            for row, first in self.session.rows(query):
                groups.setdefault(row, []).append((unique, first))
        taken: set[tuple[str, int]] = set()
        for row, member in sorted(groups.items()):
            broken = next((unique for unique, first in member if (unique.name, first) in taken), None)
            if broken is None:
                taken.update((unique.name, first) for unique, first in member)
            else:
                self._refuse(_refusal(row, "23505", _double(broken), broken))

    def _refuse_all(
        self, query: sql.Composed, state: str, message: str, constraint: Unique | Check | ForeignKey
    ) -> bool:
        rows = [row for (row,) in self.session.rows(query)]
        for row in rows:
            self._refuse(_refusal(row, state, message, constraint))
        return bool(rows)

    def _refuse(self, refusal: Refusal) -> int:
        self._found.setdefault(refusal.row, refusal)
        return refusal.row

    def _leave_out(self, rows: Iterable[int]) -> None:
        """Remove rows from the probe, because later queries would fail on their invalid values."""
        listed = list(rows)
        if listed:
            query = sql.SQL("DELETE FROM pg_temp.lading_probe WHERE {} = ANY (%s)").format(sql.Identifier(ROW))
            self.session.run(query, (listed,))


def _only(table: sql.Composable, *, partitioned: bool) -> sql.Composable:
    """The rows in a table's own indexes: without those of inheriting tables, but with those of partitions."""
    return table if partitioned else sql.SQL("ONLY {}").format(table)


def _as_declared(column: PgColumn, arrow: pa.DataType) -> sql.Composable:
    name = sql.Identifier(column.name)
    loose = column.type.loose(arrow)
    if loose == column.type.declared and not column.collation:
        return name
    collation = sql.SQL(f" COLLATE {column.collation}" if column.collation else "")
    return sql.SQL("{}::{}{} AS {}").format(name, sql.SQL(column.type.declared), collation, name)


def _keys(unique: Unique) -> sql.Composed:
    """A query for the keys that the index would contain."""
    listed = [
        sql.SQL("({}) AS {}").format(sql.SQL(key), sql.Identifier(f"lading {place}"))
        for place, key in enumerate(unique.keys)
    ]
    conditions = [f"({unique.condition})"] if unique.condition else []
    if not unique.nulls_equal:
        conditions += [f"({key}) IS NOT NULL" for key in unique.keys]
    where = sql.SQL(f" WHERE {' AND '.join(conditions)}" if conditions else "")
    return sql.SQL("SELECT {}, {} FROM pg_temp.lading_probed{}").format(
        sql.Identifier(ROW), sql.SQL(", ").join(listed), where
    )


def _double(unique: Unique) -> str:
    return f'duplicate key value violates unique constraint "{unique.name}"'


def _refusal(row: int, state: str, message: str, constraint: Unique | Check | ForeignKey) -> Refusal:
    return Refusal(row=row, state=state, message=message, columns=constraint.blamed, constraint=constraint.name)
