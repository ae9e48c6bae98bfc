"""One chunk, exactly once."""

from __future__ import annotations

import pickle
import threading
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from time import monotonic
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
import pyarrow as pa
import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import InvalidSpec, TargetChanged, TargetRefused, TargetUnavailable
from ladingd.core.plan import Chunk
from ladingd.core.spec import Table
from ladingd.data.databases.postgres.session import Address, Session
from ladingd.data.databases.postgres.target import PostgresTarget
from ladingd.data.storage.work_dir import WorkDir

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.data.databases.postgres.conftest import Quay

EVERYTHING = """
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE DOMAIN few AS integer CHECK (VALUE < 10);
CREATE TABLE t (a smallint, b integer, c bigint, d numeric(10,2), e real, f double precision, g boolean, h date,
    i time, j timestamp, k timestamptz, l text, m varchar(5), n char(3), o uuid, p json, q jsonb, r bytea, s mood,
    u few)
"""
VALUES = {
    "a": 1,
    "b": 2,
    "c": 3,
    "d": Decimal("-4.05"),
    "e": 1.5,
    "f": 0.1,
    "g": True,
    "h": date(2024, 2, 29),
    "i": time(1, 2, 3, 4),
    "j": datetime(1899, 12, 31, 23, 59, 59, 5),
    "k": datetime(2024, 1, 1, 12, tzinfo=UTC),
    "l": "Zoë\n\t\\",
    "m": "five5",
    "n": "abc",
    "o": UUID(int=7).bytes,
    "p": '{"x": 1}',
    "q": "[1, 2]",
    "r": b"\x00\xff",
    "s": "glad",
    "u": 9,
}


def test_values_of_every_type_arrive_by_binary_copy(quay: Quay) -> None:
    quay.sql(EVERYTHING)
    counts = quay.write({name: [value, None] for name, value in VALUES.items()})
    assert counts == Counts(read=2, inserted=2)
    full, nulls = quay.sql("SELECT * FROM t")
    expected = VALUES | {"o": UUID(int=7), "p": {"x": 1}, "q": [1, 2]}
    assert dict(zip(VALUES, full, strict=True)) == expected
    assert set(nulls) == {None}


def test_the_server_reads_what_comes_as_text(quay: Quay) -> None:
    quay.sql("CREATE DOMAIN short AS varchar(3)")
    quay.sql(
        "CREATE TABLE t (id int PRIMARY KEY, n numeric, a integer[], i interval, o uuid, v short[], s short, d date)"
    )
    text = pa.string()
    columns = {
        "id": pa.array([1, 2, 3, 4], pa.int64()),
        "n": pa.array(["1.23456789012345678901234567890123456789012345", "x", "3", "4"], text),
        "a": pa.array(["{1,NULL,3}", None, "{1,", "{}"], text),
        "i": pa.array(["1 day 2 hours", None, None, "P1Y"], text),
        "o": pa.array([str(UUID(int=7)), None, None, None], text),
        "v": pa.array(["{abc}", None, None, None], text),
        "s": pa.array(["abc", None, None, "abcd"], text),
        "d": pa.array(["2024-02-29", None, None, None], text),
    }
    assert quay.write(columns) == Counts(read=4, inserted=1, rejected=3, errors=3)
    assert quay.sql("SELECT id, length(n::text), a, i::text, o, d::text FROM t") == [
        (1, 46, [1, None, 3], "1 day 02:00:00", UUID(int=7), "2024-02-29")
    ]
    assert quay.codes == [
        (1, "INVALID_VALUE", "s_n", "x"),
        (2, "INVALID_VALUE", "s_a", "{1,"),
        (3, "TOO_LONG", "s_s", "abcd"),
    ]


def test_the_table_is_made_of_the_plan(quay: Quay) -> None:
    types = {"id": "integer", "amount": "decimal(10,2)", "at": "timestamp", "x y": "text"}
    plan = quay.plan(list(types), create=True, types=types)
    quay.target.begin("job", 1, plan)
    quay.target.begin("job", 1, plan)
    found = quay.sql(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 't'::regclass AND attnum > 0"
    )
    assert dict(found) == {
        "id": "bigint",
        "amount": "numeric(10,2)",
        "at": "timestamp without time zone",
        "x y": "text",
    }


@pytest.mark.parametrize("happened", [True, False])
def test_a_lost_answer_to_commit_is_settled_from_the_ledger(
    quay: Quay, monkeypatch: pytest.MonkeyPatch, *, happened: bool
) -> None:
    quay.sql("CREATE TABLE t (id int)")
    plan = quay.plan(["id"])
    quay.target.begin("job", 1, plan)
    chunk = Chunk(ordinal=0, start=0, end=0, records=1)
    batch = quay.batch(plan, chunk, {"id": pa.array([1], pa.int32())})
    commit = Session.commit

    def lose(session: Session) -> None:
        if happened:
            session.run("COMMIT")
        quay.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'ladingd'")
        commit(session)

    monkeypatch.setattr(Session, "commit", lose)
    if happened:
        assert quay.put(plan, chunk, batch) == Counts(read=1, inserted=1)
    else:
        with pytest.raises(TargetUnavailable, match="lost while a chunk was committed"):
            quay.put(plan, chunk, batch)
    assert quay.sql("SELECT count(*) FROM t") == [(int(happened),)]


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int)")
    quay.write({"id": [1]})
    closed = quay.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'ladingd'")
    assert closed == [(True,)]
    quay.write({"id": [2]}, ordinal=1)
    assert quay.sql("SELECT id FROM t") == [(1,), (2,)]


