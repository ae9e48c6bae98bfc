"""Imports of CSV files into a table ``t`` of any database, for suites about the table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladingd.core.bill import Counts, total
from ladingd.core.plan import ImportPlan, Moment
from ladingd.core.spec import File, ImportSpec, Reconciliation, Table
from ladingd.data.rejects.files import RejectFiles
from ladingd.data.transfer import BulkTransfer
from tests.contract.databases import TestDatabase

if TYPE_CHECKING:
    from ladingd.core.plan import Chunk
    from ladingd.data.storage.work_dir import WorkDir

JOB = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
OTHER = "0b8f6c1e-5a53-4a39-9f0e-3d0f5c7d2b11"


def by(*key: str, **options: Any) -> dict[str, Any]:
    """What a spec says of a merge by a key."""
    return {"reconciliation": Reconciliation(key=key, **options)}


def merged(counts: Counts) -> dict[str, int]:
    """The counts of a merge that are not 0. They balance, and nothing is left staged."""
    assert counts.balances
    assert counts.pending == 0
    names = ("inserted", "updated", "deleted", "unchanged", "rejected", "ignored_doubles", "doubles", "duplicates")
    return {name: getattr(counts, name) for name in names if getattr(counts, name)}


@dataclass(kw_only=True)
class Pier:
    """A directory of files, and the transfer from there into a database."""

    database: TestDatabase
    directory: Path
    transfer: BulkTransfer
    files: int = 0
    """How many files there are."""

    @classmethod
    def of(cls, database: TestDatabase, directory: Path, work_dir: WorkDir) -> Pier:
        directory.mkdir()
        connections = {"harbour": replace(database.connection, hooks=True)}
        transfer = BulkTransfer(connections=connections, roots={"local": directory}, work_dir=work_dir)
        return cls(database=database, directory=directory, transfer=transfer)

    def spec(self, *texts: str, **options: Any) -> ImportSpec:
        """The import of files with these contents."""
        names = [f"in{self.files + number}.csv" for number, _ in enumerate(texts, 1)]
        self.files += len(texts)
        for name, text in zip(names, texts, strict=True):
            (self.directory / name).write_text(text)
        target = Table(connection="harbour", table="t")
        return ImportSpec(**{"files": tuple(File(path=name) for name in names), "target": target, **options})

    def plan(self, *texts: str, **options: Any) -> ImportPlan:
        plan = self.transfer.plan(self.spec(*texts, **options))
        assert isinstance(plan, ImportPlan)
        return plan

    def run(self, plan: ImportPlan, job: str = JOB, attempt: int = 1) -> Counts:
        """Do the rest of a job, or all of it."""
        for number, _ in enumerate(plan.before):
            self.transfer.run_hook(job, attempt, plan, Moment.BEFORE, number)
        if plan.added:
            self.transfer.add_columns(job, attempt, plan)
        self.transfer.begin(job, attempt, plan)
        chunks: list[Chunk] = []
        counts: list[Counts] = []
        for phase in range(len(plan.phases)):
            if phase:
                self.transfer.advance(job, attempt, plan, phase, chunks)
            previous = chunks[-1] if chunks else None
            chunks = [*self.transfer.cut(job, plan, previous, 1000, phase)]
            counts += [self.transfer.process(job, attempt, plan, chunk) for chunk in chunks]
        self.transfer.finish(job, plan, chunks)
        for number, _ in enumerate(plan.after):
            self.transfer.run_hook(job, attempt, plan, Moment.AFTER, number)
        return total(counts)

    def imported(self, *texts: str, **options: Any) -> Counts:
        return self.run(self.plan(*texts, **options))

    def rows(self, columns: str = "*", order: str = "1") -> list[tuple[Any, ...]]:
        return self.database.sql(f"SELECT {columns} FROM t ORDER BY {order}")

    async def rejects(self, job: str = JOB, chunks: int = 1) -> list[tuple[int, str, str]]:
        """The line, code and column of the rejects of a job."""
        page = await RejectFiles(self.transfer.work_dir).read(job, [*range(chunks)], size=1000)
        return [(reject.line, reject.code, reject.column) for reject in page.items]
