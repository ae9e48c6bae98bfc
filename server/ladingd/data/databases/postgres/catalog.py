"""Reads the shape of a table from PostgreSQL's catalog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from ladingd.data.databases.postgres.characters import encoding
from ladingd.data.databases.postgres.types import PgType

if TYPE_CHECKING:
    from ladingd.core.spec import Table
    from ladingd.data.databases.postgres.session import Session

DEFAULT_SCHEMA = "public"

_RELATION = """
SELECT c.oid, c.relkind::text,
    EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'
            AND t.tgtype & 7 = 7) OR c.relrowsecurity,
    c.relkind = 'p' OR c.relhasrules
    OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'),
    row_security_active(c.oid),
    c.relpersistence = 'u' OR EXISTS (SELECT FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid
        WHERE l.relpersistence = 'u'),
    c.relispartition,
    (SELECT string_agg(concat_ws(' ', quote_ident(attname), atttypid, atttypmod, atthasdef OR attidentity <> ''), ','
        ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""
_COLUMNS = """
WITH RECURSIVE chain AS (
    SELECT a.attnum, a.atttypid AS typid, a.atttypmod AS typmod, false AS not_null
    FROM pg_attribute a WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT c.attnum, t.typbasetype, CASE t.typtypmod WHEN -1 THEN c.typmod ELSE t.typtypmod END,
        c.not_null OR t.typnotnull
    FROM chain c JOIN pg_type t ON t.oid = c.typid WHERE t.typtype = 'd'
)
SELECT a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
    a.attnotnull OR c.not_null, a.atthasdef OR a.attidentity <> '', a.attidentity::text, a.attgenerated <> '',
    format_type(c.typid, -1), CASE WHEN b.typnamespace = 'pg_catalog'::regnamespace THEN b.typname ELSE '' END,
    c.typmod, b.typcategory = 'A', a.atttypid <> c.typid,
    ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = b.oid ORDER BY e.enumsortorder),
    CASE WHEN a.attcollation <> (SELECT t.typcollation FROM pg_type t WHERE t.oid = a.atttypid)
        THEN a.attcollation::regcollation::text ELSE '' END
FROM pg_attribute a JOIN chain c USING (attnum) JOIN pg_type b ON b.oid = c.typid AND b.typtype <> 'd'
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_EXCLUDES = "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = %s AND contype = 'x')"
_KEY = """
SELECT ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY u (n, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.n WHERE place <= i.indnkeyatts ORDER BY place)
FROM pg_index i WHERE i.indrelid = %s AND i.indisunique AND i.indislive AND i.indexprs IS NULL
ORDER BY NOT i.indisprimary, i.indexrelid LIMIT 1
"""
# The columns of the unique indexes that hold for all rows.
_UNIQUES = """
SELECT ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY u (n, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.n WHERE place <= i.indnkeyatts ORDER BY place)
FROM pg_index i WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indislive AND i.indexprs IS NULL
    AND i.indpred IS NULL AND i.indimmediate ORDER BY i.indexrelid
"""
# Whether rows may depend on each other by something else than such an index.
_ENTANGLED = """
SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = %s AND (contype = 'x' OR confrelid = conrelid))
    OR EXISTS (SELECT FROM pg_index WHERE indrelid = %s AND indisunique
        AND (indexprs IS NOT NULL OR indpred IS NOT NULL OR NOT indimmediate))
    OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = %s AND NOT tgisinternal AND tgenabled <> 'D')
"""
_KINDS = {
    "r": "table",
    "p": "table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "S": "sequence",
    "i": "index",
    "I": "index",
    "c": "type",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PgColumn:
    """A column in the catalog."""

    number: int
    name: str
    type: PgType
    nullable: bool
    has_default: bool
    """Whether the server fills it if an insert omits it, by a default or an identity."""
    identity: bool
    always_identity: bool
    generated: bool
    """Whether the server computes it, so that imports cannot write it."""
    collation: str
    """The collation in SQL; empty if it is the type's default."""

    @property
    def optional(self) -> bool:
        """Whether an insert may omit it."""
        return self.nullable or self.has_default or self.generated


