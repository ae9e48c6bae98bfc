"""A database and a directory, and jobs between them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ladingd.core.bill import total
from ladingd.core.spec import ExportSpec, File, ImportSpec, Table
from ladingd.data.transfer import BulkTransfer
from tests.contract.databases import TestDatabase
from tests.harness.reject_files import rejects_in


@dataclass(frozen=True, kw_only=True)
class Port:
    """Runs jobs with the table ``t`` of the connection ``harbour``."""

    database: TestDatabase
    directory: Path
    transfer: BulkTransfer

    def run(self, spec: ImportSpec | ExportSpec) -> tuple[int, int]:
        """Run a job. Returns how many records were written and rejected."""
        plan = self.transfer.plan(spec)
        self.transfer.begin("job", 1, plan)
        chunks: list[Any] = []
        while more := self.transfer.cut("job", plan, chunks[-1] if chunks else None, 3):
            chunks += more
        counts = total(self.transfer.process("job", 1, plan, chunk) for chunk in chunks)
        self.transfer.finish("job", plan, chunks)
        return counts.inserted, counts.rejected

    def load(self, name: str, **options: Any) -> tuple[int, int]:
        """Import a file. Returns how many records were written and rejected."""
        target = Table(connection="harbour", table="t")
        return self.run(ImportSpec(files=(File(path=name),), target=target, **options))

    def export(self, name: str, **options: Any) -> tuple[int, int]:
        """Export the table to a file. Returns the same."""
        source = Table(connection="harbour", table="t")
        return self.run(ExportSpec(source=source, file=File(path=name), **options))

    def rejects(self) -> list[dict[str, Any]]:
        """The rejected records."""
        return rejects_in(self.directory / "work" / "jobs" / "job" / "rejects")
