"""Tables as people choose them for an import, and how a file would fill one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ladingd.core.plan import ImportPlan
from ladingd.core.spec import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class TableColumn:
    """A column of an existing table."""

    name: str
    declared: str
    """The type as the database spells it."""
    type: str
    """The type as which its fields are read."""
    nullable: bool
    required: bool
    """Every import must fill it."""
    generated: bool
    """The database computes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableDescription:
    """An existing table."""

    table: Table
    columns: Sequence[TableColumn]
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Suggestion:
    """How an import would fill its table. The plan leaves out what has no counterpart."""

    plan: ImportPlan
    guessed: frozenset[str] = frozenset()
    """The columns of the table whose source has a name that differs by more than case."""
    unused_fields: Sequence[str] = ()
    """The columns of the file that fill no column and are in no expression."""
    unused_columns: Sequence[str] = ()
    """The columns of the table that nothing fills."""