@dataclass(frozen=True, kw_only=True, slots=True)
class TableShape:
    """A relation and its columns."""

    schema: str
    name: str
    oid: int
    code: str
    """The catalog's code of its kind."""
    rewrites: bool
    """Whether a trigger before inserts or a policy can change or reject rows: only trying shows the result."""
    acts: bool
    """Whether a trigger or a rule, perhaps of a partition, may act after an insert."""
    policed: bool
    """Whether row-level security limits the rows that the account may insert and see."""
    unlogged: bool
    """Whether a crash of the server empties it or a partition of it."""
    encoding: str
    """The encoding of text in the database."""
    columns: tuple[PgColumn, ...]
    excludes: bool
    """Whether it has an exclusion constraint."""
    key: tuple[str, ...]
    """The columns of the primary key, or else of the first unique index."""
    is_partition: bool
    signature: str
    """The names, types, modifiers and defaults of the columns. A difference shows that the columns have changed."""

    @property
    def identifier(self) -> sql.Identifier:
        """Its quoted name."""
        return sql.Identifier(self.schema, self.name)

    @property
    def kind(self) -> str:
        """``table``, also if partitioned, or the name of another kind."""
        return _KINDS.get(self.code, "relation of another kind")

    def column(self, name: str) -> PgColumn | None:
        """The column with exactly this name."""
        return next((column for column in self.columns if column.name == name), None)


def read_shape(session: Session, table: Table) -> TableShape | None:
    """The shape of the table with exactly this name; None if there is none."""
    schema = table.schema or DEFAULT_SCHEMA
    found = session.rows(_RELATION, (schema, table.table))
    if not found:
        return None
    oid, kind, rewrites, acts, policed, unlogged, is_partition, signature = found[0]
    columns = []
    for row in session.rows(_COLUMNS, (oid, oid)):
        number, name, declared, not_null, has_default, identity, generated = row[:7]
        plain, base, base_modifier, is_array, is_domain, labels, collation = row[7:]
        columns.append(
            PgColumn(
                number=number,
                name=name,
                type=_type(declared, plain, base, base_modifier, labels, is_array=is_array, is_domain=is_domain),
                nullable=not not_null,
                has_default=has_default and not generated,
                identity=bool(identity),
                always_identity=identity == "a",
                generated=generated,
                collation=collation,
            )
        )
    return TableShape(
        schema=schema,
        name=table.table,
        oid=oid,
        code=kind,
        rewrites=rewrites,
        acts=acts,
        policed=policed,
        unlogged=unlogged,
        encoding=encoding(session),
        columns=tuple(columns),
        excludes=session.rows(_EXCLUDES, (oid,))[0][0],
        key=next((tuple(key) for (key,) in session.rows(_KEY, (oid,))), ()),
        is_partition=is_partition,
        signature=signature,
    )


def read_uniques(session: Session, shape: TableShape) -> tuple[tuple[str, ...], ...]:
    """The columns of each unique index that holds for all rows, now and not at the end of a transaction."""
    return tuple(tuple(columns) for (columns,) in session.rows(_UNIQUES, (shape.oid,)))


def is_entangled(session: Session, shape: TableShape) -> bool:
    """Whether rows with different keys may depend on each other by something else than such an index."""
    return bool(session.rows(_ENTANGLED, (shape.oid,) * 3)[0][0])


def is_unchanged(session: Session, shape: TableShape) -> bool:
    """Whether the columns, triggers, rules and policies of the table are still those of the shape."""
    facts = (shape.oid, shape.code, shape.rewrites, shape.acts, shape.policed, shape.unlogged)
    return session.rows(_RELATION, (shape.schema, shape.name)) == [(*facts, shape.is_partition, shape.signature)]


def _type(
    declared: str, plain: str, base: str, modifier: int, labels: list[str], *, is_array: bool, is_domain: bool
) -> PgType:
    precision = scale = length = None
    if base == "numeric" and modifier >= 0:
        # See numeric_typmod_precision and numeric_typmod_scale in the server's numeric.c.
        precision = (modifier - 4) >> 16 & 0xFFFF
        scale = ((modifier - 4 & 0x7FF) ^ 1024) - 1024
    if base in ("varchar", "bpchar") and modifier >= 0:
        length = modifier - 4
    return PgType(
        declared=declared,
        plain=plain,
        base=base,
        is_array=is_array,
        is_domain=is_domain,
        precision=precision,
        scale=scale,
        length=length,
        labels=tuple(labels),
    )
