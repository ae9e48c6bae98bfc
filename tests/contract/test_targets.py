"""The contract of targets, tested with every registered kind of database.

The failpoints are between the steps of the exactly-once protocol (`commit.py`), before and after each method of a
transaction. `tests/chaos` tests kills at these points.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import (
    AttemptSuperseded,
    BillImbalance,
    InvalidSpec,
    TargetChanged,
    TargetRefused,
    TargetUnavailable,
)
from ladingd.core.job import Connector
from ladingd.core.plan import Chunk, Column, CommittedChunk, ExportPlan, Fingerprint, ImportPlan, PlannedFile
from ladingd.core.spec import File, Table
from ladingd.data.databases.commit import CONFLICT_TRIES, ChunkCommit, Conflict, Merged, OutcomeUnknown, Transaction
from ladingd.data.databases.registry import source_of, target_of
from ladingd.data.databases.row_source import FIRST_KEY, LAST_KEY, RowSource
from ladingd.data.databases.target import ReadingsOutdated, Target
from ladingd.data.exports.rows import write_rows
from ladingd.data.formats.csv.dialect import Dialect
from ladingd.data.formats.format import Origins
from ladingd.data.mapping.batch import Batch
from ladingd.data.rejects.fault import Fault
from ladingd.data.values.types import Kind, parse
from tests.contract.databases import TestDatabase

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ladingd.data.databases.commit import Opening
    from ladingd.data.rejects.fault import Faults
    from ladingd.data.storage.work_dir import WorkDir
    from ladingd.data.values.positions import Positions

JOB = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
LAYOUT = Dialect(delimiter=",", quote='"').layout()
FIRST = Chunk(ordinal=0, start=0, end=1, records=3)


class Lines(Origins):
    """Records with known fields, one per line."""

    def __init__(self, columns: Sequence[pa.Array]) -> None:
        self._columns = columns

    def lines(self, records: Positions) -> Positions:
        return records + 2

    def raw(self, records: Positions) -> pa.Array:
        return pa.array(["raw"] * records.size)

    def texts(self, records: Positions, column: int) -> pa.Array:
        return self._columns[column].take(pa.array(records)).fill_null("")


@dataclass(kw_only=True)
class Dock:
    """Imports that use only the port. The rejects of each chunk are kept, like in a file."""

    database: TestDatabase
    target: Target
    source: RowSource
    rejects: dict[int, list[Fault]] = field(default_factory=dict)
    kept: int = 0
    """The number of times that rejects were kept."""

    def sql(self, *statements: str) -> list[tuple[object, ...]]:
        return self.database.sql(*(statement.format(key=self.database.key) for statement in statements))

    def plan(self, *names: str, table: str = "t") -> ImportPlan:
        """A plan for these columns of an existing table."""
        found = self.target.table(Table(connection="harbour", table=table))
        assert found is not None
        columns = {column.name: column for column in found.columns}
        return self._plan(
            [Column(source=f"s_{n}", target=n, type=str(columns[n].type), nullable=columns[n].nullable) for n in names],
            table,
        )

    def new_table(self, types: Mapping[str, str], table: str = "t") -> ImportPlan:
        """A plan for a table that the job creates."""
        assert self.target.table(Table(connection="harbour", table=table)) is None
        columns = [Column(source=f"s_{name}", target=name, type=kind) for name, kind in types.items()]
        return replace(self._plan(columns, table), create_table=True)

    def _plan(self, columns: Sequence[Column], table: str) -> ImportPlan:
        return ImportPlan(
            files=(
                PlannedFile(
                    name="in.csv",
                    location=File(path="in.csv"),
                    fingerprint=Fingerprint(size=0, head="", tail=""),
                    layout=LAYOUT,
                    start=0,
                    end=0,
                    first_line=2,
                ),
            ),
            columns=tuple(columns),
            target=Table(connection="harbour", table=table),
            create_table=False,
            chunk_bytes=1,
        )

    def batch(self, plan: ImportPlan, chunk: Chunk, records: Sequence[Sequence[str | None]]) -> Batch:
        """Records of text, converted to the target's values."""
        texts = [pa.array(column, pa.string()) for column in zip(*records, strict=True)]
        texts = texts or [pa.array([], pa.string()) for _ in plan.columns]
        readings = self.target.readings(plan)
        values = [reading.convert(column) for reading, column in zip(readings, texts, strict=True)]
        return Batch(
            plan=plan,
            chunk=replace(chunk, records=len(records)),
            records=pa.RecordBatch.from_arrays(values, names=[column.target for column in plan.columns]),
            indexes=np.arange(len(records)),
            origins=Lines(texts),
        )

    def write(
        self,
        plan: ImportPlan,
        *records: Sequence[str | None],
        chunk: Chunk = FIRST,
        attempt: int = 1,
        keep: Callable[[], None] = lambda: None,
    ) -> Counts:
        """Write a chunk of an attempt that has begun. ``keep`` is called when rejects are kept."""

        def keep_rejects(faults: Faults) -> None:
            self.kept += 1
            self.rejects[chunk.ordinal] = sorted(faults, key=lambda fault: fault.index)
            keep()

        batch = self.batch(plan, chunk, records)
        try:
            return self.target.write(JOB, attempt, plan, batch.chunk, batch, keep_rejects)
        except ReadingsOutdated:  # An import would make the batch anew.
            return self.target.write(JOB, attempt, plan, batch.chunk, batch, keep_rejects)

    def faults(self, chunk: Chunk = FIRST) -> list[tuple[int, str, str, str]]:
        """The record, code, column and value of each reject of a chunk."""
        assert all(fault.connector is Connector.DATABASE for fault in self.rejects[chunk.ordinal])
        return [(fault.index, fault.code, fault.column, fault.value) for fault in self.rejects[chunk.ordinal]]

    def count(self, table: str = "t") -> int:
        found = self.sql(f"SELECT count(*) FROM {table}")[0][0]
        assert isinstance(found, int)
        return found

    def exported(self, table: str = "t") -> list[str]:
        """The rows of a table as an export writes them."""
        found = self.source.inspect(Table(connection="harbour", table=table))
        plan = ExportPlan(
            source=Table(connection="harbour", table=table),
            columns=found.columns,
            key=found.key,
            file=File(path="out.csv"),
            layout=LAYOUT,
            overwrite=False,
            start=found.start,
            end=found.end,
            chunk_keys=1000,
            identity=found.identity,
        )
        file = io.BytesIO()
        write_rows(self.source, plan, Chunk(ordinal=0, start=FIRST_KEY, end=LAST_KEY), file)
        return file.getvalue().decode().splitlines()