def test_a_table_that_changed_meanwhile_is_looked_at_again(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int)")
    quay.write({"id": [1]})
    plan = quay.plan(["id"])
    quay.sql("ALTER TABLE t ALTER id TYPE real")  # as wide as an integer: COPY itself would notice nothing
    chunk = Chunk(ordinal=1, start=0, end=0, records=1)
    batch = quay.batch(plan, chunk, {"id": pa.array([2], pa.int32())})
    quay.put(plan, chunk, batch)
    assert quay.sql("SELECT id FROM t") == [(1,), (2,)]
    quay.sql("DROP TABLE t")
    with pytest.raises(TargetChanged, match="no table t"):
        quay.put(plan, Chunk(ordinal=2, start=0, end=0, records=1), batch)


def test_an_account_without_rights_is_told_what_an_administrator_can_run(quay: Quay) -> None:
    quay.sql("DROP ROLE IF EXISTS stevedore")
    quay.sql("CREATE TABLE t (id int); CREATE ROLE stevedore LOGIN; GRANT INSERT ON t TO stevedore")
    url = quay.url.replace("//postgres:", "//stevedore:")
    assert url != quay.url
    plan = quay.plan(["id"])
    quay.target = replace(quay.target, address=Address(name="quay", url=url))
    with pytest.raises(InvalidSpec, match="an administrator can run: "):
        quay.target.table(Table(table="t"))
    with pytest.raises(TargetRefused, match="an administrator can run: ") as refused:
        quay.target.begin("job", 1, plan)
    quay.sql(refused.value.message.split("an administrator can run: ")[1])
    quay.write({"id": [1]})
    assert quay.sql("SELECT id FROM t") == [(1,)]
    quay.sql("DROP OWNED BY stevedore; DROP ROLE stevedore")


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("postgresql://lading:s3cret@127.0.0.1:1/x", TargetUnavailable),
        ("postgresql://lading:s3cret@[broken/x", TargetRefused),
    ],
)
def test_no_secret_is_ever_shown(tmp_path: Path, url: str, error: type[Exception]) -> None:
    target = PostgresTarget(
        address=Address(name="quay", url=url, password="t0p-secret"), work_dir=WorkDir(directory=tmp_path)
    )
    with pytest.raises(error) as raised:
        target.committed("job", 1)
    shown = repr(target) + repr(raised.value) + str(raised.value.__cause__)
    assert "s3cret" not in shown
    assert "t0p-secret" not in shown
    assert pickle.loads(pickle.dumps(target)) == target


def test_a_missing_database_is_refused(quay: Quay) -> None:
    target = replace(quay.target, address=Address(name="quay", url=quay.url.replace("/quay_", "/nowhere_")))
    with pytest.raises(TargetRefused, match="does not exist"):
        target.committed("job", 1)


def test_a_deadlock_is_done_anew(quay: Quay, monkeypatch: pytest.MonkeyPatch) -> None:
    quay.sql("CREATE TABLE t (id int)")
    count = 0
    commit = Session.commit

    def conflict(session: Session) -> None:
        nonlocal count
        count += 1
        if count == 2:  # the first one is begin's
            raise psycopg.errors.DeadlockDetected("deadlock detected")
        commit(session)

    monkeypatch.setattr(Session, "commit", conflict)
    assert quay.write({"id": [1]}) == Counts(read=1, inserted=1)
    assert (count, quay.sql("SELECT id FROM t")) == (3, [(1,)])


def test_two_writers_of_one_chunk_write_it_once(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int)")
    plan = quay.plan(["id"])
    quay.target.begin("job", 1, plan)
    chunk = Chunk(ordinal=0, start=0, end=0, records=2)
    batch = quay.batch(plan, chunk, {"id": pa.array([1, 2], pa.int32())})
    answers: list[Counts] = []
    second = threading.Thread(
        target=lambda: answers.append(quay.target.write("job", 1, plan, chunk, batch, lambda _: pytest.fail("twice")))
    )

    def meanwhile(_: object) -> None:
        second.start()
        deadline = monotonic() + 20
        while not quay.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%ledger%'"):
            assert monotonic() < deadline

    answers.append(quay.target.write("job", 1, plan, chunk, batch, meanwhile))
    second.join(20)
    assert answers == [Counts(read=2, inserted=2)] * 2
    assert quay.sql("SELECT count(*) FROM t") == [(2,)]


def test_chunks_that_lock_each_other_out_are_done_anew(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY)")
    plan = quay.plan(["id"])
    quay.target.begin("job", 1, plan)
    numbers = list(range(20_000))
    answers: list[Counts] = []

    def write(ordinal: int, ids: list[int]) -> None:
        chunk = Chunk(ordinal=ordinal, start=0, end=0, records=len(ids))
        batch = quay.batch(plan, chunk, {"id": pa.array(ids, pa.int32())})
        answers.append(quay.target.write("job", 1, plan, chunk, batch, lambda _: None))

    threads = [
        threading.Thread(target=write, args=(ordinal, ids)) for ordinal, ids in enumerate((numbers, numbers[::-1]))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers[0] + answers[1] == Counts(read=40_000, inserted=20_000, rejected=20_000, errors=20_000)
    assert quay.sql("SELECT count(*) FROM t") == [(20_000,)]
