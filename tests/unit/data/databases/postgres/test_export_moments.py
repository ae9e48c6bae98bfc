"""An exported file shows one moment of a PostgreSQL table, or the job says that it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import StartsOver
from ladingd.core.origin import Origin, working_for
from tests.unit.data.databases.postgres.test_export import make_ramp, numbers, ramp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ladingd.core.plan import Chunk, ExportPlan
    from tests.unit.data.databases.postgres.test_export import Ramp

__all__ = ["make_ramp", "ramp"]

ROWS = range(1, 101)
TABLE = "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t SELECT i, 'old' FROM generate_series(1, 100) i"
WRITE = "UPDATE t SET a = 'new'; DELETE FROM t WHERE id % 2 = 0; INSERT INTO t VALUES (1000, 'new')"
OLD = ["id,a", *(f"{row},old" for row in ROWS)]
HELD = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ladingd {}/1' AND state = 'idle in transaction'"
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ladingd {}/1'"


@pytest.fixture
def job() -> str:
    return f"job-{next(numbers)}"


@pytest.fixture(autouse=True)
def attempt(job: str) -> Iterator[None]:
    """The calls of a test belong to the first attempt."""
    with working_for(Origin(uid=job, attempt=1)):
        yield


def begun(ramp: Ramp, job: str, *, consistent: bool = False) -> tuple[ExportPlan, Sequence[Chunk]]:
    """The plan and the chunks of an export whose first chunk is done."""
    ramp.quay.sql(TABLE)
    plan = ramp.plan(chunk_keys=20, consistent=consistent)
    ramp.transfer.begin(job, 1, plan)
    chunks = ramp.transfer.cut("job", plan, None, 10)
    ramp.transfer.process(job, 1, plan, chunks[0])
    return plan, chunks


def finished(ramp: Ramp, job: str, plan: ExportPlan, chunks: Sequence[Chunk], attempt: int = 1) -> list[str]:
    """Finish the export. Returns the message for users, then the lines of the file."""
    for chunk in chunks:
        ramp.transfer.process(job, attempt, plan, chunk)
    (note,) = ramp.transfer.finish(job, plan, chunks)
    return [note.text, *(ramp.folder / plan.file.path).read_text().splitlines()]


def test_all_chunks_see_one_moment(ramp: Ramp, job: str) -> None:
    plan, chunks = begun(ramp, job)
    ramp.quay.sql(WRITE)
    note, *lines = finished(ramp, job, plan, chunks)
    assert note.startswith("all chunks see the table at one moment (")
    assert lines == OLD


def test_no_session_is_left_and_no_lock_is_held_between_chunks(ramp: Ramp, job: str) -> None:
    plan, chunks = begun(ramp, job)
    assert ramp.quay.sql(HELD.format(job)) == [(1,)]
    ramp.quay.sql("SET lock_timeout = '1s'; ALTER TABLE t ADD b int; ALTER TABLE t DROP b")
    finished(ramp, job, plan, chunks)
    assert ramp.quay.sql(HELD.format(job)) == [(0,)]


def test_a_later_attempt_says_that_there_are_two_moments(ramp: Ramp, job: str) -> None:
    plan, chunks = begun(ramp, job)
    ramp.quay.sql(WRITE)
    with working_for(Origin(uid=job, attempt=2)):
        ramp.transfer.begin(job, 2, plan)
        note, *lines = finished(ramp, job, plan, chunks, attempt=2)
    assert note.startswith("the chunks see the table at 2 moments (")
    assert "--consistent" in note
    assert lines[:21] == OLD[:21]
    assert lines[-1] == "1000,new"


def test_nothing_was_written_meanwhile(ramp: Ramp, job: str) -> None:
    plan, chunks = begun(ramp, job)
    with working_for(Origin(uid=job, attempt=2)):
        ramp.transfer.begin(job, 2, plan)
        note, *lines = finished(ramp, job, plan, chunks, attempt=2)
    assert note.startswith("all chunks see the table at one moment (")
    assert lines == OLD


def test_a_consistent_export_starts_over_instead(ramp: Ramp, job: str) -> None:
    plan, chunks = begun(ramp, job, consistent=True)
    ramp.quay.sql(WRITE)
    with working_for(Origin(uid=job, attempt=2)):
        with pytest.raises(StartsOver):
            ramp.transfer.begin(job, 2, plan)
        ramp.transfer.discard(job, plan)
        assert ramp.transfer.begin(job, 2, plan) == ()
        note, *lines = finished(ramp, job, plan, chunks, attempt=2)
    assert note.startswith("all chunks see the table at one moment (")
    assert lines == ["id,a", *(f"{row},new" for row in ROWS if row % 2), "1000,new"]


@pytest.mark.parametrize("consistent", [False, True])
def test_a_snapshot_that_is_lost_in_the_middle(ramp: Ramp, job: str, consistent: bool) -> None:
    plan, chunks = begun(ramp, job, consistent=consistent)
    ramp.quay.sql(END.format(job))
    ramp.quay.sql(WRITE)
    if consistent:
        with pytest.raises(StartsOver, match="start the job again"):
            finished(ramp, job, plan, chunks)
    else:
        note, *lines = finished(ramp, job, plan, chunks)
        assert note.startswith("the chunks see the table at 2 moments (")
        assert lines[-1] == "1000,new"


def test_rows_that_were_truncated_and_loaded_anew_are_seen(ramp: Ramp, job: str) -> None:
    """An old snapshot sees neither the old rows, which are gone, nor the new ones."""
    plan, chunks = begun(ramp, job)
    ramp.quay.sql("TRUNCATE t; INSERT INTO t SELECT i, 'new' FROM generate_series(1, 100) i")
    note, *lines = finished(ramp, job, plan, chunks)
    assert note.startswith("the chunks see the table at 2 moments (")
    assert lines == [*OLD[:21], *(f"{row},new" for row in range(21, 101))]