@pytest.fixture
def dock(database: TestDatabase, work_dir: WorkDir) -> Dock:
    return Dock(
        database=database,
        target=target_of(database.connection, work_dir),
        source=source_of(database.connection, work_dir),
    )


Arm = Callable[[Callable[[str], None]], None]
"""Sets the function to call at each moment of every following chunk."""


class Strike(Exception):
    """An unexpected exception."""


class Struck(Transaction):
    """A transaction that calls a function at each moment of the protocol."""

    def __init__(self, transaction: Transaction, strike: Callable[[str], None]) -> None:
        self._transaction = transaction
        self._strike = strike

    def claim(self, job_uid: str, attempt: int, chunk: int) -> bool:
        with self._moments("claim"):
            return self._transaction.claim(job_uid, attempt, chunk)

    def check_attempt(self, job_uid: str, attempt: int) -> None:
        with self._moments("check_attempt"):
            self._transaction.check_attempt(job_uid, attempt)

    def entry(self, job_uid: str, chunk: int) -> Counts | None:
        return self._transaction.entry(job_uid, chunk)

    def insert(self, batch: Batch) -> Faults:
        with self._moments("insert"):
            return self._transaction.insert(batch)

    def stage(self, batch: Batch) -> Faults:
        with self._moments("stage"):
            return self._transaction.stage(batch)

    def lost(self, number: int) -> Sequence[int]:
        return self._transaction.lost(number)

    def stage_again(self, batch: Batch, number: int) -> None:
        self._transaction.stage_again(batch, number)

    def merge(self, plan: ImportPlan, number: int) -> Merged:
        with self._moments("merge"):
            return self._transaction.merge(plan, number)

    def count(self, job_uid: str, chunk: int, counts: Counts) -> None:
        with self._moments("count"):
            self._transaction.count(job_uid, chunk, counts)

    def commit(self) -> None:
        with self._moments("commit"):
            self._transaction.commit()

    @contextmanager
    def _moments(self, step: str) -> Iterator[None]:
        self._strike(f"before {step}")
        yield
        self._strike(f"after {step}")


