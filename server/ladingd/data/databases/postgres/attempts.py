"""Tries records on the server, if only the table itself can decide which it accepts.

One call tries all records. It inserts them in pieces, one statement for each. The server counts the rows that a
statement fetches, even if the statement fails, so the count tells which record was refused. The records before that one
are inserted again, and the next piece begins after it. Records are inserted one by one if many of them are refused, or
if the count cannot tell: a trigger that fires at the end of a statement refuses no particular record.

Measured with 50,000 records of ten columns and a trigger: one COPY takes 85 ms; pieces take 85 ms and another 3.5 ms
for each hundred refused records; single records take 210 ms, or 270 ms if all of them are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING

from psycopg import sql

from ladingd.core.errors import TargetRefused
from ladingd.data.databases.postgres.catalog import PgColumn, TableShape
from ladingd.data.databases.postgres.refusal import BLAMED, IGNORED, POLICY, Refusal, columns_of
from ladingd.data.databases.postgres.session import Session
from ladingd.data.databases.postgres.temporary import function_of

if TYPE_CHECKING:
    from ladingd.data.values.positions import Positions

ROW = sql.Identifier("lading row")

_CREATE = """
CREATE FUNCTION {function}(total integer)
RETURNS TABLE (tried integer, state text, message text, detail text, blamed text, breached text)
LANGUAGE plpgsql AS {body}
"""
_BODY = """
DECLARE
    key CONSTANT oid := (SELECT indexrelid FROM pg_index WHERE indrelid = {stage_name}::regclass);
    seen double precision := 256;  -- records tried lately, and how many of them were refused
    bad double precision := 1;
    apart double precision;  -- how many records go in between two refused ones
    first integer := 0;
    last integer;
    place integer;
    touched integer;
    fetched bigint;
    given boolean := false;  -- the piece was tried before, or is a part of one that was
    held boolean := false;  -- the record after the piece is refused; the result columns hold its error
    shortened boolean := false;  -- the piece is tried without its last record, which seems refused
    alone boolean := false;  -- then that record is tried
    single boolean := false;
    listable CONSTANT boolean := (SELECT NOT relhasrules FROM pg_class WHERE oid = {oid});
    listing boolean := false;  -- list the records that go in, which takes longer
    entered integer[];
    ignored integer[];
    staged record;
BEGIN
    WHILE first < total LOOP
        IF seen > 512 THEN
            seen := seen / 2;
            bad := bad / 2;
        END IF;
        apart := seen / (bad + 0.001);
        IF single OR (apart < {singly} AND NOT given) THEN
            last := least(first + 64, total) - 1;
            FOR staged IN SELECT * FROM {stage} WHERE {row} BETWEEN first AND last ORDER BY {row} LOOP
                BEGIN
                    INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE VALUES ({staged});
                    GET DIAGNOSTICS touched = ROW_COUNT;
                    {settle}
                    CONTINUE WHEN touched > 0;
                    {leave_out}
                EXCEPTION WHEN OTHERS THEN
                    {diagnose}
                    bad := bad + 1;
                END;
                tried := staged.{row};
                RETURN NEXT;
            END LOOP;
            seen := seen + last - first + 1;
            first := last + 1;
            CONTINUE;
        END IF;
        IF NOT given THEN
            last := least(first + least(ceil(sqrt({statement} * apart)), {most})::integer, total) - 1;
        END IF;
        given := false;
        ignored := NULL;
        fetched := pg_stat_get_xact_tuples_fetched(key);
        BEGIN
            IF listing THEN
                {list}
            ELSE
                INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM ({piece}) piece;
                GET DIAGNOSTICS touched = ROW_COUNT;
            END IF;
            IF touched <> last - first + 1 THEN
                RAISE SQLSTATE {untold};
            END IF;
            {settle}
        EXCEPTION WHEN OTHERS THEN
            IF SQLSTATE = {untold} THEN
                single := listing OR NOT listable;
                listing := true;
                given := true;
                CONTINUE;
            END IF;
            place := first + (pg_stat_get_xact_tuples_fetched(key) - fetched)::integer - 1;
            IF held OR place NOT BETWEEN first AND last OR (shortened AND place = last) THEN
                {check}
                single := true;
                CONTINUE;
            END IF;
            given := true;
            shortened := place = last AND first < last;
            IF shortened THEN
                {check}
                last := last - 1;
                CONTINUE;
            END IF;
            {diagnose}
            seen := seen + place - first + 1;
            bad := bad + 1;
            tried := place;
            held := first < place;
            IF held THEN
                last := place - 1;
            ELSE
                RETURN NEXT;
                first := place + 1;
                given := false;
                alone := false;
            END IF;
            CONTINUE;
        END;
        IF held THEN
            RETURN NEXT;
            last := place;
        ELSE
            seen := seen + last - first + 1;
        END IF;
        held := false;
        single := alone;  -- refused with others, but not alone
        FOREACH tried IN ARRAY coalesce(ignored, ARRAY[]::integer[]) LOOP
            {leave_out}
            RETURN NEXT;
        END LOOP;
        first := last + 1;
        alone := shortened;
        given := shortened;
        IF shortened THEN
            last := first;
            shortened := false;
        END IF;
    END LOOP;
END
"""
CHECK = "IF left(SQLSTATE, 2) <> ALL ({classes}) AND SQLSTATE <> ALL ({states}) THEN RAISE; END IF;"
_DIAGNOSE = """{check}
GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
    blamed = COLUMN_NAME, breached = CONSTRAINT_NAME;
