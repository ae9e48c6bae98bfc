"""Records tried by the server itself, where nothing but the table can say which of them it takes.

A savepoint and a COPY for each record that is refused took a millisecond. Here one call tries them all. Records go in
by pieces, a statement each. A sequence counts them, which no error takes back: it tells which record was refused. The
records before it go in again, and the next piece begins behind it. Where the count cannot tell, as triggers that come
after a whole statement refuse records, a statement inserts one record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from ladingd.core.errors import TargetRefused
from ladingd.data.databases.postgres.catalog import PgColumn, TableShape
from ladingd.data.databases.postgres.refusal import BLAMED, IGNORED, POLICY, Refusal, columns_of
from ladingd.data.databases.postgres.session import Session

STAGE = sql.Identifier("pg_temp", "lading_stage")
ROW = sql.Identifier("lading row")

_CREATE = """
CREATE FUNCTION pg_temp.lading_try(wanted integer[])
RETURNS TABLE (tried integer, state text, message text, detail text, blamed text, breached text)
LANGUAGE plpgsql AS $lading$
DECLARE
    total CONSTANT integer := cardinality(wanted);
    run double precision := 256;  -- how many go in between two that are refused
    first integer := 1;
    last integer;
    place integer;
    touched integer;
    refused boolean := false;  -- the one behind the piece; its error is kept in the columns of the answer
    single boolean := false;
    only_single boolean := false;
    listing boolean := false;  -- let MERGE list what goes in, which takes longer
    entered integer[];
    ignored integer[];
BEGIN
    WHILE first <= total LOOP
        IF NOT refused THEN
            single := only_single OR run < 3;
            last := least(first + ceil(CASE WHEN single THEN run / 4 ELSE run * 2 END)::integer - 1, total);
        END IF;
        ignored := NULL;
        place := first;
        BEGIN
            IF single THEN
                WHILE place <= last LOOP
                    INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {stage}
                    WHERE {row} = wanted[place];
                    GET DIAGNOSTICS touched = ROW_COUNT;
                    {settle}
                    IF touched = 0 THEN
                        ignored := ignored || wanted[place];
                    END IF;
                    place := place + 1;
                END LOOP;
            ELSE
                PERFORM setval('pg_temp.lading_place', first, false);
                IF listing THEN
                    {merge}
                ELSE
                    INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM ({piece}) piece;
                    GET DIAGNOSTICS touched = ROW_COUNT;
                    IF touched < last - first + 1 THEN
                        RAISE SQLSTATE {untold};
                    END IF;
                END IF;
                {settle}
            END IF;
        EXCEPTION WHEN OTHERS THEN
            IF SQLSTATE = {untold} THEN
                listing := {merging};
                single := NOT listing;
                only_single := single;
                CONTINUE;
            END IF;
            IF SQLSTATE !~ {blames} THEN
                RAISE;
            END IF;
            IF NOT single THEN
                place := currval('pg_temp.lading_place');
                IF last > first AND (refused OR place = last) THEN
                    refused := false;
                    single := true;
                    only_single := true;
                    run := least(run, 64);
                    CONTINUE;
                END IF;
            END IF;
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
                blamed = COLUMN_NAME, breached = CONSTRAINT_NAME;
            tried := wanted[place];
            run := greatest(run * 0.75 + (place - first) * 0.25, 0.5);
            refused := place > first;
            last := place - 1;
            IF NOT refused THEN
                first := place + 1;
                RETURN NEXT;
            END IF;
            CONTINUE;
        END;
        first := last + 1;
        IF refused THEN
            refused := false;
            first := first + 1;
            RETURN NEXT;
        ELSE
            run := least(run * 1.25 + 0.25, 2048);
        END IF;
        FOREACH tried IN ARRAY coalesce(ignored, ARRAY[]::integer[]) LOOP
            state := {ignored};
            message := NULL;
            RETURN NEXT;
        END LOOP;
    END LOOP;
END
$lading$
"""
# The sequence counts a record before anything is done with it.
_PIECE = """
SELECT * FROM (SELECT * FROM {stage} WHERE {row} = ANY (wanted[first:last]) ORDER BY {row} OFFSET 0) piece
WHERE nextval('pg_temp.lading_place') > 0
"""
# Only MERGE tells which records of several went in, and only since this version.
MERGING_SINCE = 170000
_MERGE = """
WITH taken AS (
    MERGE INTO {table} USING ({piece}) piece ON false
    WHEN NOT MATCHED THEN INSERT ({names}) OVERRIDING SYSTEM VALUE VALUES ({values})
    RETURNING piece.{row} AS number
) SELECT array_agg(number) INTO entered FROM taken;
IF coalesce(cardinality(entered), 0) < last - first + 1 THEN
    ignored := ARRAY(SELECT unnest(wanted[first:last]) EXCEPT SELECT unnest(entered) ORDER BY 1);
END IF;
"""
_UNTOLD = "LD001"
"""Our own state of a piece of which some records were left out, and nobody tells which."""
# MERGE takes no rules and asks for more rights than INSERT, and policies let it see less.
_MERGEABLE = """
SELECT NOT relhasrules AND NOT relrowsecurity AND has_table_privilege(oid, 'SELECT') FROM pg_class WHERE oid = %s
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
        mergeable = self.session.rows(_MERGEABLE, (self.shape.oid,))[0][0]
        merging = self.session.server_version >= MERGING_SINCE and mergeable
        words: dict[str, sql.Composable] = {
            "table": self.shape.identifier,
            "names": sql.SQL(", ").join(sql.Identifier(column.name) for column in self.columns),
            "values": sql.SQL(", ").join(
                sql.SQL("{}::{}").format(sql.Identifier(f"lading {place}"), sql.SQL(column.type.plain))
                for place, column in enumerate(self.columns)
            ),
            "stage": STAGE,
            "row": ROW,
            # A trigger may have deferred constraints again.
            "settle": sql.SQL("SET CONSTRAINTS ALL IMMEDIATE;" if self.shape.acts else ""),
            "blames": sql.Literal(f"^({'|'.join((*BLAMED, *([POLICY] if self.shape.policed else [])))})"),
            "ignored": sql.Literal(IGNORED),
            "untold": sql.Literal(_UNTOLD),
        }
        words["piece"] = sql.SQL(_PIECE).format(**words)
        words["merging"] = sql.Literal(merging)
        words["merge"] = sql.SQL(_MERGE if merging else "NULL;").format(**words)
        query = sql.SQL(_CREATE).format(**words)
        before = self._elsewhere()
        self.session.run("CREATE TEMP SEQUENCE lading_place")
        self.session.run(query)
        found = self.session.rows("SELECT * FROM pg_temp.lading_try(%s)", (list(rows),))
        self.session.run("DROP FUNCTION pg_temp.lading_try; DROP SEQUENCE pg_temp.lading_place")
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
