"""The constraints of a table whose violators one query can find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ladingd.data.databases.postgres.catalog import TableShape
    from ladingd.data.databases.postgres.session import Session

# Catalog columns of newer servers are read by name from the row as JSON.
_UNIQUES = """
SELECT x.relname, ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, false) FROM generate_series(1, i.indnkeyatts) k),
    coalesce(pg_get_expr(i.indpred, i.indrelid), ''),
    coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false),
    ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum > 0 AND (
        a.attnum IN (SELECT n FROM unnest(i.indkey::int2[]) WITH ORDINALITY u (n, place) WHERE place <= i.indnkeyatts)
        OR a.attnum IN (SELECT d.refobjsubid FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
            AND d.objid = i.indexrelid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid))),
    CASE WHEN i.indexprs IS NULL THEN ARRAY(
        SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY u (n, place)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.n
        WHERE place <= i.indnkeyatts ORDER BY place) END
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
WHERE i.indrelid = %s AND i.indisunique AND i.indislive ORDER BY NOT i.indisprimary, x.relname
"""
_CHECKS = """
SELECT c.conname, pg_get_expr(c.conbin, c.conrelid), ARRAY(
    SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey))
FROM pg_constraint c WHERE c.conrelid = %s AND c.contype = 'c'
    AND coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true) ORDER BY c.conname
"""
_FOREIGN_KEYS = """
SELECT c.conname, n.nspname, r.relname, c.conrelid = c.confrelid, r.relkind = 'p',
    ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY u (k, place)
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = u.k ORDER BY u.place),
    ARRAY(SELECT a.attname::text FROM unnest(c.confkey) WITH ORDINALITY u (k, place)
        JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = u.k ORDER BY u.place)
FROM pg_constraint c JOIN pg_class r ON r.oid = c.confrelid JOIN pg_namespace n ON n.oid = r.relnamespace
WHERE c.conrelid = %s AND c.contype = 'f' AND c.confmatchtype = 's' AND NOT row_security_active(c.confrelid)
    AND coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true) ORDER BY c.conname
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unique:
    """A unique index. ``keys`` and ``condition`` are expressions over the table's columns."""

    name: str
    keys: tuple[str, ...]
    condition: str
    nulls_equal: bool
    columns: frozenset[str]
    plain: tuple[str, ...]
    """The columns of the key; empty if it has expressions."""

    @property
    def blamed(self) -> tuple[str, ...]:
        """The columns of the key, or all columns that the index uses."""
        return self.plain or tuple(sorted(self.columns))


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A CHECK and its expression."""

    name: str
    expression: str
    columns: frozenset[str]

    @property
    def blamed(self) -> tuple[str, ...]:
        """The columns that it uses."""
        return tuple(sorted(self.columns))


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignKey:
    """A foreign key. A key with a NULL refers to nothing and is valid."""

    name: str
    schema: str
    table: str
    to_itself: bool
    partitioned: bool
    own: tuple[str, ...]
    theirs: tuple[str, ...]

    @property
    def columns(self) -> frozenset[str]:
        """The columns that it uses."""
        return frozenset(self.own)

    @property
    def blamed(self) -> tuple[str, ...]:
        """The columns in the order of the key."""
        return self.own


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraints:
    """The constraints that use only columns of the batch."""

    uniques: tuple[Unique, ...]
    checks: tuple[Check, ...]
    foreign_keys: tuple[ForeignKey, ...]

    @property
    def columns(self) -> frozenset[str]:
        """All columns that they use."""
        every: list[Unique | Check | ForeignKey] = [*self.uniques, *self.checks, *self.foreign_keys]
        return frozenset().union(*(each.columns for each in every))


def read_constraints(session: Session, shape: TableShape, columns: frozenset[str]) -> Constraints:
    """The constraints that use only these columns. Violations of other constraints are found only by trying."""
    uniques = (
        Unique(
            name=name,
            keys=tuple(keys),
            condition=condition,
            nulls_equal=nulls_equal,
            columns=frozenset(over),
            plain=tuple(own or ()),
        )
        for name, keys, condition, nulls_equal, over, own in session.rows(_UNIQUES, (shape.oid,))
    )
    checks = (
        Check(name=name, expression=expression, columns=frozenset(over))
        for name, expression, over in session.rows(_CHECKS, (shape.oid,))
    )
    foreign_keys = (
        ForeignKey(
            name=name,
            schema=schema,
            table=table,
            to_itself=itself,
            partitioned=partitioned,
            own=tuple(own),
            theirs=tuple(theirs),
        )
        for name, schema, table, itself, partitioned, own, theirs in session.rows(_FOREIGN_KEYS, (shape.oid,))
    )
    return Constraints(
        uniques=tuple(each for each in uniques if each.columns <= columns),
        checks=tuple(each for each in checks if each.columns <= columns),
        foreign_keys=tuple(each for each in foreign_keys if each.columns <= columns),
    )
