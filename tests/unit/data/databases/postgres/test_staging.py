"""The staging of merges in PostgreSQL, whose tables a crash of the server empties."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ladingd.core.bill import Counts, total
from ladingd.core.errors import SourceChanged, SourceUnreadable, TargetChanged
from ladingd.core.spec import File, ImportSpec, Reconciliation, Table
from ladingd.data.databases.connection import Connection
from ladingd.data.databases.postgres.session import close_idle
from ladingd.data.storage.work_dir import WorkDir
from ladingd.data.transfer import BulkTransfer
from tests.harness.postgres import PostgresProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.unit.data.databases.postgres.conftest import Quay

_JOB = "job"
_RECORDS = 400
_UNLOGGED = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname LIKE 'stage job %' AND c.relpersistence = 'u' AND c.relkind = 'r'
"""


class Voyage:
    """A merge of several chunks into several slices, step by step."""

    def __init__(self, url: str, folder: Path) -> None:
        self.source = folder / "in.csv"
        lines = [f"{number % 300},{number}" for number in range(_RECORDS)]
        self.source.write_text("\n".join(["id,n", *lines, "x,1", ""]))
        self._transfer = BulkTransfer(
            connections={"quay": Connection(name="quay", url=url)},
            roots={"local": folder},
            work_dir=WorkDir(directory=folder / "work"),
        )
        spec = ImportSpec(
            files=(File(path="in.csv"),),
            target=Table(connection="quay", table="t"),
            reconciliation=Reconciliation(key=("id",)),
        )
        plan: Any = self._transfer.plan(spec)
        self._plan = replace(
            plan, chunk_bytes=500, merge=replace(plan.merge, slices=3, sliced_by=("id",), bounds=(50, 200))
        )
        self._counts: list[Counts] = []
        self._transfer.begin(_JOB, 1, self._plan)
        self._loads = self._transfer.cut(_JOB, self._plan, None, 100)
        assert len(self._loads) > 3

    def begin_again(self) -> None:
        """Begin the next attempt."""
        self._transfer.begin(_JOB, 2, self._plan)

    def load(self, first: int = 0, end: int | None = None) -> None:
        """Stage the chunks in this range."""
        self._counts += [self._transfer.process(_JOB, 1, self._plan, chunk) for chunk in self._loads[first:end]]

    def merge(self, between: Callable[[], None] = lambda: None) -> Counts:
        """Merge the slices, with something that happens after the first. Returns the bill."""
        self._transfer.advance(_JOB, 1, self._plan, 1, self._loads)
        chunks = self._transfer.cut(_JOB, self._plan, self._loads[-1], 100, 1)
        for chunk in chunks:
            self._counts.append(self._transfer.process(_JOB, 1, self._plan, chunk))
            if chunk is chunks[0]:
                between()
        self._transfer.finish(_JOB, self._plan, chunks)
        return total(self._counts)


@pytest.fixture(autouse=True)
def sessions() -> Iterator[None]:
    yield
    close_idle()


@pytest.fixture
def voyage(quay: Quay, tmp_path: Path) -> Voyage:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, n int)")
    return Voyage(quay.url, tmp_path)


def crash(quay: Quay) -> None:
    """Empty all unlogged tables of the job, as a crash of the server does."""
    for (name,) in quay.sql(_UNLOGGED):
        quay.sql(f"TRUNCATE {name}")


BILL = Counts(
    read=_RECORDS + 1, inserted=300, rejected=1, errors=1, ignored_doubles=100, doubles=100, pending=0, nulls={}
)
ROWS = [(number, number + 300 if number < 100 else number) for number in range(300)]


def right(quay: Quay, bill: Counts) -> None:
    assert bill == BILL
    assert quay.sql("SELECT * FROM t ORDER BY id") == ROWS
    assert not quay.sql(_UNLOGGED)


def test_the_tables_of_the_records_are_unlogged(quay: Quay, voyage: Voyage) -> None:
    assert len(quay.sql(_UNLOGGED)) == 3 + 1


def test_records_that_a_crash_takes_are_staged_again(quay: Quay, voyage: Voyage) -> None:
    voyage.load()
    crash(quay)
    right(quay, voyage.merge())


def test_only_the_records_before_the_crash_are_staged_again(quay: Quay, voyage: Voyage) -> None:
    voyage.load(end=2)
    crash(quay)
    voyage.load(first=2)
    right(quay, voyage.merge())


def test_a_crash_between_two_slices(quay: Quay, voyage: Voyage) -> None:
    voyage.load()
    right(quay, voyage.merge(lambda: crash(quay)))


def test_lost_records_of_a_file_that_has_changed_fail_the_job(quay: Quay, voyage: Voyage) -> None:
    voyage.load()

    def change() -> None:
        crash(quay)
        voyage.source.write_text(voyage.source.read_text().replace("250,250", "250,251"))

    with pytest.raises(SourceChanged, match=r"crash of the database .*in\.csv is not the file .*put the file back"):
        voyage.merge(change)
    assert quay.sql("SELECT max(id) FROM t") == [(200,)], "the slices without the changed chunk are merged"


def test_lost_records_of_a_file_that_is_gone_fail_the_job(quay: Quay, voyage: Voyage) -> None:
    voyage.load()

    def remove() -> None:
        crash(quay)
        voyage.source.unlink()

    with pytest.raises(SourceUnreadable, match=r"crash of the database .*put the file back"):
        voyage.merge(remove)


def test_records_that_an_older_version_has_staged_are_not_merged(quay: Quay, voyage: Voyage) -> None:
    voyage.load()
    voyage.begin_again()
    quay.sql('DROP TABLE lading."stage job staged", lading."stage job present"')
    with pytest.raises(TargetChanged, match=r"another version of the daemon has staged them.*lading clone"):
        voyage.begin_again()


def test_a_server_that_is_killed(tmp_path: Path) -> None:
    server = PostgresProcess(tmp_path)
    server.start()
    try:
        with psycopg.connect(server.url, autocommit=True) as session:
            session.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
        voyage = Voyage(server.url, tmp_path)
        voyage.load()
        server.kill()
        close_idle()
        server.start()
        assert voyage.merge() == BILL
        with psycopg.connect(server.url) as session:
            assert session.execute("SELECT * FROM t ORDER BY id").fetchall() == ROWS
    finally:
        close_idle()
        server.clean_up()