@pytest.fixture
def strike(monkeypatch: pytest.MonkeyPatch) -> Arm:
    """Arms the failpoints."""
    run = ChunkCommit.run

    def arm(at: Callable[[str], None]) -> None:
        def struck(commit: ChunkCommit, opening: Opening) -> Counts:
            @contextmanager
            def opened(batch: Batch | None) -> Iterator[Transaction]:
                with opening(batch) as transaction:
                    yield Struck(transaction, at)

            return run(commit, opened)

        monkeypatch.setattr(ChunkCommit, "run", struck)

    return arm


RECORDS = (("1", "a"), ("1", "b"), ("2", "c"))
"""Three records. The key of the second is taken."""
COUNTS = Counts(read=3, inserted=2, rejected=1, errors=1)


@pytest.fixture
def plan(dock: Dock) -> ImportPlan:
    """A begun import into a table with a key."""
    dock.sql("CREATE TABLE t (id {key}, v VARCHAR(9))")
    plan = dock.plan("id", "v")
    assert dock.target.begin(JOB, 1, plan) == ()
    return plan


def fails_at(moment: str, error: Exception, times: int = 1) -> Callable[[str], None]:
    left = [error] * times

    def fail(passed: str) -> None:
        if passed == moment and left:
            raise left.pop()

    return fail


STEPS = ("claim", "check_attempt", "insert", "count", "commit")


@pytest.mark.parametrize("moment", [f"{side} {step}" for step in STEPS for side in ("before", "after")])
def test_a_chunk_that_is_struck_at_any_moment_is_committed_once(
    dock: Dock, plan: ImportPlan, strike: Arm, moment: str
) -> None:
    strike(fails_at(moment, Strike(moment)))
    with pytest.raises(Strike):
        dock.write(plan, *RECORDS)
    there = moment == "after commit"
    assert dock.count() == (2 if there else 0)
    entries = dock.target.begin(JOB, 2, plan)
    assert entries == ((CommittedChunk(ordinal=0, counts=COUNTS),) if there else ())
    assert dock.write(plan, *RECORDS, attempt=2) == COUNTS
    assert dock.count() == 2
    assert [fault[0] for fault in dock.faults()] == [1]
    dock.target.verify(JOB, plan)


def test_rejects_that_cannot_be_kept_keep_the_chunk_out(dock: Dock, plan: ImportPlan) -> None:
    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        dock.write(plan, *RECORDS, keep=fail)
    assert dock.count() == 0
    assert dock.target.committed(JOB, 1) == ()
    assert dock.write(plan, *RECORDS) == COUNTS


def test_rejects_of_an_earlier_try_are_replaced(dock: Dock, plan: ImportPlan, strike: Arm) -> None:
    strike(fails_at("before commit", Strike()))
    with pytest.raises(Strike):
        dock.write(plan, *RECORDS)
    assert len(dock.rejects[0]) == 1
    dock.sql("INSERT INTO t VALUES (2, 'other')")
    assert dock.write(plan, *RECORDS).rejected == 2
    assert [fault[0] for fault in dock.faults()] == [1, 2]


