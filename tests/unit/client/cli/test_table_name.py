"""Names of tables as users write them."""

from __future__ import annotations

import pytest

from lading_client.cli.arguments.table_name import BadTableName, parse, written
from lading_client.spec import Table


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("t", Table(table="t")),
        ("my table", Table(table="my table")),
        ("crm.t", Table(connection="crm", table="t")),
        ("pg.public.t", Table(connection="pg", schema="public", table="t")),
        ('"my.table"', Table(table="my.table")),
        ('local."my table"', Table(table="my table")),
        ('crm."a""b.c"', Table(connection="crm", table='a"b.c')),
        ('my "odd" table', Table(table='my "odd" table')),
        ("Empfänger-Liste", Table(table="Empfänger-Liste")),
    ],
)
def test_tables_that_are_understood(text: str, table: Table) -> None:
    assert parse(text) == table
    assert parse(written(table)) == table


@pytest.mark.parametrize("text", ["", ".t", "a.", "a..b", '"', '""', '"a"b', "a.b.c.d", '"a'])
def test_tables_that_are_not(text: str) -> None:
    with pytest.raises(BadTableName, match="is not a table name"):
        parse(text)
