"""Fixtures for the tests of ``data``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ladingd.core.bill import Counts
from ladingd.core.plan import Chunk, ExportPlan, ImportPlan
from ladingd.core.spec import ExportSpec, File, ImportSpec, Table
from ladingd.data.databases.connection import Connection
from ladingd.data.databases.sqlite.session import connected
from ladingd.data.storage.work_dir import WorkDir
from ladingd.data.transfer import BulkTransfer

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, kw_only=True)
class Yard:
    """A transfer with its own directory of files and database."""

    directory: Path
    transfer: BulkTransfer

    @property
    def database(self) -> Path:
        return self.directory / "target db.sqlite"

    @property
    def work_dir(self) -> WorkDir:
        return WorkDir(directory=self.directory / "work")

    def write(self, text: str | bytes, name: str = "in.csv") -> File:
        (self.directory / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return File(path=name)

    def sql(self, sql: str) -> list[tuple[object, ...]]:
        """Run a statement in the database and commit; return its rows."""
        with connected(self.database, create=True) as database:
            rows = database.rows(sql)
            database.commit()
            return rows

    def plan_import(self, text: str | bytes, table: str = "t", **spec: object) -> ImportPlan:
        wanted = ImportSpec(files=(self.write(text),), target=Table(table=table), **spec)  # type: ignore[arg-type]
        plan = self.transfer.plan(wanted)
        assert isinstance(plan, ImportPlan)
        return plan

    def plan_export(self, table: str = "t", path: str = "out.csv", **spec: object) -> ExportPlan:
        wanted = ExportSpec(source=Table(table=table), file=File(path=path), **spec)  # type: ignore[arg-type]
        plan = self.transfer.plan(wanted)
        assert isinstance(plan, ExportPlan)
        return plan

    def chunks(
        self, plan: ImportPlan | ExportPlan, phase: int = 0, last: Chunk | None = None, job_id: str = "job"
    ) -> list[Chunk]:
        """The chunks of a phase. ``last`` is the last one of the phases before it."""
        chunks: list[Chunk] = []
        while more := self.transfer.cut(job_id, plan, chunks[-1] if chunks else last, 3, phase):
            chunks += more
        return chunks

    def run(self, plan: ImportPlan | ExportPlan, job_id: str = "job", attempt: int = 1) -> Counts:
        """Run the whole job."""
        self.transfer.begin(job_id, attempt, plan)
        counts, chunks, last = Counts(), self.chunks(plan, job_id=job_id), None
        for phase in range(len(plan.phases)):
            if phase:
                self.transfer.advance(job_id, attempt, plan, phase, chunks)
                chunks = self.chunks(plan, phase, last, job_id)
            counts = sum((self.transfer.process(job_id, attempt, plan, chunk) for chunk in chunks), counts)
            last = chunks[-1] if chunks else last
        self.transfer.finish(job_id, plan, chunks)
        return counts


@pytest.fixture
def make_yard() -> Callable[[Path], Yard]:
    """Make a yard in a directory."""

    def make(directory: Path) -> Yard:
        connection = Connection(name="local", url=f"sqlite://{directory}/target db.sqlite")
        transfer = BulkTransfer(
            connections={"local": connection},
            roots={"local": directory},
            work_dir=WorkDir(directory=directory / "work"),
        )
        return Yard(directory=directory, transfer=transfer)

    return make


@pytest.fixture
def yard(tmp_path: Path, make_yard: Callable[[Path], Yard]) -> Yard:
    """A yard for this test."""
    return make_yard(tmp_path)
