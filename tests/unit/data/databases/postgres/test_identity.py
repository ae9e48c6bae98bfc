"""A job loads into one table, and its rows are still there when it has finished."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pyarrow as pa
import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import AttemptSuperseded, InvalidSpec, TargetChanged, TargetRefused
from ladingd.core.plan import Chunk, ImportPlan
from ladingd.core.spec import File, ImportSpec, Table
from ladingd.data.databases.connection import Connection
from ladingd.data.databases.postgres.bulk_load import Load
from ladingd.data.databases.postgres.session import Session
from ladingd.data.storage.work_dir import WorkDir
from ladingd.data.transfer import BulkTransfer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.data.databases.postgres.conftest import Quay

RECREATED = "DROP TABLE t; CREATE TABLE t (id int)"
SWAPPED = (
    "CREATE TABLE u (id int); INSERT INTO u VALUES (8), (9); ALTER TABLE t RENAME TO old; ALTER TABLE u RENAME TO t"
)
SCHEMA_SWAPPED = "ALTER SCHEMA public RENAME TO old; CREATE SCHEMA public; CREATE TABLE t (id int)"


def chunk(ordinal: int, records: int = 1) -> Chunk:
    return Chunk(ordinal=ordinal, start=0, end=0, records=records)


def put(quay: Quay, plan: ImportPlan, ordinal: int, ids: list[int]) -> Counts:
    cut = chunk(ordinal, len(ids))
    return quay.put(plan, cut, quay.batch(plan, cut, {"id": pa.array(ids, pa.int32())}))


@pytest.fixture
def plan(quay: Quay) -> ImportPlan:
    """A job with a committed chunk of two records."""
    quay.sql("CREATE TABLE t (id int)")
    plan = quay.plan(["id"])
    quay.target.begin("job", 1, plan)
    put(quay, plan, 0, [1, 2])
    return plan


@pytest.fixture(params=["write", "begin", "verify"])
def look(quay: Quay, plan: ImportPlan, request: pytest.FixtureRequest) -> Callable[[], object]:
    """Each operation by which a job looks at its table again."""
    ways: dict[str, Callable[[], object]] = {
        "write": lambda: put(quay, plan, 1, [3]),
        "begin": lambda: quay.target.begin("job", 2, plan),
        "verify": lambda: quay.target.verify("job", plan),
    }
    return ways[request.param]


@pytest.mark.parametrize("change", [RECREATED, SWAPPED, SCHEMA_SWAPPED])
def test_another_table_of_the_same_name_is_never_loaded_into(
    quay: Quay, look: Callable[[], object], change: str
) -> None:
    quay.sql(change)
    before = quay.sql("SELECT * FROM t")
    with pytest.raises(TargetChanged, match=r"another table now .* lading clone"):
        look()
    assert quay.sql("SELECT * FROM t") == before


def test_the_right_table_put_back_goes_on(quay: Quay, look: Callable[[], object]) -> None:
    quay.sql(SWAPPED)
    with pytest.raises(TargetChanged):
        look()
    quay.sql("DROP TABLE t; ALTER TABLE old RENAME TO t")
    look()


def test_a_truncated_table_fails_the_job(quay: Quay, look: Callable[[], object]) -> None:
    quay.sql("TRUNCATE t")
    with pytest.raises(TargetChanged, match=r"rows were removed .* has inserted 2, and the table has 0"):
        look()


@pytest.mark.parametrize("rewrite", ["VACUUM FULL t", "ALTER TABLE t ALTER id TYPE bigint", "TRUNCATE t"])
def test_a_table_that_is_rewritten_is_counted_once(
    quay: Quay, look: Callable[[], object], monkeypatch: pytest.MonkeyPatch, rewrite: str
) -> None:
    quay.sql(rewrite)
    if rewrite.startswith("TRUNCATE"):
        quay.sql("INSERT INTO t VALUES (1), (2), (7)")  # restored by hand
    counted = []
    rows = Session.rows

    def watch(session: Session, query: object, values: object = None) -> object:
        counted.extend([1] if "count(*)" in repr(query) else [])
        return rows(session, query, values)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "rows", watch)
    look()
    assert len(counted) == 1
    quay.target.verify("job", quay.plan(["id"]))
    assert len(counted) == 1


def test_a_table_that_the_job_has_made_is_recognised(quay: Quay) -> None:
    plan = quay.plan(["id"], create=True, types={"id": "integer"})
    quay.target.begin("job", 1, plan)
    batch = quay.batch(plan, chunk(0), {"id": pa.array([1], pa.int64())})
    quay.put(plan, chunk(0), batch)
    quay.sql("DROP TABLE t; CREATE TABLE t (id bigint)")
    with pytest.raises(TargetChanged, match="another table"):
        quay.target.begin("job", 2, plan)


def test_a_table_made_anew_before_anything_was_committed_is_the_jobs(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int)")
    plan = quay.plan(["id"])
    quay.target.begin("job", 1, plan)
    quay.sql(RECREATED)
    with pytest.raises(TargetChanged):
        put(quay, plan, 0, [1])
    quay.target.begin("job", 1, plan)
    assert put(quay, plan, 0, [1]) == Counts(read=1, inserted=1)


def test_partitions_that_come_are_no_change_and_one_that_goes_with_rows_is(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int) PARTITION BY LIST (id); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1, 2)")
    plan = quay.plan(["id"])
    quay.target.begin("job", 1, plan)
    put(quay, plan, 0, [1, 2])
    quay.sql("CREATE TABLE t3 PARTITION OF t FOR VALUES IN (3)")
    put(quay, plan, 1, [3])
    quay.sql("TRUNCATE t3")
    with pytest.raises(TargetChanged, match="has inserted 3, and the table has 2"):
        put(quay, plan, 2, [1])
    quay.sql("INSERT INTO t VALUES (3); ALTER TABLE t DETACH PARTITION t1")
    with pytest.raises(TargetChanged, match="has inserted 3, and the table has 1"):
        quay.target.verify("job", plan)


def test_another_database_with_a_copy_of_the_ledger_is_refused(quay: Quay, plan: ImportPlan) -> None:
    quay.sql("""UPDATE lading.target SET identity = identity || '{"database": 1}'""")
    with pytest.raises(TargetChanged, match="leads to another database"):
        quay.target.begin("job", 2, plan)


def test_a_database_without_the_job_is_not_written_into(quay: Quay, plan: ImportPlan) -> None:
    quay.sql("DELETE FROM lading.attempt")
    with pytest.raises(AttemptSuperseded, match="leads to another database"):
        put(quay, plan, 1, [3])


def test_a_ledger_of_an_older_version_is_completed_and_the_job_recorded(quay: Quay, plan: ImportPlan) -> None:
    quay.sql("DROP TABLE lading.target")
    assert len(quay.target.committed("job", 1)) == 1
    quay.target.begin("job", 2, plan)
    quay.sql("TRUNCATE t")
    with pytest.raises(TargetChanged, match="rows were removed"):
        quay.target.begin("job", 3, plan)
    quay.sql("DROP TABLE lading.target")
    quay.target.discard("job")
    assert quay.sql("SELECT count(*) FROM lading.ledger") == [(0,)]


TRIGGERS = {
    "after each row": "FOR EACH ROW",
    "after the statement": "FOR EACH STATEMENT",
}


@pytest.mark.parametrize("level", TRIGGERS.values(), ids=TRIGGERS)
@pytest.mark.parametrize("partitioned", [False, True])
@pytest.mark.parametrize("probed", [False, True])
def test_a_trigger_that_deletes_rows_fails_the_job(
    quay: Quay, monkeypatch: pytest.MonkeyPatch, level: str, *, partitioned: bool, probed: bool
) -> None:
    if partitioned:
        quay.sql("CREATE TABLE t (id int UNIQUE) PARTITION BY LIST (id); CREATE TABLE p PARTITION OF t DEFAULT")
    else:
        quay.sql("CREATE TABLE t (id int UNIQUE)")
    quay.sql(
        "CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM t WHERE id = 2;"
        f" RETURN NULL; END $$; CREATE TRIGGER tidy AFTER INSERT ON t {level} EXECUTE FUNCTION tidy()"
    )
    if probed:
        of = Load.of
        monkeypatch.setattr(Load, "of", lambda records, shape, **_: of(records, shape, probed=True))
    assert quay.write({"id": [1]}) == Counts(read=1, inserted=1)
    with pytest.raises(TargetRefused, match=r"1 rows vanished from table t while .* trigger"):
        quay.write({"id": [1, 2, 3]}, ordinal=1)
    assert quay.sql("SELECT id FROM t") == [(1,)]


def test_triggers_that_write_elsewhere_or_move_rows_are_no_trouble(quay: Quay) -> None:
    quay.sql(
        "CREATE TABLE log (id int); INSERT INTO log VALUES (1);"
        "CREATE TABLE t (id int, part int DEFAULT 1) PARTITION BY LIST (part);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2);"
        "CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " DELETE FROM log; UPDATE t SET part = 2; RETURN NULL; END $$;"
        "CREATE TRIGGER move AFTER INSERT ON t EXECUTE FUNCTION move()"
    )
    assert quay.write({"id": [1, 2]}) == Counts(read=2, inserted=2)
    assert quay.sql("SELECT count(*) FROM t2") == [(2,)]


def test_a_rename_waits_for_the_chunk_and_the_next_one_sees_it(
    quay: Quay, plan: ImportPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = Load._insert

    def rename(load: Load, session: Session, rows: object) -> int:
        with psycopg.connect(quay.url, autocommit=True) as other:
            other.execute("SET lock_timeout = '200ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("ALTER TABLE t RENAME TO old")
        return insert(load, session, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(Load, "_insert", rename)
    put(quay, plan, 1, [3])
    quay.sql("ALTER TABLE t RENAME TO old")
    with pytest.raises(TargetChanged, match="no table t any more"):
        put(quay, plan, 2, [4])


def test_the_account_may_lack_the_right_to_count(quay: Quay, plan: ImportPlan) -> None:
    quay.sql("CREATE ROLE blind LOGIN; GRANT INSERT ON t TO blind; GRANT USAGE, CREATE ON SCHEMA lading TO blind;")
    quay.sql("GRANT ALL ON ALL TABLES IN SCHEMA lading TO blind")
    quay.sql("VACUUM FULL t")
    try:
        address = replace(quay.target.address, url=quay.url.replace("//postgres:", "//blind:"))
        quay.target = replace(quay.target, address=address)
        with pytest.raises(TargetChanged, match="may not count its rows; after GRANT SELECT"):
            quay.target.begin("job", 2, plan)
    finally:
        quay.sql("DROP OWNED BY blind; DROP ROLE blind")


def test_long_and_reserved_names_make_a_table_that_takes_the_file_again(quay: Quay, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(f"{'x' * 70},{'x' * 71},xmin\n1,2,3\n")
    transfer = BulkTransfer(
        connections={"quay": Connection(name="quay", url=quay.url)},
        roots={"local": tmp_path},
        work_dir=WorkDir(directory=tmp_path / "work"),
    )
    spec = ImportSpec(files=(File(path="in.csv"),), target=Table(connection="quay", table="t"))
    for number in (1, 2):
        plan = transfer.plan(spec)
        assert isinstance(plan, ImportPlan)
        assert [column.target for column in plan.columns] == ["x" * 63, "x" * 61 + "_2", "xmin_"]
        told = [note for note in plan.notes if "becomes" in note]
        assert len(told) == (3 if number == 1 else 0)
        transfer.begin(f"job-{number}", 1, plan)
        (cut,) = transfer.cut("job", plan, None, 9)
        assert transfer.process(f"job-{number}", 1, plan, cut).inserted == 1
    assert quay.sql("SELECT * FROM t") == [(1, 2, 3), (1, 2, 3)]


@pytest.mark.parametrize(("schema", "table"), [("", "t" * 64), ("s" * 64, "t"), ("lading", "t")])
def test_a_table_that_cannot_be_one_is_refused_before_anything_is_stored(quay: Quay, schema: str, table: str) -> None:
    with pytest.raises(InvalidSpec, match=r"at most 63 bytes of a name|reserved for Lading's ledger"):
        quay.target.table(Table(schema=schema, table=table))


def test_an_unlogged_table_that_a_crash_has_emptied_fails_the_job(quay: Quay) -> None:
    quay.sql("CREATE UNLOGGED TABLE t (id int)")
    plan = quay.plan(["id"])
    quay.target.begin("job", 1, plan)
    put(quay, plan, 0, [1, 2])
    quay.target.verify("job", plan)
    quay.sql("DELETE FROM t")  # Like a crash, it keeps the file node.
    put(quay, plan, 1, [3])
    with pytest.raises(TargetChanged, match="this job has inserted 3, and the table has 1; it is UNLOGGED"):
        quay.target.verify("job", plan)
    table = quay.target.table(Table(table="t"))
    assert table is not None
    assert "UNLOGGED" in table.notes[0]
