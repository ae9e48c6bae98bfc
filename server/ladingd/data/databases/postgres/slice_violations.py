"""Finds the staged records that violate constraints of their table, by one query for each constraint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from ladingd.core.plan import Merge
from ladingd.data.databases.postgres.catalog import TableShape
from ladingd.data.databases.postgres.constraints import Constraints, ForeignKey
from ladingd.data.databases.postgres.merge_key import Key
from ladingd.data.databases.postgres.refusal import blames_record
from ladingd.data.databases.postgres.session import Session
from ladingd.data.databases.staging import PLACE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ladingd.data.databases.postgres.constraints import Check, Unique

# Removes the records that meet a condition, and returns their places and some of their fields as text.
_REMOVE = "DELETE FROM {stage} s WHERE {complete} AND {condition} RETURNING s.{place}, {shown}"
_NO_ROW = "NOT EXISTS (SELECT FROM {table} t WHERE {match})"
_OTHER_ROW = "EXISTS (SELECT FROM {table} t WHERE {same} AND ({match}) IS NOT TRUE)"
_EARLIER = "EXISTS (SELECT FROM (SELECT * FROM {stage} s WHERE {complete}) e WHERE {same} AND e.{place} < s.{place})"
_NO_PARENT = "{given} AND NOT EXISTS (SELECT FROM {parent} p WHERE {same})"
_NO_STAGED_PARENT = "NOT EXISTS (SELECT FROM (SELECT * FROM {stage} s WHERE {complete}) e WHERE {same})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """A record that violates a constraint. ``columns`` are its columns of the table, ``values`` its fields."""

    place: int
    state: str
    message: str
    columns: Sequence[str]
    values: Sequence[str | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceProbe:
    """Compares the staged records of a slice with the constraints that use only columns of the file.

    Constraints over columns that an update may leave as they are cannot be judged here: only trying tells.
    """

    session: Session
    shape: TableShape
    stage: sql.Identifier
    merge: Merge
    key: Key
    """Other records than those that are found by it are merged already, or later."""
    columns: frozenset[str]
    """The columns that the files fill."""
    constraints: Constraints

    def run(self) -> list[Violation]:
        """Remove the violators from the staging, and return them."""
        found: list[Violation] = []
        if self.merge.deletes:
            return found
        found += self._empty()
        for check in self.constraints.checks:
            if self._is_told(check):
                found += self._check(check)
        for key in self.constraints.foreign_keys:
            if not self._is_told(key):
                continue
            # The next turn finds records that refer to those of this one.
            while (orphans := [*self._orphans(key)]) and key.to_itself:
                found += orphans
            found += orphans
        for unique in self.constraints.uniques:
            if self._is_told(unique) and unique.plain and not unique.condition and not unique.nulls_equal:
                found += self._taken(unique)
        return found

    def _is_told(self, constraint: Check | ForeignKey | Unique) -> bool:
        merge = self.merge
        told = self.columns - {*merge.keep_if_source_empty, *merge.only_if_target_empty, *merge.on_insert_only}
        theirs = constraint.theirs if isinstance(constraint, ForeignKey) and constraint.to_itself else ()
        return constraint.columns <= told and told.issuperset(theirs)

    def _empty(self) -> Iterator[Violation]:
        """Records with an empty field that would become rows, in which the column may not be empty."""
        if not self.merge.inserts:
            return
        missing = sql.SQL(_NO_ROW).format(table=self.shape.identifier, match=self.key.equal())
        for column in self.shape.columns:
            named = {*self.merge.key, *self.merge.second_key, *self.merge.keep_if_source_empty}
            if not column.nullable and not column.has_default and column.name in named:
                condition = sql.SQL("s.{} IS NULL AND {}").format(sql.Identifier(column.name), missing)
                message = (
                    f'null value in column "{column.name}" of relation "{self.shape.name}" violates not-null constraint'
                )
                yield from self._removed(condition, "23502", message, (column.name,))

    def _check(self, check: Check) -> Iterator[Violation]:
        message = f'new row for relation "{self.shape.name}" violates check constraint "{check.name}"'
        condition = sql.SQL("NOT ({})").format(sql.SQL(check.expression))
        return self._removed(condition, "23514", message, check.blamed)

    def _orphans(self, key: ForeignKey) -> Iterator[Violation]:
        message = f'insert or update on table "{self.shape.name}" violates foreign key constraint "{key.name}"'
        pairs = [*zip(key.theirs, key.own, strict=True)]
        condition = sql.SQL(_NO_PARENT).format(
            given=_all("s.{} IS NOT NULL", *((own,) for own in key.own)),
            parent=sql.Identifier(key.schema, key.table),
            same=_all("p.{} = s.{}", *pairs),
        )
        if key.to_itself:
            parent = sql.SQL(_NO_STAGED_PARENT).format(
                stage=self.stage, complete=self.key.complete, same=_all("e.{} = s.{}", *pairs)
            )
            condition = sql.SQL("{} AND {}").format(condition, parent)
        return self._removed(condition, "23503", message, key.blamed)

    def _taken(self, unique: Unique) -> Iterator[Violation]:
        """Records with a key, other than that of the merge, that another row or an earlier record has."""
        message = f'duplicate key value violates unique constraint "{unique.name}"'
        pairs = [(name, name) for name in unique.plain]
        other = sql.SQL(_OTHER_ROW).format(
            table=self.shape.identifier, same=_all("t.{} = s.{}", *pairs), match=self.key.equal()
        )
        earlier = sql.SQL(_EARLIER).format(
            stage=self.stage,
            complete=self.key.complete,
            same=_all("e.{} = s.{}", *pairs),
            place=sql.Identifier(PLACE),
        )
        for condition in (other, earlier):
            yield from self._removed(condition, "23505", message, unique.blamed)

    def _removed(
        self, condition: sql.Composable, state: str, message: str, columns: Sequence[str]
    ) -> Iterator[Violation]:
        """Remove the records that meet a condition. None, if the condition itself fails for one of them."""
        texts: list[sql.Composable] = [sql.SQL("s.{}::text").format(sql.Identifier(name)) for name in columns]
        query = sql.SQL(_REMOVE).format(
            stage=self.stage,
            complete=self.key.complete,
            condition=condition,
            place=sql.Identifier(PLACE),
            shown=sql.SQL(", ").join(texts or [sql.SQL("NULL")]),
        )
        try:
            with self.session.savepoint():
                found = self.session.rows(query)
        except psycopg.Error as error:
            if not blames_record(error):
                raise
            return
        for place, *values in found:
            told = message
            if len(columns) > 1:
                told += f": ({', '.join(columns)}) = ({', '.join(value or '' for value in values)})"
            yield Violation(place=place, state=state, message=told, columns=columns, values=values)


def _all(condition: str, *names: tuple[str, ...]) -> sql.Composable:
    return sql.SQL(" AND ").join(sql.SQL(condition).format(*map(sql.Identifier, each)) for each in names)
