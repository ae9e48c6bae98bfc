"""The list of jobs, page by page. A token names the last job of a page, so that new jobs do not shift the next page."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, and_, false, func, literal_column, or_, select, type_coerce

from ladingd.core.errors import InvalidRequest
from ladingd.core.ports import Page
from ladingd.core.selection import TIMES, Comparison, Field
from ladingd.store import rows
from ladingd.store.tables import jobs

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from ladingd.core.job import Job
    from ladingd.core.selection import Condition, Order, Selection

_SEQUENCES = range(1, 1 << 63)
_NUMBERS = range(-(1 << 63), 1 << 63)


def read(connection: Connection, selection: Selection, order: Order, size: int, token: str) -> Page[Job]:
    """The first page, or the page after the token's. Raises InvalidRequest."""
    asked = _digest(selection, order)
    key = _key(order)
    directed = key.desc() if order.descending else key.asc()
    statement = select(jobs.c.sequence, key.label("key"), *rows.COLUMNS).limit(size + 1)
    for condition in selection.conditions:
        statement = statement.where(_holds(condition))
    if selection.visible_to is not None:
        statement = statement.where(_visible_to(selection.visible_to))
    if token:
        statement = statement.where(_behind(_Place.of(token, asked), key, descending=order.descending))
    if key is not jobs.c.sequence:
        statement = statement.order_by(key.is_(None), directed, jobs.c.sequence.desc())
    else:
        statement = statement.order_by(directed)
    found = connection.execute(statement).all()
    shown = found[:size]
    more = len(found) > size
    return Page(
        items=rows.jobs_of(shown),
        next_token=_Place(asked=asked, key=shown[-1].key, sequence=shown[-1].sequence).token() if more else "",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """The job after which a page begins, and a digest of the list's filter and order."""

    asked: str
    key: str | int | None
    sequence: int

    @classmethod
    def of(cls, token: str, asked: str) -> _Place:
        try:
            facts = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
            place = cls(asked=facts["asked"], key=facts["key"], sequence=facts["sequence"])
            str(place.key).encode()  # Half a surrogate pair is valid in JSON, but not as text.
        except (binascii.Error, ValueError, KeyError, TypeError, RecursionError) as error:
            raise _foreign() from error
        known = isinstance(place.sequence, int) and isinstance(place.key, str | int | None)
        if not known or place.sequence not in _SEQUENCES or place.asked != asked:
            raise _foreign()
        if isinstance(place.key, int) and place.key not in _NUMBERS:
            raise _foreign()
        return place

    def token(self) -> str:
        facts = {"asked": self.asked, "key": self.key, "sequence": self.sequence}
        return base64.urlsafe_b64encode(json.dumps(facts).encode()).decode()


def _digest(selection: Selection, order: Order) -> str:
    return hashlib.sha256(repr((selection, order)).encode()).hexdigest()[:16]


def _key(order: Order) -> ColumnElement[Any]:
    """The sort key. ``sequence`` has the order of creation."""
    return jobs.c.sequence if order.field is Field.CREATE_TIME else _kept(order.field)


def _kept(field: Field) -> ColumnElement[Any]:
    """A field as the text that the database stores."""
    if field is Field.TYPE:
        return func.json_extract(type_coerce(jobs.c.spec, Text), "$.kind", type_=Text)
    return type_coerce(jobs.c[field.value], Text)


def _behind(place: _Place, key: ColumnElement[Any], *, descending: bool) -> ColumnElement[bool]:
    if key is jobs.c.sequence:
        return jobs.c.sequence < place.sequence if descending else jobs.c.sequence > place.sequence
    later = jobs.c.sequence < place.sequence
    if place.key is None:
        return and_(key.is_(None), later)
    beyond = key < place.key if descending else key > place.key
    return or_(beyond, and_(key == place.key, later), key.is_(None))


def _visible_to(name: str) -> ColumnElement[bool]:
    """Jobs that the name owns, and shared jobs. The empty name owns nothing."""
    # A literal: with a parameter SQLite would not use the index of shared jobs.
    shared = jobs.c.shared == literal_column("1")
    return or_(jobs.c.owner == name, shared) if name else shared


def _holds(condition: Condition) -> ColumnElement[bool]:
    if condition.field in TIMES:
        column, time = jobs.c[condition.field.value], condition.values[0]
        compared: dict[Comparison, ColumnElement[bool]] = {
            Comparison.BEFORE: column < time,
            Comparison.NOT_AFTER: column <= time,
            Comparison.AFTER: column > time,
            Comparison.NOT_BEFORE: column >= time,
        }
        return compared[condition.comparison]
    kept = jobs.c.shared if condition.field is Field.SHARED else _kept(condition.field)
    if condition.prefix:
        among = or_(false(), *(func.substr(kept, 1, len(str(value))) == value for value in condition.values))
    else:
        among = kept.in_(condition.values)
    return among if condition.comparison is Comparison.IS else ~among


def _foreign() -> InvalidRequest:
    return InvalidRequest("page_token", "was not issued by this list; leave it out to start from the beginning")
