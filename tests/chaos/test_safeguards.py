"""With a safeguard switched off, the harness must find the resulting error. This proves that its tests can fail."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import AttemptSuperseded
from ladingd.core.plan import Chunk, ImportPlan
from ladingd.core.spec import File, ImportSpec, Table
from ladingd.data.databases.connection import Connection
from ladingd.data.databases.postgres import target as postgres_target
from ladingd.data.databases.postgres import transaction as postgres_transaction
from ladingd.data.databases.postgres.ledger import Ledger
from ladingd.data.databases.postgres.session import close_idle
from ladingd.data.databases.registry import target_of
from ladingd.data.databases.sqlite import ledger
from ladingd.data.databases.target import Target
from ladingd.data.files.roots import open_source
from ladingd.data.formats.registry import format_of
from ladingd.data.imports.importer import TableImport
from ladingd.data.mapping.compiled import CompiledMapping
from ladingd.data.storage.work_dir import WorkDir
from tests.chaos.changes import Change
from tests.chaos.database import Database, PostgresServer, SqliteFile
from tests.chaos.failpoint import Action, Moment, Switch
from tests.chaos.outcome import Difference
from tests.chaos.striking import CHUNKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ladingd.core.bill import Counts
    from ladingd.data.rejects.fault import Faults
    from tests.chaos.trial import Trial


async def test_without_the_ledger_records_are_doubled(trial: Trial) -> None:
    undisturbed = await trial.undisturbed(CHUNKS)
    trial.failpoints.switch_off(Switch.LEDGER)
    trial.failpoints.arm(Moment.AFTER_COMMIT, Action.KILL, passing=4)
    outcome = await trial.finish(await trial.begin(CHUNKS))
    assert trial.failpoints.strikes()
    assert (outcome.rows - undisturbed.rows).total() > 0
    assert (outcome.rejects - undisturbed.rejects).total() > 0, "records whose codes they have taken themselves"
    assert Difference.between(undisturbed, outcome).doubled


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One attempt of a job, with the file's content at the attempt's beginning."""

    dock: Dock
    number: int
    plan: ImportPlan
    chunks: Sequence[Chunk]

    def process(self) -> None:
        """Import the whole file."""
        for chunk in self.chunks:
            self.dock.transfer.process(self.dock.uid, self.number, self.plan, chunk)

    def read(self, ordinal: int) -> Callable[[], Counts]:
        """Read a chunk, like a worker that is suspended then. Returns a function that continues it."""
        target, chunk = self.dock.target, self.chunks[ordinal]
        with open_source(self.dock.transfer.roots, {}, self.plan.file.location) as source:
            piece = format_of(self.plan.file.layout).read(source, self.plan, chunk)
        batch = CompiledMapping.of(self.plan, target.readings(self.plan)).apply(piece, chunk)

        def keep(faults: Faults) -> None:
            assert not faults

        return partial(target.write, self.dock.uid, self.number, self.plan, chunk, batch, keep)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dock:
    """A file, a table, and the import of the file into the table."""

    uid: str
    database: Database
    target: Target
    transfer: TableImport
    table: str
    file: Path

    def begin(self, number: int, names: Sequence[str]) -> Attempt:
        """Write these records to the file, two per chunk, and begin an attempt to import them."""
        self.file.write_text("id,code,weight,name\n" + "".join(f"1,,1,{name}\n" for name in names))
        spec = ImportSpec(
            files=(File(path=str(self.file).lstrip("/")),),
            target=Table(connection="target", table=self.table),
            chunk_bytes=2 * len(f"1,,1,{names[0]}\n"),
        )
        plan = self.transfer.plan(spec)
        assert self.transfer.begin(self.uid, number, plan) == ()
        return Attempt(dock=self, number=number, plan=plan, chunks=self.transfer.cut(self.uid, plan, None, 10))

    @property
    def names(self) -> list[str]:
        """The imported names."""
        return sorted(name for _, code, _, name in self.database.rows(self.table) if code is None)


@pytest.fixture(params=["sqlite", "postgres"])
def dock(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Dock]:
    database: Database
    if request.param == "sqlite":
        database = SqliteFile(tmp_path / "target.db")
    else:
        database = PostgresServer(request.getfixturevalue("server"))
    table = f"dock_{uuid.uuid4().hex}"
    database.make_table(table, Change.INSERT, 0)
    connection, work_dir = Connection(name="target", url=database.url), WorkDir(directory=tmp_path)
    yield Dock(
        uid=uuid.uuid4().hex,
        database=database,
        target=target_of(connection, work_dir),
        transfer=TableImport(
            connections={"target": connection}, roots={"local": Path("/")}, own_files={}, work_dir=work_dir
        ),
        table=table,
        file=tmp_path / "in.csv",
    )
    close_idle()


@pytest.fixture
def attempt_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch off the check of the current attempt."""
    monkeypatch.setattr(Ledger, "check_attempt", lambda *_: None)
    monkeypatch.setattr(ledger, "check_attempt", lambda *_: None)


OLD = ["old-1", "old-2", "old-3", "old-4"]
NEW = ["new-1", "new-2", "new-3", "new-4"]


def test_a_worker_of_an_earlier_attempt_is_refused(dock: Dock) -> None:
    go_on = dock.begin(1, OLD).read(0)
    second = dock.begin(2, NEW)
    with pytest.raises(AttemptSuperseded):
        go_on()
    second.process()
    assert dock.names == NEW


@pytest.mark.usefixtures("attempt_unchecked")
def test_without_the_check_of_the_attempt_two_files_are_mixed(dock: Dock) -> None:
    """The file changed before anything was committed, so the job was planned again."""
    go_on = dock.begin(1, OLD).read(0)
    second = dock.begin(2, NEW)
    go_on()
    second.process()
    assert dock.names == ["new-3", "new-4", "old-1", "old-2"]


def test_a_worker_of_a_deleted_job_is_refused(dock: Dock) -> None:
    first = dock.begin(1, OLD)
    go_on = first.read(0)
    first.process()
    dock.transfer.discard(dock.uid, first.plan)
    with pytest.raises(AttemptSuperseded):
        go_on()
    assert dock.names == OLD


@pytest.mark.usefixtures("attempt_unchecked")
def test_without_the_check_of_the_attempt_a_deleted_job_doubles_records(
    dock: Dock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleting the job deleted its ledger entries, the only record of the committed chunk. PostgreSQL's check of the
    table also refuses a job without an entry, so it is switched off too."""
    for module in (postgres_target, postgres_transaction):
        monkeypatch.setattr(module, "recognise", lambda *_: None)
    first = dock.begin(1, OLD)
    go_on = first.read(0)
    first.process()
    dock.transfer.discard(dock.uid, first.plan)
    go_on()
    assert dock.names == ["old-1", "old-1", "old-2", "old-2", "old-3", "old-4"]
