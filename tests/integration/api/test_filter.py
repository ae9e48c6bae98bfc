"""The small language of filters and orders."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladingd.api.messages.filter import MAX_BYTES, WATCHABLE, order_in, selection_in
from ladingd.core.errors import InvalidRequest
from ladingd.core.selection import EVERY, NEWEST_FIRST, Field, Order
from ladingd.core.state import State
from tests.integration.api.fakes import NOON, a_job

JOB = replace(
    a_job(),
    label='nightly "load" *',
    owner="anna",
    shared=True,
    state=State.RUNNING,
    start_time=NOON + timedelta(minutes=1),
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("   ", True),
        ("state = RUNNING", True),
        ("state=PAUSED|RUNNING", True),
        ("state != RUNNING", False),
        ("state!=PAUSED|EDITING", True),
        ("type = import", True),
        ("type = export|import AND state = PAUSED", False),
        ('label = "nightly \\"load\\" *"', True),
        ('label = "nightly \\"unload\\" *"', False),
        ("label = nightly*", True),
        ("label = day*|night*", True),
        ("label != night*", False),
        ("label = night", False),
        ('label = "nightly *"', True),
        ('label = "nightly"', False),
        ("label != other", True),
        ("create_time >= 2024-05-01T12:00:00Z", True),
        ("create_time > 2024-05-01T12:00:00+00:00", False),
        ("create_time <= 2024-05-01T14:00:00+02:00 AND create_time < 2024-05-01T12:00:01", True),
        ("start_time > 2024-05-01", True),
        ("owner = anna", True),
        ("owner != anna", False),
        ('owner = "anna b"|anna', True),
        ('owner = "*"', False),
        ("shared = true", True),
        ("shared = false", False),
        ("shared != false AND owner = anna", True),
        ("end_time < 2100-01-01", False),
        ("create_time > 0001-01-01T00:00:00Z", True),
        ("create_time < 9999-12-31T23:59:59.999999Z", True),
        ("create_time > 0001-01-01T02:00:00+02:00", True),
        ("end_time > 1900-01-01", False),
    ],
)
def test_what_holds(text: str, holds: bool) -> None:
    assert selection_in(text).holds(JOB) is holds


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("state", "has no comparison after state"),
        ("state =", "has no value after state"),
        ("state = running", "'running' is not a value of state; the values are CANCELED, "),
        ("shared = 1", "'1' is not a value of shared; the values are false, true"),
        ("create_time > 0001-01-01T00:00:00+00:01", "is not a time"),
        ("create_time < 9999-12-31T23:59:59-00:01", "is not a time"),
        ("create_time < 9999-12-31T24:00:00Z", "is not a time"),
        ("create_time < 10000-01-01", "is not a time"),
        ("state < RUNNING", "cannot compare state by <"),
        ("create_time = 2026-01-01", "cannot compare create_time by ="),
        ("create_time > yesterday", "'yesterday' is not a time"),
        ("create_time > 2026-01-01|2026-01-02", "with only one time"),
        ("name = a", "'name' is not a field to filter by; the fields are state, type, label, "),
        ("type = copy", "'copy' is not a value of type; the values are export, import"),
        ("state = RUNNING type = import", "only by AND"),
        ("state = RUNNING AND", "only by AND"),
        ("state = RUNNING OR state = PAUSED", "only by AND"),
        ("label = a*|b", "with and without a final *"),
        ('label = "open', "cannot be read from"),
        ("AND", "'AND' is not a field"),
        ("(state = RUNNING)", "cannot be read from"),
        ("label = " + "x" * MAX_BYTES, "is longer than"),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        selection_in(text)
    assert caught.value.field == "filter"
    assert problem in caught.value.problem


@given(st.text(alphabet='statelb =!<>|"\\*AND:0', max_size=30) | st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        selection_in(text).holds(JOB)
        order_in(text)
    except InvalidRequest:
        pass


def test_a_watch_knows_no_times() -> None:
    assert selection_in("state = RUNNING AND label = x AND type = import", WATCHABLE) != EVERY
    with pytest.raises(InvalidRequest, match=r"the fields are state, type, label, owner, shared$"):
        selection_in("update_time > 2026-01-01", WATCHABLE)


def test_orders() -> None:
    assert order_in(" ") == NEWEST_FIRST == order_in("create_time desc")
    assert order_in("label") == order_in("label asc") == Order(field=Field.LABEL, descending=False)
    assert order_in("end_time  desc").descending
    for text in ("name", "label down", "label, state", "desc"):
        with pytest.raises(InvalidRequest, match="create_time"):
            order_in(text)


def test_times_without_a_zone_are_of_utc() -> None:
    (condition,) = selection_in("create_time > 2026-01-01T10:00:00").conditions
    assert condition.values == (datetime(2026, 1, 1, 10, tzinfo=UTC),)
