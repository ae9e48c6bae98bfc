"""A database file for each test, and a transfer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.core.bill import Counts
from ladingd.core.spec import CsvFormat, ExportSpec, File, Header, ImportSpec, Table
from ladingd.data.databases.connection import Connection
from ladingd.data.databases.duckdb.session import connected
from ladingd.data.storage.work_dir import WorkDir
from ladingd.data.transfer import BulkTransfer
from tests.harness.reject_files import rejects_in

if TYPE_CHECKING:
    from ladingd.core.plan import ExportPlan, ImportPlan


@dataclass(frozen=True, kw_only=True)
class Pond:
    """A DuckDB database and a directory of files."""

    directory: Path
    path: Path

    @property
    def work_dir(self) -> WorkDir:
        return WorkDir(directory=self.directory / "work")

    @property
    def transfer(self) -> BulkTransfer:
        connection = Connection(name="pond", url=f"duckdb://{self.path}")
        return BulkTransfer(connections={"pond": connection}, roots={"local": self.directory}, work_dir=self.work_dir)

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements beside the product. Returns the rows of the last one."""
        with connected(self.path, self.work_dir, create=True) as database:
            return [database.rows(statement) for statement in statements][-1]

    def run(self, plan: ImportPlan | ExportPlan, job: str) -> Counts:
        """Run a whole job."""
        self.transfer.begin(job, 1, plan)
        chunks = list(self.transfer.cut("job", plan, None, 100))
        counts = sum((self.transfer.process(job, 1, plan, chunk) for chunk in chunks), Counts())
        self.transfer.finish(job, plan, chunks)
        return counts

    def load(self, text: str, table: str = "t", job: str = "load") -> Counts:
        """Import a file."""
        (self.directory / "in.csv").write_text(text)
        target, csv = Table(connection="pond", table=table), CsvFormat(header=Header.PRESENT)
        return self.run(self.transfer.plan(ImportSpec(files=(File(path="in.csv"),), target=target, csv=csv)), job)

    def export(self, table: str = "t", path: str = "out.csv", job: str = "export") -> str:
        """Export a table."""
        source = Table(connection="pond", table=table)
        self.run(self.transfer.plan(ExportSpec(source=source, file=File(path=path))), job)
        return (self.directory / path).read_text()

    def rejects(self, job: str = "load") -> list[tuple[int, str, str, str]]:
        """The line, the code, the column and the value of each reject."""
        directory = self.directory / "work" / "jobs" / job / "rejects"
        found = rejects_in(directory)
        return [(one["line"], one["code"], one["column"], one["value"]) for one in found]


@pytest.fixture
def pond(tmp_path: Path) -> Pond:
    return Pond(directory=tmp_path, path=tmp_path / "pond.duckdb")
