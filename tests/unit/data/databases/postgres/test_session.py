"""The translation of the server's errors. Needs no server."""

from __future__ import annotations

import psycopg
import pytest

from ladingd.core.errors import TargetRefused
from ladingd.data.databases.postgres.session import Address, technical

SECRET = "anna@example.org"
ADDRESS = Address(name="crm", url="postgresql://h/d")


@pytest.mark.parametrize(
    ("error", "culprit"),
    [
        (psycopg.errors.InvalidTextRepresentation(f'invalid input syntax for type integer: "{SECRET}"'), "a value"),
        (psycopg.errors.InvalidDatetimeFormat(f'invalid input syntax for type date: "{SECRET}"'), "a value"),
        (psycopg.errors.NumericValueOutOfRange(f'value "{SECRET}" is out of range for type integer'), "a value"),
        (psycopg.errors.RaiseException(f"{SECRET} is blocked"), "a trigger or function"),
    ],
    ids=lambda given: getattr(given, "sqlstate", ""),
)
def test_a_message_that_may_show_a_value_is_left_to_the_databases_own_log(error: psycopg.Error, culprit: str) -> None:
    """The message becomes a failure and a journal entry, which users who may not read records can read."""
    told = technical(ADDRESS, error)
    assert type(told) is TargetRefused
    assert told.message == (
        f"connection crm: {culprit} stopped the statement (SQLSTATE {error.sqlstate}); the database's own log shows it"
    )


def test_a_message_about_the_table_is_told_as_it_is() -> None:
    told = technical(ADDRESS, psycopg.errors.UndefinedColumn('column "born" does not exist'))
    assert (type(told), told.message) == (TargetRefused, 'connection crm: column "born" does not exist')
