"""Records tried one after the other by the server itself, where nothing but the table can say which of them it takes.

A savepoint and a COPY for each record that is refused took a millisecond. Here one call tries them all. Records go in
by pieces, each in a block of its own; where one is refused its block is taken back, the records before it go in again,
and it is tried alone. Pieces become shorter where many are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from ladingd.core.errors import TargetRefused
from ladingd.data.postgres.catalog import PgColumn, TableShape
from ladingd.data.postgres.refusal import BLAMED, IGNORED, POLICY, Refusal, columns_of
from ladingd.data.postgres.session import Session

STAGE = sql.Identifier("pg_temp", "lading_stage")
ROW = sql.Identifier("lading row")

# What was noted of records that a trigger left out must not stay where their block is taken back.
_CREATE = """
CREATE FUNCTION pg_temp.lading_try(wanted integer[])
RETURNS TABLE (tried integer, state text, message text, detail text, blamed text, breached text)
LANGUAGE plpgsql AS $lading$
DECLARE
    total CONSTANT integer := cardinality(wanted);
    usual integer := 256;
    size integer := 256;
    first integer := 1;
    last integer;
    place integer;
    touched integer;
    ignored integer[];
BEGIN
    WHILE first <= total LOOP
        last := least(first + size - 1, total);
        place := first;
        ignored := NULL;
        BEGIN
            WHILE place <= last LOOP
                INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {stage}
                WHERE {row} = wanted[place];
                GET DIAGNOSTICS touched = ROW_COUNT;
                IF touched = 0 THEN
                    ignored := ignored || wanted[place];
                END IF;
                place := place + 1;
            END LOOP;
        EXCEPTION WHEN OTHERS THEN
            IF SQLSTATE !~ {blames} THEN
                RAISE;
            END IF;
            usual := greatest(least(usual, last - first + 1) / 2, 1);
            size := greatest(place - first, usual);
            IF place > first THEN
                size := place - first;
                CONTINUE;
            END IF;
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
                blamed = COLUMN_NAME, breached = CONSTRAINT_NAME;
            tried := wanted[first];
            first := first + 1;
            RETURN NEXT;
            CONTINUE;
        END;
        FOREACH tried IN ARRAY coalesce(ignored, ARRAY[]::integer[]) LOOP
            state := {ignored};
            message := NULL;
            RETURN NEXT;
        END LOOP;
        first := last + 1;
        IF size >= usual THEN
            usual := least(usual * 2, 4096);
        END IF;
        size := usual;
    END LOOP;
END
$lading$
"""
_INHERITED = """
SELECT coalesce(sum(pg_stat_get_xact_tuples_inserted(inhrelid)), 0)::bigint FROM pg_inherits WHERE inhparent = %s
"""


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """The rows of a batch in the temporary table ``lading_stage``, beside the table that they are to go to."""

    session: Session
    shape: TableShape
    columns: Sequence[PgColumn]

    def run(self, rows: Sequence[int]) -> list[Refusal]:
        """Insert these rows in their order; return those that the table refuses, or that its triggers leave out.

        Raises psycopg's errors that no record is to blame for, and TargetRefused where a trigger puts records into
        other tables.
        """
        query = sql.SQL(_CREATE).format(
            table=self.shape.identifier,
            names=sql.SQL(", ").join(sql.Identifier(column.name) for column in self.columns),
            values=sql.SQL(", ").join(
                sql.SQL("{}::{}").format(sql.Identifier(f"lading {place}"), sql.SQL(column.type.plain))
                for place, column in enumerate(self.columns)
            ),
            stage=STAGE,
            row=ROW,
            blames=sql.Literal(f"^({'|'.join((*BLAMED, *([POLICY] if self.shape.policed else [])))})"),
            ignored=sql.Literal(IGNORED),
        )
        before = self._elsewhere()
        self.session.run(query)
        found = self.session.rows("SELECT * FROM pg_temp.lading_try(%s)", (list(rows),))
        self.session.run("DROP FUNCTION pg_temp.lading_try")
        refusals = [
            Refusal(
                row=row,
                state=state,
                message=message or f"a trigger of table {self.shape.name} ignores this record",
                columns=columns_of(state, detail or "", blamed or ""),
                constraint=breached or "",
            )
            for row, state, message, detail, blamed, breached in found
        ]
        if any(refusal.state == IGNORED for refusal in refusals) and self._elsewhere() > before:
            raise TargetRefused(
                f"a trigger puts records for table {self.shape.name} into tables that inherit from it, so nobody can "
                f"count them: import into these tables, or partition {self.shape.name} by PARTITION BY"
            )
        return refusals

    def _elsewhere(self) -> int:
        """How many rows this transaction has inserted into tables that inherit from this one, where it has no
        partitions."""
        if self.shape.code == "p":
            return 0
        return int(self.session.rows(_INHERITED, (self.shape.oid,))[0][0])
