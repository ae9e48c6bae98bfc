"""The list of jobs, page by page. A token says where the next page begins, so new jobs do not shift it."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from sqlalchemy import select

from ladingd.core.errors import InvalidRequest
from ladingd.core.ports import Page
from ladingd.store import rows
from ladingd.store.tables import jobs

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ladingd.core.job import Job

_BEFORE = re.compile(rb"jobs<([1-9][0-9]{0,17})")


def read(connection: Connection, size: int, token: str) -> Page[Job]:
    """The newest jobs, or the next older ones. Raises InvalidRequest."""
    statement = select(jobs.c.sequence, *rows.COLUMNS).order_by(jobs.c.sequence.desc()).limit(size + 1)
    if token:
        statement = statement.where(jobs.c.sequence < _sequence_of(token))
    found = connection.execute(statement).all()
    shown = found[:size]
    return Page(
        items=rows.jobs_of(shown),
        next_token=_token_of(shown[-1].sequence) if len(found) > size else "",
    )


def _token_of(sequence: int) -> str:
    return base64.urlsafe_b64encode(b"jobs<%d" % sequence).decode()


def _sequence_of(token: str) -> int:
    try:
        match = _BEFORE.fullmatch(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise _foreign() from error
    if match is None:
        raise _foreign()
    return int(match[1])


def _foreign() -> InvalidRequest:
    return InvalidRequest("page_token", "no list of jobs gave this out; begin without one")
