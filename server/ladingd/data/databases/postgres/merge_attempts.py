"""Tries staged records one by one, in one call of the server.

A statement of our own for each record, with its savepoint and its checks, takes milliseconds; the server needs a tenth
of one, because it plans the statements of a function once.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from ladingd.core.spec import Duplicates
from ladingd.data.databases.postgres.attempts import CHECK, UNTOLD, blamed_states
from ladingd.data.databases.postgres.merge_key import Key
from ladingd.data.databases.postgres.merge_writing import (
    DELETE,
    EXPECTED,
    INSERT,
    INSERT_ALL,
    LACKS,
    UPDATE,
    MergeWriting,
)
from ladingd.data.databases.postgres.recognition import nothing_vanishing
from ladingd.data.databases.postgres.refusal import IGNORED, columns_of
from ladingd.data.databases.postgres.temporary import function_of
from ladingd.data.databases.staging import PLACE

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

# No column of a table has a name like those of the variables.
_CREATE = """
CREATE FUNCTION {function}("lading first" bigint, "lading last" bigint)
RETURNS TABLE ("lading tried" bigint, "lading state" text, "lading message" text, "lading detail" text,
    "lading blamed" text, "lading inserted" bigint, "lading updated" bigint, "lading deleted" bigint)
LANGUAGE plpgsql AS {body}
"""
_BODY = """
DECLARE
    "lading new" bigint;
    "lading changed" bigint;
    "lading there" bigint;
BEGIN
    FOR "lading tried" IN SELECT s.{place} FROM {stage} s
        WHERE {complete} AND s.{place} BETWEEN "lading first" AND "lading last" ORDER BY 1 LOOP
        "lading state" := NULL;
        "lading inserted" := 0;
        "lading updated" := 0;
        "lading deleted" := 0;
        BEGIN
            {expect}
            {write}
            {settle}
            {compare}
            {look}
        EXCEPTION WHEN OTHERS THEN
            "lading inserted" := 0;
            "lading updated" := 0;
            "lading deleted" := 0;
            IF SQLSTATE = {untold} THEN
                "lading state" := {ignored};
                "lading message" := NULL;
            ELSE
                {check}
                GET STACKED DIAGNOSTICS "lading state" = RETURNED_SQLSTATE, "lading message" = MESSAGE_TEXT,
                    "lading detail" = PG_EXCEPTION_DETAIL, "lading blamed" = COLUMN_NAME;
            END IF;
        END;
        RETURN NEXT;
    END LOOP;
END
"""
_ONE = '(SELECT * FROM {stage} s WHERE s.{place} = "lading tried")'
_EXPECT = '"lading new", "lading changed", "lading there"'
_COMPARE = """
IF ("lading inserted", "lading updated", "lading deleted") <> ({new}, {changed}, {there}) THEN
    RAISE SQLSTATE {untold};
