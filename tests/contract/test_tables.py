"""The tables of a connection, and suggestions how to fill them, in every kind of database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import InvalidSpec, TableNotFound
from ladingd.core.spec import ColumnMapping, Table

if TYPE_CHECKING:
    from tests.contract.imports import Pier


def test_the_tables_are_listed_without_the_ledger(pier: Pier) -> None:
    before = [table.table for table in pier.transfer.tables("harbour")]
    assert "t" not in before
    pier.imported("id\n1\n")
    pier.database.sql('CREATE TABLE "A b" (id INTEGER)')
    pier.database.sql("CREATE VIEW v AS SELECT 1 AS one")
    tables = pier.transfer.tables("harbour")
    assert sorted({table.table for table in tables} - set(before)) == ["A b", "t"]
    assert {table.connection for table in tables} == {"harbour"}
    for table in tables:
        assert pier.transfer.describe(table).table == table


def test_a_table_is_described(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER NOT NULL, name VARCHAR(20), day DATE NOT NULL DEFAULT CURRENT_DATE)")
    found = pier.transfer.describe(Table(connection="harbour", table="t"))
    assert [(each.name, each.type, each.required, each.generated) for each in found.columns] == [
        ("id", "integer", True, False),
        ("name", "text", False, False),
        ("day", "date", False, False),
    ]


def test_what_is_not_there(pier: Pier) -> None:
    with pytest.raises(TableNotFound, match="there is no table 'nothing'"):
        pier.transfer.describe(Table(connection="harbour", table="nothing"))
    with pytest.raises(InvalidSpec) as caught:
        pier.transfer.tables("sea")
    assert caught.value.field == "connection"
    with pytest.raises(InvalidSpec) as caught:
        pier.transfer.describe(Table(connection="harbour", table=""))
    assert caught.value.field == "table.table"


def test_a_mapping_is_suggested_with_what_both_sides_do_not_use(pier: Pier) -> None:
    pier.database.sql(
        "CREATE TABLE t (id INTEGER NOT NULL, first_name VARCHAR(20), age INTEGER NOT NULL, note VARCHAR(9))"
    )
    found = pier.transfer.suggest(
        pier.spec(
            "ID,First Name,x,y\n1,a,2,3\n",
            columns=(ColumnMapping(target="note", expression="x || '!'"),),
        )
    )
    assert [(each.source, each.target) for each in found.plan.columns] == [
        ("ID", "id"),
        ("First Name", "first_name"),
        ("note", "note"),
    ]
    assert found.guessed == {"first_name"}
    assert (found.unused_fields, found.unused_columns) == (["y"], ["age"])


def test_a_preview_tells_what_is_not_used(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER, note VARCHAR(9))")
    found = pier.transfer.preview(pier.spec("id,x\n1,2\n2,3\n", ignored_columns=("x",), filter="id = 1"), 10)
    assert (found.unused_fields, found.unused_columns) == (["x"], ["note"])
    assert (found.read, found.filtered, len(found.records)) == (2, 1, 1)
