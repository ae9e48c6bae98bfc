"""Reads the shape of a table from DuckDB's catalog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ladingd.data.databases.duckdb.session import quoted, statement
from ladingd.data.databases.duckdb.types import KEYS, ColumnType, of_declaration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.spec import Table
    from ladingd.data.databases.duckdb.session import Database

DEFAULT_SCHEMA = "main"

# The table or view with a name. DuckDB ignores the case of names.
_TABLE = """
SELECT schema_name, table_name, 'table', sql FROM duckdb_tables()
WHERE database_name = current_database() AND lower(schema_name) = lower($1) AND lower(table_name) = lower($2)
UNION ALL
SELECT schema_name, view_name, 'view', sql FROM duckdb_views()
WHERE database_name = current_database() AND NOT internal
    AND lower(schema_name) = lower($1) AND lower(view_name) = lower($2)
"""
# The columns of a table, in order.
_COLUMNS = """
SELECT column_name, data_type, is_nullable, column_default, is_generated FROM duckdb_columns()
WHERE database_name = current_database() AND schema_name = $1 AND table_name = $2 ORDER BY column_index
"""
# The constraints of a table.
_CONSTRAINTS = """
SELECT constraint_type, constraint_column_names, expression, referenced_table, referenced_column_names
FROM duckdb_constraints()
WHERE database_name = current_database() AND schema_name = $1 AND table_name = $2 ORDER BY constraint_index
"""
# The unique indexes of a table.
_UNIQUE_INDEXES = """
SELECT index_name, CAST(expressions AS VARCHAR[]) FROM duckdb_indexes()
WHERE database_name = current_database() AND schema_name = $1 AND table_name = $2 AND is_unique ORDER BY index_name
"""
_SCHEMA = """
SELECT count(*) FROM duckdb_schemas() WHERE database_name = current_database() AND lower(schema_name) = lower($1)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableColumn:
    """A column of a table or a view."""

    name: str
    type: ColumnType
    nullable: bool
    default: str | None
    """An expression."""
    generated: bool

    @property
    def optional(self) -> bool:
        """Whether an insert may omit it."""
        return self.nullable or self.default is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Unique:
    """A unique key. ``columns`` is empty if an expression of the key is not a column."""

    said: str
    """Its name in messages: ``PRIMARY KEY (id)``."""
    expressions: tuple[str, ...]
    columns: tuple[str, ...]
    primary: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignKey:
    """Columns whose values must be in another table."""

    columns: tuple[str, ...]
    table: str
    referenced: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TableShape:
    """A table or a view."""

    schema: str
    name: str
    kind: str
    """``table`` or ``view``."""
    declaration: str
    columns: tuple[TableColumn, ...]
    uniques: tuple[Unique, ...] = ()
    checks: tuple[str, ...] = ()
    """Expressions."""
    foreign_keys: tuple[ForeignKey, ...] = ()

    @property
    def identifier(self) -> str:
        """Its name in a statement."""
        return statement("{schema}.{name}", schema=self.schema, name=self.name)

    def column(self, name: str) -> TableColumn | None:
        """The column with this name."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def key(self) -> str | None:
        """A unique integer column without NULL; None if there is none."""
        by_name = {column.name: column for column in self.columns}
        for unique in sorted(self.uniques, key=lambda unique: not unique.primary):
            if len(unique.columns) == 1:
                column = by_name[unique.columns[0]]
                if column.type.declared in KEYS and not column.nullable:
                    return column.name
        return None


def read_shape(database: Database, table: Table) -> TableShape | None:
    """The current table in the catalog; None if there is none."""
    found = database.rows(_TABLE, (table.schema or DEFAULT_SCHEMA, table.table))
    if not found:
        return None
    schema, name, kind, declaration = found[0]
    columns = tuple(
        TableColumn(
            name=column,
            type=of_declaration(declared),
            nullable=bool(nullable),
            default=default,
            generated=bool(generated),
        )
        for column, declared, nullable, default, generated in database.rows(_COLUMNS, (schema, name))
    )
    uniques: list[Unique] = []
    checks: list[str] = []
    foreign_keys: list[ForeignKey] = []
    for constraint, names, expression, referenced, others in database.rows(_CONSTRAINTS, (schema, name)):
        match constraint:
            case "PRIMARY KEY" | "UNIQUE":
                uniques.append(
                    Unique(
                        said=f"{constraint} ({', '.join(names)})",
                        expressions=tuple(map(quoted, names)),
                        columns=tuple(names),
                        primary=constraint == "PRIMARY KEY",
                    )
                )
            case "CHECK":
                checks.append(expression)
            case "FOREIGN KEY":
                foreign_keys.append(ForeignKey(columns=tuple(names), table=referenced, referenced=tuple(others)))
    for index, expressions in database.rows(_UNIQUE_INDEXES, (schema, name)):
        uniques.append(_of_index(index, expressions, columns))
    return TableShape(
        schema=schema,
        name=name,
        kind=kind,
        declaration=declaration or "",
        columns=columns,
        uniques=tuple(uniques),
        checks=tuple(checks),
        foreign_keys=tuple(foreign_keys),
    )


def has_schema(database: Database, schema: str) -> bool:
    """Whether the database has a schema."""
    return bool(database.rows(_SCHEMA, (schema,))[0][0])


def _of_index(name: str, expressions: Sequence[str], columns: Sequence[TableColumn]) -> Unique:
    """The key of a unique index."""
    spelled = {text: column.name for column in columns for text in (column.name, quoted(column.name))}
    known = tuple(spelled[text] for text in expressions if text in spelled)
    return Unique(
        said=f"unique index {name}",
        expressions=tuple(expressions),
        columns=known if len(known) == len(expressions) else (),
    )
