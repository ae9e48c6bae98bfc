"""Tables that imports create, in every kind of database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import ColumnNames, CreateTable, Reconciliation
from ladingd.data.databases.registry import target_of
from tests.contract.imports import OTHER, Pier


def test_a_missing_table_is_refused_on_demand(pier: Pier) -> None:
    with pytest.raises(InvalidSpec, match=r"there is no table 't'.*--create auto") as caught:
        pier.plan("a,b\n1,x\n", create=CreateTable.NEVER)
    assert caught.value.field == "target.table"
    assert pier.imported("a,b\n1,x\n").inserted == 1
    assert pier.run(pier.plan("a,b\n2,y\n", create=CreateTable.NEVER), OTHER).inserted == 1
    assert pier.rows() == [(1, "x"), (2, "y")]


def test_a_missing_table_is_refused_with_the_closest_names(pier: Pier) -> None:
    pier.database.sql(
        'CREATE TABLE "Customers" (a INTEGER)', "CREATE TABLE costumer (a INTEGER)", "CREATE TABLE x (a INTEGER)"
    )
    spec = pier.spec("a,b\n1,x\n", create=CreateTable.NEVER)
    spec = replace(spec, target=replace(spec.target, table="costumers"))
    with pytest.raises(
        InvalidSpec, match=r"no table 'costumers'; did you mean '(Customers|costumer)' or '(Customers|costumer)'\? "
    ):
        pier.transfer.plan(spec)


def test_the_tables_of_a_database_are_listed(pier: Pier) -> None:
    target = target_of(pier.database.connection, pier.transfer.work_dir)
    assert [*target.tables()] == []
    pier.imported("a,b\n1,x\n")
    pier.database.sql('CREATE TABLE "L\'ading _x" (a INTEGER)', "CREATE VIEW v AS SELECT * FROM t")
    assert [*target.tables()] == [("", "L'ading _x"), ("", "t")]


def test_columns_are_called_in_snake_case(pier: Pier) -> None:
    text = "Customer ID,First Name,firstName,Größe\n1,Ann,A,2\n"
    plan = pier.plan(text, names=ColumnNames.SNAKE)
    names = ["customer_id", "first_name", "first_name_2", "grosse"]
    assert [column.target for column in plan.columns] == names
    assert plan.notes == ("column 'firstName' becomes 'first_name_2': another column becomes 'first_name'",)
    assert "Customer ID as customer_id integer" in plan.detected
    assert pier.run(plan).inserted == 1
    assert pier.rows(", ".join(names)) == [(1, "Ann", "A", 2)]
    again = pier.plan(text, names=ColumnNames.SNAKE)
    assert [column.target for column in again.columns] == names, "the same command fits the table that it has made"
    assert again.notes == ()
    assert pier.run(again, OTHER).inserted == 1


def test_a_table_with_names_of_the_file_is_matched_by_them(pier: Pier) -> None:
    pier.imported("Customer ID,b\n1,x\n")
    plan = pier.plan("Customer ID,b\n1,x\n", names=ColumnNames.SNAKE)
    assert [column.target for column in plan.columns] == ["Customer ID", "b"]


@pytest.mark.parametrize("key", [("id",), ("code",), ("code", "id")])
async def test_the_key_of_the_spec_is_the_primary_key(pier: Pier, key: tuple[str, ...]) -> None:
    plan = pier.plan("id,code,name\n1,a,x\n2,b,y\n1,a,z\n", reconciliation=Reconciliation(key=key))
    assert plan.primary_key == key
    plan = replace(plan, merge=None, phases=plan.phases[:1])  # Only the table is of interest.
    counts = pier.run(plan)
    assert (counts.inserted, counts.rejected) == (2, 1)
    assert pier.run(plan, attempt=2) == counts, "it is the planned table also after the first chunk"
    for statement in (
        "INSERT INTO t VALUES (1, 'a', 'w')",
        *(
            f"INSERT INTO t (name, {', '.join({'id', 'code'} - {name})}) VALUES ('w', 9)"
            for name in key
            if name != "id"
        ),
    ):
        with pytest.raises(Exception, match=r"(?i)unique|null|duplicate|constraint"):
            pier.database.sql(statement)


async def test_a_record_with_an_empty_key_is_rejected(pier: Pier) -> None:
    plan = pier.plan("id,name\n1,x\n,y\n", reconciliation=Reconciliation(key=("id",)))
    counts = pier.run(replace(plan, merge=None, phases=plan.phases[:1]))
    assert (counts.inserted, counts.rejected) == (1, 1)
    assert await pier.rejects() == [(3, "NOT_NULL", "id")]


def test_a_key_that_may_be_empty_is_no_primary_key(pier: Pier) -> None:
    reconciliation = Reconciliation(key=("id",), second_key=("code",))
    plan = pier.plan("id,code\n1,x\n,y\n", reconciliation=reconciliation)
    assert plan.primary_key == ()
    assert all(column.nullable for column in plan.columns)