def test_a_commit_of_unknown_outcome_that_happened_is_found_in_the_ledger(
    dock: Dock, plan: ImportPlan, strike: Arm
) -> None:
    strike(fails_at("after commit", OutcomeUnknown(TargetUnavailable("the connection was lost"))))
    assert dock.write(plan, *RECORDS) == COUNTS
    assert (dock.count(), dock.kept) == (2, 1)
    assert dock.target.committed(JOB, 1) == (CommittedChunk(ordinal=0, counts=COUNTS),)


@pytest.mark.parametrize("trouble", [TargetUnavailable("the connection was lost"), TargetRefused("no room")])
def test_a_commit_of_unknown_outcome_that_did_not_happen_fails_the_chunk(
    dock: Dock,
    plan: ImportPlan,
    strike: Arm,
    trouble: TargetUnavailable | TargetRefused,
) -> None:
    strike(fails_at("before commit", OutcomeUnknown(trouble)))
    with pytest.raises(type(trouble), match=trouble.message):
        dock.write(plan, *RECORDS)
    assert dock.count() == 0
    assert dock.target.committed(JOB, 1) == (), "the settlement leaves no entry behind"
    assert dock.write(plan, *RECORDS) == COUNTS


@pytest.mark.parametrize("moment", ["before check_attempt", "after insert", "before commit"])
def test_a_transaction_that_is_taken_back_is_done_anew(dock: Dock, plan: ImportPlan, strike: Arm, moment: str) -> None:
    strike(fails_at(moment, Conflict("a deadlock"), CONFLICT_TRIES - 1))
    assert dock.write(plan, *RECORDS) == COUNTS
    assert (dock.count(), len(dock.rejects[0])) == (2, 1)


def test_a_transaction_that_is_always_taken_back_fails_the_chunk(dock: Dock, plan: ImportPlan, strike: Arm) -> None:
    strike(fails_at("after insert", Conflict("a deadlock"), CONFLICT_TRIES))
    with pytest.raises(TargetUnavailable, match=f"was rolled back {CONFLICT_TRIES} times"):
        dock.write(plan, *RECORDS)
    assert dock.count() == 0


def test_a_chunk_that_is_committed_is_not_written_again(dock: Dock, plan: ImportPlan) -> None:
    assert dock.write(plan, *RECORDS) == COUNTS
    assert dock.write(plan, *RECORDS) == COUNTS
    assert dock.target.begin(JOB, 2, plan) == (CommittedChunk(ordinal=0, counts=COUNTS),)
    assert dock.write(plan, *RECORDS, attempt=2) == COUNTS
    assert dock.target.committed(JOB, 3) == (CommittedChunk(ordinal=0, counts=COUNTS),)
    assert (dock.count(), dock.kept) == (2, 1)


def test_two_writers_of_one_chunk_write_it_once(dock: Dock, plan: ImportPlan) -> None:
    answers: list[Counts] = []
    second = threading.Thread(target=lambda: answers.append(dock.write(plan, *RECORDS)))
    answers.append(dock.write(plan, *RECORDS, keep=second.start))
    second.join(30)
    assert answers == [COUNTS] * 2
    assert (dock.count(), dock.kept) == (2, 1)


