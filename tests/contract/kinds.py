"""One job of each kind for the suite of transfers, and what differs between the kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pytest

from ladingd.core.bill import Counts
from ladingd.core.plan import Column
from ladingd.core.spec import ExportSpec, File, FixedWidthFormat, ImportSpec, Reconciliation, Table
from ladingd.data.files.roots import open_source
from ladingd.data.formats.format import Format
from tests.contract.databases import TestDatabase
from tests.contract.files import written

if TYPE_CHECKING:
    from ladingd.core.spec import JobSpec

Row = tuple[int, str]

ROWS: list[Row] = [(number, f"name {number}") for number in range(1, 7)]
"""What every job moves."""

_TABLE = Table(connection="harbour", table="t")

_OPTIONS: dict[str, dict[str, Any]] = {"fixed_width": {"fixed_width": FixedWidthFormat(widths="id=10,name=40")}}
"""What the specs of a format must say, by its name."""


@dataclass(frozen=True, kw_only=True)
class TestJob(ABC):
    """A job between a file in a directory and the table ``t`` of a database."""

    __test__ = False
    kind: ClassVar[str]
    """The kind of its spec and its plan."""
    counts: ClassVar[Counts]
    """What its bill says in the end."""
    source_is_fixed: ClassVar[bool]
    """Chunks are cut from what must not change. Otherwise rows may come and go between them."""
    reading: ClassVar[str]
    """The function that work on a chunk calls last before it writes."""
    steps: ClassVar[Sequence[str]]
    """Functions that work on a chunk calls to write, in order. Behind the last one the chunk is committed."""
    last_steps: ClassVar[Sequence[str]]
    """Functions that the end of the job calls, in order."""
    database: TestDatabase
    directory: Path
    format: Format

    @abstractmethod
    def prepare(self, rows: Sequence[Row] = ROWS) -> JobSpec:
        """Make a source with these rows and a target without. The spec cuts all rows into some chunks."""

    @abstractmethod
    def moved(self) -> list[Row]:
        """The rows that have arrived, in order of their numbers."""

    @abstractmethod
    def change_source(self) -> None:
        """Put another source of the same name and size into the place of the planned one."""

    @abstractmethod
    def lose_target(self) -> None:
        """Take away what the job has written, as somebody else might."""

    def _make_table(self) -> None:
        self.database.sql(f"CREATE TABLE t (id {self.database.key}, name VARCHAR(40))")

    @property
    def _options(self) -> dict[str, Any]:
        return _OPTIONS.get(self.format.name, {})

    def _path(self, name: str) -> Path:
        ending = next(iter(sorted(self.format.endings)), "txt")
        return self.directory / f"{name}.{ending}"


class ImportJob(TestJob):
    """The last record of its file has a key that is taken."""

    kind = "import"
    counts = Counts(read=7, inserted=6, rejected=1, errors=1)
    source_is_fixed = True
    reading = "ladingd.data.mapping.compiled.CompiledMapping.apply"
    steps = (
        "ladingd.data.imports.importer.write_rejects",
        "ladingd.data.databases.commit.ChunkCommit.run",
    )
    last_steps: ClassVar[Sequence[str]] = ("ladingd.data.files.fingerprint.check_chunks",)
    reconciliation = Reconciliation()

    def prepare(self, rows: Sequence[Row] = ROWS) -> JobSpec:
        self._make_table()
        columns = [Column(source=name, target=name, type=kind) for name, kind in (("id", "integer"), ("name", "text"))]
        path, records = self._path("in"), self._records(rows)
        layout = self.format.layout(ExportSpec(source=_TABLE, file=File(path=path.name), **self._options), columns)
        writer = self.format.writer(layout, columns)
        texts = [pa.array([str(row[place]) for row in records], pa.string()) for place in range(len(columns))]
        path.write_bytes(written(writer, texts))
        return ImportSpec(
            files=(File(path=path.name),),
            target=_TABLE,
            chunk_bytes=path.stat().st_size * 2 // 5,
            reconciliation=self.reconciliation,
            **self._options,
        )

    def _records(self, rows: Sequence[Row]) -> list[Row]:
        return [*rows, *rows[-1:]]

    def moved(self) -> list[Row]:
        return self.database.sql("SELECT id, name FROM t ORDER BY id")

    def change_source(self) -> None:
        path = self._path("in")
        path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))

    def lose_target(self) -> None:
        self.database.sql("DROP TABLE t")
        self._make_table()


class MergeJob(ImportJob):
    """The table has a row that is the same in the file, one that is not, and one that the file lacks. The file has a
    record twice, and its last record is one that the table refuses."""

    counts = Counts(
        read=8, inserted=4, updated=1, unchanged=1, rejected=1, errors=1, ignored_doubles=1, doubles=1, duplicates=2
    )
    last_steps = ()
    slice_steps = ("ladingd.data.imports.staged_chunks.write_rejects", *ImportJob.steps[1:])
    """The steps in which a slice is merged."""
    reconciliation = Reconciliation(key=("id",))

    def prepare(self, rows: Sequence[Row] = ROWS) -> JobSpec:
        spec = super().prepare(rows)
        if rows:
            self.database.sql("INSERT INTO t VALUES (2, 'name 2'), (3, 'old name'), (9, 'name 9')")
        return spec

    def moved(self) -> list[Row]:
        return [row for row in super().moved() if row != (9, "name 9")]

    def lose_target(self) -> None:
        self.database.sql("DROP TABLE t")

    def _records(self, rows: Sequence[Row]) -> list[Row]:
        return [*rows[:1], *rows, (8, "bad")] if rows else []

    def _make_table(self) -> None:
        self.database.sql(f"CREATE TABLE t (id {self.database.key}, name VARCHAR(40) CHECK (name <> 'bad'))")


class ExportJob(TestJob):
    """Its table has a key, so there are several chunks."""

    kind = "export"
    counts = Counts(read=6, inserted=6)
    source_is_fixed = False
    reading = "ladingd.data.exports.exporter.write_at_one_moment"
    steps = (
        "ladingd.data.exports.destination.Destination.put",
        "ladingd.data.exports.destination.Destination.sync",
        "ladingd.data.exports.ledger.Ledger.write",
    )
    last_steps = (
        "ladingd.data.exports.destination.Destination.complete",
        "ladingd.data.exports.destination.Destination.publish",
    )

    def prepare(self, rows: Sequence[Row] = ROWS) -> JobSpec:
        self._make_table()
        self._insert(rows)
        return ExportSpec(source=_TABLE, file=File(path=self._path("out").name), chunk_keys=2, **self._options)

    def moved(self) -> list[Row]:
        path = self._path("out")
        spec = ImportSpec(files=(File(path=path.name),), target=_TABLE, **self._options)
        with open_source({"local": self.directory}, {}, spec.files[0]) as source:
            outline = self.format.outline(source, source.size, spec, 2)
        assert list(outline.names) == ["id", "name"]
        ids, names = (column.to_pylist() for column in outline.columns)
        return sorted(zip(map(int, ids), names, strict=True))

    def change_source(self) -> None:
        # A table between them, as SQLite gives the place of a dropped table to the next one.
        self.database.sql("DROP TABLE t", "CREATE TABLE other (id INTEGER)")
        self._make_table()
        self._insert([(number, f"other {number}") for number, _ in ROWS])

    def lose_target(self) -> None:
        for draft in self.directory.glob(".*"):
            draft.unlink()

    def _insert(self, rows: Sequence[Row]) -> None:
        if rows:
            self.database.sql(f"INSERT INTO t VALUES {', '.join(map(str, rows))}")


JOBS: dict[str, type[TestJob]] = {"import": ImportJob, "merge": MergeJob, "export": ExportJob}
"""A job of each kind, and of each way of an import, by its name."""


def job_of(kind: str, **surroundings: object) -> TestJob:
    """A job of a kind. A kind that has none here fails the suite."""
    if kind not in JOBS:
        pytest.fail(f"tests/contract/kinds.py has no job of the kind {kind!r}")
    return JOBS[kind](**surroundings)
