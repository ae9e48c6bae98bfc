"""A table that another session locks: the error names the session, and an abandoned job leaves no waiting session."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import psycopg
import pytest

from ladingd.core.errors import TargetBusy
from ladingd.core.origin import Origin, working_for
from ladingd.core.spec import Table
from ladingd.data.databases.postgres import backends, session
from ladingd.data.databases.postgres.row_source import PostgresSource
from ladingd.data.databases.postgres.session import close_idle, connected
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.data.databases.postgres.conftest import Quay

JOB = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
WAITING = (
    f"SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'ladingd {JOB}/%' AND wait_event_type = 'Lock'"
)
WAITER = """
import sys
from psycopg import sql
from ladingd.core.origin import Origin, working_for
from ladingd.data.databases.postgres.session import Address, connected
with working_for(Origin(uid=sys.argv[2], attempt=int(sys.argv[3]))):
    with connected(Address(name="quay", url=sys.argv[1])) as session:
        session.run("SET LOCAL lock_timeout = 0")
        session.run("LOCK TABLE t IN ROW EXCLUSIVE MODE")
"""


@contextmanager
def locked(quay: Quay) -> Iterator[int]:
    """Another session locks the table. Yields its pid."""
    with psycopg.connect(quay.url, application_name="the warehouse") as connection:
        connection.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        yield connection.info.backend_pid


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LOCK", "_BEGIN_READING", "_BEGIN_BRIEF"):
        monkeypatch.setattr(session, name, getattr(session, name).replace("'3s'", "'100ms'"))


def test_a_chunk_gives_up_and_names_who_has_locked_the_table(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int)")
    quay.write({"id": [1]})
    holder = (
        r"session {} \(user postgres, application the warehouse, in a transaction since .* UTC, last statement LOCK\)"
    )
    with locked(quay) as pid, pytest.raises(TargetBusy, match=f'table "public"."t" is locked by {holder.format(pid)}'):
        quay.write({"id": [2]}, ordinal=1)
    quay.write({"id": [2]}, ordinal=1)
    assert quay.sql("SELECT id FROM t") == [(1,), (2,)]


def test_an_insert_behind_somebody_who_waits_for_the_table_names_that_session(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int)")
    quay.write({"id": [1]})
    alter = [sys.executable, "-c", f"import psycopg; psycopg.connect({quay.url!r}).execute('ALTER TABLE t ADD b int')"]
    with psycopg.connect(quay.url) as reader:
        reader.execute("SELECT * FROM t")
        with subprocess.Popen(alter) as waiter:
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
            until(lambda: quay.sql(waits) == [(1,)], "somebody waits for the table")
            with pytest.raises(TargetBusy, match=r"is waited for by session .*last statement ALTER"):
                quay.write({"id": [2]}, ordinal=1)
            reader.rollback()
            waiter.wait(30)


def test_whoever_plans_is_answered_within_seconds(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int)")
    with locked(quay) as pid:
        begin = monotonic()
        assert quay.target.table(Table(table="t")) is not None  # An import needs the catalog only.
        with pytest.raises(TargetBusy, match=f"is locked by session {pid} "):
            PostgresSource(address=quay.target.address).inspect(Table(table="t"))
        assert monotonic() - begin < 10


def test_sessions_bear_the_name_of_job_and_attempt(quay: Quay) -> None:
    name = "SELECT current_setting('application_name')"
    for uid, attempt in ((JOB, 2**31 - 1), ("", 0), (JOB, 3)):
        wanted = f"ladingd {JOB}/{attempt}" if uid else "ladingd"
        assert len(wanted) <= 63
        with working_for(Origin(uid=uid, attempt=attempt)), connected(quay.target.address) as opened:
            assert opened.rows(name) == [(wanted,)]


@pytest.mark.parametrize("way", ["committed", "begin", "discard", "export"])
def test_what_a_killed_worker_has_left_in_the_server_is_ended(quay: Quay, way: str) -> None:
    quay.sql("CREATE TABLE t (id int)")
    plan = quay.plan(["id"])
    quay.target.begin(JOB, 1, plan)
    with locked(quay):
        # Servers before version 14 do not check their clients.
        code = WAITER.replace("SET LOCAL", "SET client_connection_check_interval = 0; SET LOCAL")
        workers = [subprocess.Popen([sys.executable, "-c", code, quay.url, JOB, attempt]) for attempt in ("1", "2")]
        try:
            until(lambda: quay.sql(WAITING) == [(2,)], "the workers wait for the lock")
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        assert quay.sql(WAITING) == [(2,)], "the server goes on without them"
        if way == "discard":
            quay.target.discard(JOB)
        elif way == "export":
            PostgresSource(address=quay.target.address).end_sessions(JOB, 3)
        else:
            quay.target.committed(JOB, 2)
            assert quay.sql(WAITING) == [(1,)], "a later attempt may be at work"
            with working_for(Origin(uid=JOB, attempt=2)):  # This is the asking session itself.
                quay.target.committed(JOB, 2) if way == "committed" else quay.target.begin(JOB, 2, plan)
        assert quay.sql(WAITING) == [(0,)]


def test_a_server_ends_what_works_for_a_process_that_is_gone(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int)")
    with locked(quay):
        with subprocess.Popen([sys.executable, "-c", WAITER, quay.url, JOB, "1"]) as worker:
            until(lambda: quay.sql(WAITING) == [(1,)], "the worker waits for the lock")
            worker.kill()
        until(lambda: quay.sql(WAITING) == [(0,)], "the server has noticed")


def test_sessions_that_do_not_end_are_said_to_be_there(quay: Quay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "GONE_SECONDS", 0.1)
    monkeypatch.setattr(backends, "_TERMINATE", "SELECT %s")
    quay.sql("CREATE TABLE t (id int)")
    with working_for(Origin(uid=JOB, attempt=1)), connected(quay.target.address) as left:
        left.rows("SELECT 1")
        with working_for(Origin()), pytest.raises(TargetBusy, match=r"sessions of this job do not end: [0-9]+"):
            quay.target.committed(JOB, 2)
    close_idle()


def test_a_chunk_behind_an_uncommitted_key_gives_up_too(quay: Quay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_SETTINGS", [*session._SETTINGS, "SET lock_timeout = '100ms'"])
    monkeypatch.setattr(session, "_LOCK", "LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
    close_idle()
    quay.sql("CREATE TABLE t (id int PRIMARY KEY)")
    with psycopg.connect(quay.url, application_name="the warehouse") as other:
        other.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(TargetBusy, match=r"is locked by session .* the warehouse, .* INSERT"):
            quay.write({"id": [1]})
    close_idle()