def test_chunks_side_by_side_refuse_each_others_keys(dock: Dock, plan: ImportPlan) -> None:
    answers: list[Counts] = []

    def write(ordinal: int) -> None:
        chunk = Chunk(ordinal=ordinal, start=0, end=1)
        answers.append(dock.write(plan, *((str(number), "x") for number in range(500)), chunk=chunk))

    threads = [threading.Thread(target=write, args=(ordinal,)) for ordinal in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert answers[0] + answers[1] == Counts(read=1000, inserted=500, rejected=500, errors=500)
    assert dock.count() == 500


def test_an_earlier_attempt_is_shut_out(dock: Dock, plan: ImportPlan) -> None:
    dock.target.committed(JOB, 2)
    with pytest.raises(AttemptSuperseded, match="attempt 2 has begun"):
        dock.write(plan, *RECORDS)
    with pytest.raises(AttemptSuperseded):
        dock.target.begin(JOB, 1, plan)
    with pytest.raises(AttemptSuperseded):
        dock.target.committed(JOB, 1)
    assert dock.count() == 0
    assert dock.write(plan, *RECORDS, attempt=2) == COUNTS


def test_other_jobs_have_their_own_chunks_and_attempts(dock: Dock, plan: ImportPlan) -> None:
    dock.write(plan, *RECORDS)
    assert dock.target.begin("another", 7, plan) == ()
    assert dock.write(plan, ("5", "x"), chunk=replace(FIRST, ordinal=1)).inserted == 1
    dock.target.discard("another")
    assert [entry.ordinal for entry in dock.target.committed(JOB, 1)] == [0, 1]


def test_a_chunk_without_good_records_has_its_entry(dock: Dock, plan: ImportPlan) -> None:
    assert dock.write(plan) == Counts()
    dock.sql("INSERT INTO t VALUES (1, 'x')")
    assert dock.write(plan, ("1", "a"), chunk=replace(FIRST, ordinal=1)) == Counts(read=1, rejected=1, errors=1)
    assert [entry.ordinal for entry in dock.target.committed(JOB, 1)] == [0, 1]


def test_a_bill_that_does_not_balance_keeps_the_chunk_out(dock: Dock, plan: ImportPlan) -> None:
    batch = dock.batch(plan, FIRST, RECORDS)
    chunk = replace(batch.chunk, records=4)
    with pytest.raises(BillImbalance, match="4 records were read, 3 accounted for"):
        dock.target.write(JOB, 1, plan, chunk, replace(batch, chunk=chunk), lambda _: None)
    assert dock.count() == 0


def test_discard_forgets_the_job_and_keeps_its_records(dock: Dock, plan: ImportPlan) -> None:
    dock.write(plan, *RECORDS)
    dock.target.discard(JOB)
    dock.target.discard(JOB)
    assert dock.count() == 2
    assert dock.target.committed(JOB, 2) == ()
    with pytest.raises(AttemptSuperseded):
        dock.write(plan, ("7", "x"), chunk=replace(FIRST, ordinal=1))
    assert dock.count() == 2


def test_asking_for_the_ledger_makes_nothing(dock: Dock) -> None:
    assert dock.target.committed(JOB, 1) == ()
    dock.target.discard(JOB)
    assert dock.database.tables() == []
    file = dock.database.provider.database_file(dock.database.url)
    assert file is None or not file.exists()


def test_planning_makes_nothing(dock: Dock) -> None:
    assert dock.target.table(Table(connection="harbour", table="t")) is None
    dock.sql("CREATE TABLE t (id {key})")
    assert dock.target.table(Table(connection="harbour", table="t")) is not None
    assert [name for name in dock.database.tables() if name.startswith("lading")] == []


def test_a_table_tells_its_columns(dock: Dock) -> None:
    dock.sql("CREATE TABLE t (id INTEGER NOT NULL, v VARCHAR(9), n INTEGER DEFAULT 7 NOT NULL)")
    found = dock.target.table(Table(connection="harbour", table="t"))
    assert found is not None
    assert [(c.name, c.type.kind, c.nullable, c.optional, c.generated) for c in found.columns] == [
        ("id", Kind.INTEGER, False, False, False),
        ("v", Kind.TEXT, True, True, False),
        ("n", Kind.INTEGER, False, True, False),
    ]


def test_a_view_takes_no_records(dock: Dock) -> None:
    dock.sql("CREATE TABLE t (id {key})", "CREATE VIEW v AS SELECT * FROM t")
    with pytest.raises(InvalidSpec, match="view"):
        dock.target.table(Table(connection="harbour", table="v"))


VALUES: dict[str, list[str]] = {
    "integer": ["-9223372036854775808", "0", "9223372036854775807"],
    "decimal(15,2)": ["-1234567890123.45", "0.10", "7.00"],
    "real": ["-2.5", "0.1", "12345.678"],
    "boolean": ["true", "false", "true"],
    "date": ["0001-01-01", "2024-02-29", "9999-12-31"],
    "time": ["00:00:00", "12:30:45.5", "23:59:59.999999"],
    "timestamp": ["0001-01-01 00:00:00", "2024-02-29 12:30:45.5", "9999-12-31 23:59:59.999999"],
    "timestamptz": ["1970-01-01 00:00:00+00", "2024-02-29 12:30:45.5+00", "2038-01-19 03:14:08+00"],
    "uuid": [
        "00000000-0000-0000-0000-000000000000",
        "123e4567-e89b-42d3-a456-426614174000",
        "ffffffff-ffff-4fff-8fff-ffffffffffff",
    ],
    "text": ["", "é☃𝄞 ,;\t'", "NULL"],
}
"""Values of each type of field, as an export writes them."""


def test_there_are_values_of_every_type() -> None:
    assert {parse(word).kind for word in VALUES} == set(Kind)


def test_values_of_every_type_come_back(dock: Dock) -> None:
    plan = dock.new_table({kind.split("(")[0]: kind for kind in VALUES})
    for kind in VALUES:
        dock.target.check_type(parse(kind))
    assert dock.target.begin(JOB, 1, plan) == ()
    records = [*zip(*VALUES.values(), strict=True), [None] * len(VALUES)]
    assert dock.write(plan, *records) == Counts(read=4, inserted=4)
    quoted = [
        ['"' + value + '"' if value in ("", VALUES["text"][1]) else value for value in row] for row in records[:3]
    ]
    assert dock.exported() == [",".join(row) for row in quoted] + ["," * (len(VALUES) - 1)]
    dock.target.verify(JOB, plan)


def test_a_table_that_was_made_is_not_made_again(dock: Dock) -> None:
    plan = dock.new_table({"id": "integer", 'x "y"': "text"})
    dock.target.begin(JOB, 1, plan)
    dock.target.begin(JOB, 1, plan)
    dock.write(plan, ("1", "x"))
    dock.target.begin(JOB, 2, plan)
    assert dock.exported() == ["1,x"]


def test_a_table_that_was_dropped_after_one_job_is_made_by_the_next_one_with_other_columns(dock: Dock) -> None:
    for types, record in (({"id": "integer", "v": "text"}, ("1", "x")), ({"v": "integer", "w": "text"}, ("2", "y"))):
        plan = dock.new_table(types)
        dock.target.begin(JOB, 1, plan)
        assert dock.write(plan, record) == Counts(read=1, inserted=1)
        assert dock.exported() == [",".join(record)]
        dock.target.discard(JOB)
        dock.sql("DROP TABLE t")


def test_each_refused_record_is_told_and_costs_no_other(dock: Dock) -> None:
    dock.sql(
        "CREATE TABLE t (id {key}, n INTEGER CHECK (n < 100), name VARCHAR(9) NOT NULL, code INTEGER UNIQUE)",
        "INSERT INTO t VALUES (9, 1, 'z', 90)",
    )
    plan = dock.plan("id", "n", "name", "code")
    dock.target.begin(JOB, 1, plan)
    records: list[tuple[str | None, ...]] = [
        ("1", "5", "a", "10"),
        ("1", "6", "b", "11"),  # the key of record 0
        ("2", "100", "c", "12"),
        ("3", "7", None, "13"),
        ("4", "8", "d", "10"),  # the code of record 0
        ("5", "9", "e", None),
        ("9", "1", "f", "15"),  # a key that the table has
        ("10", "1", "g", "90"),  # a code that the table has
        ("2", "10", "h", "12"),  # the key and the code of record 2, which is rejected
        ("6", "11", "i", None),
    ]
    assert dock.write(plan, *records) == Counts(read=10, inserted=4, rejected=6, errors=6)
    unique, check, not_null = (dock.database.codes[kind] for kind in ("UNIQUE", "CHECK", "NOT NULL"))
    assert dock.faults() == [
        (1, unique, "s_id", "1"),
        (2, check, *(("s_n", "100") if dock.database.names_checked_columns else ("", ""))),
        (3, not_null, "s_name", ""),
        (4, unique, "s_code", "10"),
        (6, unique, "s_id", "9"),
        (7, unique, "s_code", "90"),
    ]
    assert dock.sql("SELECT id, name FROM t ORDER BY id") == [(1, "a"), (2, "h"), (5, "e"), (6, "i"), (9, "z")]


def test_a_key_of_several_columns_is_told_without_a_column(dock: Dock) -> None:
    dock.sql("CREATE TABLE t (a INTEGER, b VARCHAR(9), PRIMARY KEY (a, b))")
    plan = dock.plan("a", "b")
    dock.target.begin(JOB, 1, plan)
    assert dock.write(plan, ("1", "x"), ("1", "y"), ("1", "x"), ("2", "x")).rejected == 1
    assert dock.faults() == [(2, dock.database.codes["UNIQUE"], "", "")]


def test_many_refused_records_among_many(dock: Dock, plan: ImportPlan) -> None:
    dock.sql(f"INSERT INTO t (id) VALUES {', '.join(f'({number})' for number in range(0, 3000, 3))}")
    counts = dock.write(plan, *((str(number), "x") for number in range(3000)))
    assert counts == Counts(read=3000, inserted=2000, rejected=1000, errors=1000)
    assert [fault[0] for fault in dock.faults()] == list(range(0, 3000, 3))
    assert dock.count() == 3000


CHANGES = {
    "dropped": ["DROP TABLE t"],
    "recreated": ["DROP TABLE t", "CREATE TABLE t (id {key}, v VARCHAR(9))"],
    "swapped": [
        "CREATE TABLE u (id {key}, v VARCHAR(9))",
        "ALTER TABLE t RENAME TO old",
        "ALTER TABLE u RENAME TO t",
    ],
    "truncated": [],
}


@pytest.fixture(params=["begin", "write", "verify"])
def look(dock: Dock, plan: ImportPlan, request: pytest.FixtureRequest) -> Callable[[], object]:
    """Each operation by which a job with a committed chunk looks at its table again."""
    dock.write(plan, *RECORDS)
    ways: dict[str, Callable[[], object]] = {
        "begin": lambda: dock.target.begin(JOB, 2, plan),
        "write": lambda: dock.write(plan, ("7", "x"), chunk=replace(FIRST, ordinal=1)),
        "verify": lambda: dock.target.verify(JOB, plan),
    }
    return ways[request.param]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_table_without_the_rows_of_the_job_is_another_one(
    dock: Dock, look: Callable[[], object], change: list[str]
) -> None:
    dock.sql(*(change or [dock.database.truncate]))
    with pytest.raises(TargetChanged, match=r"\bt\b"):
        look()
    if change != CHANGES["dropped"]:
        assert dock.count() == 0


def test_the_right_table_put_back_goes_on(dock: Dock, look: Callable[[], object]) -> None:
    dock.sql(*CHANGES["swapped"])
    with pytest.raises(TargetChanged):
        look()
    dock.sql("DROP TABLE t", "ALTER TABLE old RENAME TO t")
    look()
    assert dock.count() >= 2


def test_what_others_do_to_a_table_is_no_change(dock: Dock, look: Callable[[], object]) -> None:
    dock.sql("INSERT INTO t VALUES (100, 'x')", "DELETE FROM t WHERE id = 1", "CREATE TABLE other (a INTEGER)")
    look()


def test_a_table_that_was_dropped_with_records_of_the_job_is_not_made_again(dock: Dock) -> None:
    plan = dock.new_table({"id": "integer"})
    dock.target.begin(JOB, 1, plan)
    dock.write(plan, ("1",))
    dock.sql("DROP TABLE t")
    with pytest.raises(TargetChanged):
        dock.target.begin(JOB, 2, plan)
    assert "t" not in dock.database.tables()


def test_a_column_that_may_not_be_empty_and_came_meanwhile_is_a_change(dock: Dock, plan: ImportPlan) -> None:
    dock.sql("DROP TABLE t", "CREATE TABLE t (id {key}, v VARCHAR(9), extra INTEGER NOT NULL)")
    with pytest.raises(TargetChanged, match="extra"):
        dock.target.begin(JOB, 2, plan)