"""
_LEAVE_OUT = "state := {ignored}; message := NULL; detail := NULL; blamed := NULL; breached := NULL;"
_CLASS = 2
"""The length of the name of a class of states."""
_SINGLY = 7
"""Records are inserted one by one if there are fewer than this between two refused ones."""
_STATEMENT = 7
"""Two more statements take as long as inserting this many records again."""
_MOST = 2048
"""The most records of a piece."""
# A LIMIT makes the server fetch the rows one by one through the index, so the count tells how far a statement came. The
# server does not know the value of this LIMIT when it plans, so it does not plan each piece again.
_PIECE = """
SELECT * FROM {stage} WHERE {row} BETWEEN first AND last ORDER BY {row} LIMIT (SELECT last - first + 1)
"""
# The server evaluates RETURNING before it fetches the next row.
_LIST = """
WITH taken AS (
    INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM ({piece}) piece
    RETURNING first + (pg_stat_get_xact_tuples_fetched(key) - fetched)::integer - 1 AS place
) SELECT coalesce(array_agg(taken.place), ARRAY[]::integer[]) INTO entered FROM taken;
ignored := ARRAY(SELECT generate_series(first, last) EXCEPT SELECT unnest(entered));
touched := cardinality(entered) + cardinality(ignored);
"""
_FOUND = """
SELECT array_agg(tried), state, message, detail, blamed, breached FROM {function}(%s)
GROUP BY state, message, detail, blamed, breached
"""
UNTOLD = "LD001"
"""Our own SQLSTATE for a piece of which a trigger skipped unknown records."""
_INHERITED = """
SELECT coalesce(sum(pg_stat_get_xact_tuples_inserted(inhrelid)), 0)::bigint FROM pg_inherits WHERE inhparent = %s
"""


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """The rows of a batch, in a temporary table and numbered from 0, on their way into the real table."""

    session: Session
    shape: TableShape
    columns: Sequence[PgColumn]
    stage: sql.Identifier

    def run(self, rows: Positions) -> list[Refusal]:
        """Insert the staged rows in order. Returns the rows that the table refuses or that its triggers skip.

        ``rows`` are their positions in the batch. Raises psycopg's errors that no record caused, and TargetRefused if a
        trigger inserts records into other tables.
        """
        before = self._elsewhere()
        body = _body(self.shape, tuple(self.columns), self.stage.as_string())
        function = function_of(self.session, _CREATE, body)
        found = self.session.rows(sql.SQL(_FOUND).format(function=function), (rows.size,))
        refusals = [
            Refusal(row=row, state=state, message=told, columns=columns, constraint=breached or "")
            for places, state, message, detail, blamed, breached in found
            for told in [message or f"a trigger of table {self.shape.name} ignores this record"]
            for columns in [columns_of(state, detail or "", blamed or "")]
            for row in rows[places].tolist()
        ]
        if any(state == IGNORED for _, state, *_ in found) and self._elsewhere() > before:
            raise TargetRefused(
                f"a trigger puts records for table {self.shape.name} into tables that inherit from it, so nobody can "
                f"count them: import into these tables, or partition {self.shape.name} by PARTITION BY"
            )
        return sorted(refusals, key=attrgetter("row"))

    def _elsewhere(self) -> int:
        """How many rows this transaction has inserted into inheriting tables; 0 if the table is partitioned."""
        if self.shape.code == "p":
            return 0
        return int(self.session.rows(_INHERITED, (self.shape.oid,))[0][0])


def blamed_states(shape: TableShape) -> tuple[list[str], list[str]]:
    """The classes of errors that a record causes, and single states of other classes."""
    policy = [POLICY] if shape.policed else []
    classes = [state for state in BLAMED if len(state) == _CLASS]
    return classes, [state for state in (*BLAMED, *policy) if len(state) > _CLASS]


@lru_cache(maxsize=16)
def _body(shape: TableShape, columns: Sequence[PgColumn], stage: str) -> str:
    """The body of the function. Composing it takes a millisecond."""
    classes, states = blamed_states(shape)
    words: dict[str, sql.Composable] = {
        "table": shape.identifier,
        "oid": sql.Literal(shape.oid),
        "names": sql.SQL(", ").join(sql.Identifier(column.name) for column in columns),
        "values": _values(columns),
        "staged": _values(columns, "staged"),
        "stage": sql.SQL(stage),
        "stage_name": sql.Literal(stage),
        "row": ROW,
        # A trigger may have deferred constraints again.
        "settle": sql.SQL("SET CONSTRAINTS ALL IMMEDIATE;" if shape.acts else ""),
        "classes": sql.Literal(classes),
        "states": sql.Literal(states),
        "ignored": sql.Literal(IGNORED),
        "untold": sql.Literal(UNTOLD),
        "singly": sql.Literal(_SINGLY),
        "statement": sql.Literal(_STATEMENT),
        "most": sql.Literal(_MOST),
    }
    parts = {
        "check": CHECK,
        "diagnose": _DIAGNOSE,
        "leave_out": _LEAVE_OUT,
        "piece": _PIECE,
        "list": _LIST,
    }
    for name, text in parts.items():
        words[name] = sql.SQL(text).format(**words)
    return sql.SQL(_BODY).format(**words).as_string()


def _values(columns: Sequence[PgColumn], *table: str) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{}::{}").format(sql.Identifier(*table, f"lading {place}"), sql.SQL(column.type.plain))
        for place, column in enumerate(columns)
    )
