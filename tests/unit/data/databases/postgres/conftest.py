"""A separate database for each test, and short ways to write chunks into it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from ladingd.core.plan import Chunk, Column, Fingerprint, ImportPlan, PlannedFile
from ladingd.core.spec import File, Table
from ladingd.data.databases.postgres.catalog import TableShape, read_shape
from ladingd.data.databases.postgres.session import Address, close_idle, connected
from ladingd.data.databases.postgres.snapshots import let_go
from ladingd.data.databases.postgres.target import PostgresTarget
from ladingd.data.databases.target import ReadingsOutdated
from ladingd.data.formats.csv.dialect import Dialect
from ladingd.data.formats.lines import OneRecord
from ladingd.data.mapping.batch import Batch
from ladingd.data.rejects.fault import Fault, Faults
from ladingd.data.storage.work_dir import WorkDir

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ladingd.core.bill import Counts


@dataclass(kw_only=True)
class Quay:
    """A database, and the target that writes into its table ``t``."""

    url: str
    target: PostgresTarget
    faults: list[Fault] = field(default_factory=list)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Run statements beside the target, and commit."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql.SQL(query))
            return cursor.fetchall() if cursor.description else []

    def shape(self, table: str = "t", schema: str = "") -> TableShape:
        with connected(self.target.address) as session:
            shape = read_shape(session, Table(schema=schema, table=table))
        assert shape is not None
        return shape

    def plan(
        self, columns: Sequence[str], *, create: bool = False, types: Mapping[str, str] | None = None
    ) -> ImportPlan:
        table = None if create else self.target.table(Table(table="t"))
        required = {column.name for column in table.columns if not column.nullable} if table else set()
        return ImportPlan(
            files=(
                PlannedFile(
                    name="in.csv",
                    location=File(path="in.csv"),
                    fingerprint=Fingerprint(size=0, head="", tail=""),
                    layout=Dialect(delimiter=",", quote='"').layout(),
                    start=0,
                    end=0,
                    first_line=2,
                ),
            ),
            columns=tuple(
                Column(
                    source=f"s_{name}", target=name, type=(types or {}).get(name, "text"), nullable=name not in required
                )
                for name in columns
            ),
            target=Table(connection="quay", table="t"),
            create_table=create,
            chunk_bytes=1,
        )

    def batch(self, plan: ImportPlan, chunk: Chunk, columns: Mapping[str, pa.Array]) -> Batch:
        records = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
        return Batch(
            plan=plan,
            chunk=chunk,
            records=records,
            indexes=np.arange(records.num_rows),
            origins=OneRecord(text=b"", line=1),
        )

    def write(self, columns: Mapping[str, Any], *, ordinal: int = 0, attempt: int = 1, job: str = "job") -> Counts:
        """Begin an attempt, and write a chunk of plain values or Arrow arrays. Keeps the faults."""
        types = {column.name: column.type.arrow for column in self.shape().columns}
        arrays = {
            name: values if isinstance(values, pa.Array) else pa.array(values, types[name])
            for name, values in columns.items()
        }
        plan = self.plan(list(columns))
        self.target.begin(job, attempt, plan)
        chunk = Chunk(ordinal=ordinal, start=0, end=0, records=len(next(iter(arrays.values()))))
        return self.put(plan, chunk, self.batch(plan, chunk, arrays), attempt=attempt, job=job)

    def put(self, plan: ImportPlan, chunk: Chunk, batch: Batch, *, attempt: int = 1, job: str = "job") -> Counts:
        """Write a batch. If the table has changed, the batch is written again: an import would make it anew."""
        try:
            return self.target.write(job, attempt, plan, chunk, batch, self.keep)
        except ReadingsOutdated:
            return self.target.write(job, attempt, plan, chunk, batch, self.keep)

    def keep(self, faults: Faults) -> None:
        self.faults = sorted(faults, key=lambda fault: fault.index)

    @property
    def codes(self) -> list[tuple[int, str, str, str]]:
        """The record, code, column and value of each fault."""
        return [(fault.index, fault.code, fault.column, fault.value) for fault in self.faults]


@pytest.fixture
def quay(postgres: str, tmp_path: Path) -> Iterator[Quay]:
    """A new database on the server of this run."""
    name = f"quay_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = postgres.replace("/postgres?", f"/{name}?")
    assert url != postgres
    yield Quay(
        url=url, target=PostgresTarget(address=Address(name="quay", url=url), work_dir=WorkDir(directory=tmp_path))
    )
    close_idle()
    let_go()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
