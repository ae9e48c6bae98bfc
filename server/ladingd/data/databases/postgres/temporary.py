"""Temporary tables and functions, with which a session finds the records that a table refuses."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from ladingd.core.errors import TargetRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ladingd.data.databases.postgres.session import Session

_EXISTS = "SELECT to_regproc(%s) IS NOT NULL"


@contextmanager
def temporary(session: Session) -> Iterator[None]:
    """Create temporary objects. Raises TargetRefused with advice if the account may not."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        grants = sql.SQL("GRANT TEMPORARY ON DATABASE {} TO {}; GRANT USAGE ON LANGUAGE plpgsql TO {};").format(
            *map(sql.Identifier, (session.database, session.user, session.user))
        )
        raise TargetRefused(_refusal(error, grants.as_string())) from error


def function_of(session: Session, create: str, body: str) -> sql.Identifier:
    """The function of a session that has this body, created at the first call. ``create`` is the statement with
    ``{function}`` and ``{body}``. Raises TargetRefused."""
    function = sql.Identifier("pg_temp", f"lading_{digest_of(create + body)}")
    if not session.rows(_EXISTS, (function.as_string(),))[0][0]:
        try:
            with temporary(session):
                session.run(sql.SQL(create).format(function=function, body=sql.Literal(body)))
        except psycopg.errors.UndefinedObject as error:
            raise TargetRefused(_refusal(error, "CREATE EXTENSION plpgsql;")) from error
    return function


def digest_of(text: str) -> str:
    """A digest for the names of objects that a session keeps."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _refusal(error: psycopg.Error, statements: str) -> str:
    return (
        "records that the table refuses can only be found by trying, with temporary tables and functions: "
        f"{error.diag.message_primary}; an administrator can run: {statements}"
    )