END IF;
"""
_ACTIONS = """
WITH merged AS ({merge} RETURNING merge_action() AS action)
SELECT count(*) FILTER (WHERE action = 'INSERT'), count(*) FILTER (WHERE action = 'UPDATE')
INTO "lading inserted", "lading updated" FROM merged;
"""
_COUNTED = '{statement}; GET DIAGNOSTICS "lading {what}" = ROW_COUNT;'
_LOOK = "IF {condition} THEN RAISE SQLSTATE {untold}; END IF;"


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedRecord:
    """A staged record that the table refuses."""

    place: int
    state: str
    message: str | None
    """None: the server skipped it without an error."""
    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeAttempts:
    """Writes staged records of one slice, each in a subtransaction."""

    writing: MergeWriting
    stage: sql.Identifier
    key: Key

    def run(self, first: int, last: int) -> tuple[Counter[str], Sequence[RefusedRecord]]:
        """Write the records with places from ``first`` to ``last``. Returns what became of them, and the refused ones.
        Raises psycopg's errors that no record caused."""
        session = self.writing.session
        function = function_of(session, _CREATE, self._body())
        watch: AbstractContextManager[list[int]] = nothing_vanishing(session, self.writing.shape)
        with nullcontext([]) if self.writing.merge.deletes else watch as watched:
            tried = session.rows(sql.SQL("SELECT * FROM {}(%s, %s)").format(function), (first, last))
            inserted, updated, deleted = (sum(row[place] for row in tried) for place in (5, 6, 7))
            watched.append(inserted)
        refused = [
            RefusedRecord(
                place=place, state=state, message=message, columns=columns_of(state, detail or "", blamed or "")
            )
            for place, state, message, detail, blamed, *_ in tried
            if state is not None
        ]
        return self.writing.counts(len(tried) - len(refused), inserted, updated, deleted), refused

    def _body(self) -> str:
        words: dict[str, sql.Composable] = {"place": sql.Identifier(PLACE), "stage": self.stage}
        source = sql.SQL(_ONE).format(**words)
        shape, parts = self.writing.shape, self.writing.parts(self.key, source)
        classes, states = blamed_states(shape)
        words |= {"classes": sql.Literal(classes), "states": sql.Literal(states), "untold": sql.Literal(UNTOLD)}
        expects, compare = self._expectation(parts)
        words |= {
            "complete": self.key.complete,
            "ignored": sql.Literal(IGNORED),
            "check": sql.SQL(CHECK).format(**words),
            "expect": expects,
            "compare": compare,
            "write": self._write(parts),
            "settle": sql.SQL("SET CONSTRAINTS ALL IMMEDIATE;" if shape.acts else ""),
            "look": self._look(parts),
        }
        return sql.SQL(_BODY).format(**words).as_string()

    def _expectation(self, parts: dict[str, sql.Composable]) -> tuple[sql.Composable, sql.Composable]:
        """What computes how many rows a record should write, and what compares that with what it wrote."""
        merge, shape, none = self.writing.merge, self.writing.shape, sql.SQL("0")
        if not (shape.acts or shape.policed):
            return sql.SQL(""), sql.SQL("")
        if not self.key.columns:
            numbers = {"new": sql.SQL("1"), "changed": none, "there": none}
            return sql.SQL(""), sql.SQL(_COMPARE).format(**numbers, untold=sql.Literal(UNTOLD))
        query = sql.SQL(EXPECTED).format(**parts, mark=sql.Identifier(self.key.columns[0]))
        expect = sql.SQL("SELECT * INTO {} FROM ({}) e;").format(sql.SQL(_EXPECT), query)
        compare = sql.SQL(_COMPARE).format(
            new=sql.SQL('"lading new"') if merge.inserts else none,
            changed=sql.SQL('"lading changed"') if merge.updates else none,
            there=sql.SQL('"lading there"') if merge.deletes else none,
            untold=sql.Literal(UNTOLD),
        )
        return expect, compare

    def _write(self, parts: dict[str, sql.Composable]) -> sql.Composable:
        merge = self.writing.merge

        def counted(statement: str, what: str) -> sql.Composable:
            return sql.SQL(_COUNTED).format(statement=sql.SQL(statement).format(**parts), what=sql.SQL(what))

        if merge.deletes:
            return counted(DELETE, "deleted")
        if not (merge.inserts or merge.updates):
            return sql.SQL("")
        if not self.key.columns:
            return counted(INSERT_ALL, "inserted")
        if self.writing.tells_actions:
            return sql.SQL(_ACTIONS).format(merge=self.writing.merge_statement(parts))
        update = counted(UPDATE, "updated") if self.writing.changes_rows else sql.SQL("")
        return sql.SQL(" ").join([update, counted(INSERT, "inserted")] if merge.inserts else [update])

    def _look(self, parts: dict[str, sql.Composable]) -> sql.Composable:
        """What notices that another session has inserted or deleted the row of a record."""
        merge = self.writing.merge
        condition: sql.Composable | None = None
        if merge.inserts and merge.duplicates is Duplicates.REJECT:
            condition = sql.SQL('"lading inserted" = 0')
        elif merge.updates and not merge.inserts:
            condition = sql.SQL('"lading updated" = 0 AND ({})').format(sql.SQL(LACKS).format(**parts))
        return (
            sql.SQL("") if condition is None else sql.SQL(_LOOK).format(condition=condition, untold=sql.Literal(UNTOLD))
        )
