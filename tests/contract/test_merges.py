"""Merges of generated files into generated tables, compared with an oracle, in every kind of database."""

from __future__ import annotations

import csv
import gzip
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladingd.core.bill import total
from ladingd.core.errors import InvalidSpec, TargetChanged
from ladingd.core.spec import CsvFormat, Doubles, Duplicates, File, Header, ImportSpec, Operation, Reconciliation, Table
from ladingd.data.mapping import reconciliation as rules
from ladingd.data.transfer import BulkTransfer
from tests.contract.merge_oracle import expected
from tests.contract.port import Port
from tests.harness.reject_files import rejects_in

if TYPE_CHECKING:
    from pathlib import Path

    from ladingd.core.bill import Counts
    from ladingd.core.plan import Chunk, ImportPlan
    from tests.contract.databases import TestDatabase
    from tests.contract.merge_oracle import Row

COLUMNS = ("id", "mail", "a", "b")
TYPES = {"id": "integer", "mail": "text", "a": "text", "b": "integer"}

VALUES = {
    "id": st.integers(1, 6),
    "mail": st.sampled_from(["u@x", "v@x", "w@x", "ü@x"]),
    "a": st.sampled_from(["x", "y", "Y", "z 'q'"]),
    "b": st.integers(-2, 2),
}


def records() -> st.SearchStrategy[Row]:
    """Records of a file or a table."""
    fields = {name: st.none() | values for name, values in VALUES.items()}
    return st.tuples(*fields.values()).map(lambda values: dict(zip(COLUMNS, values, strict=True)))


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """The rows of a table, in which both keys are unique."""
    rows: list[Row] = []
    for row in draw(st.lists(records(), max_size=6)):
        taken = [
            other
            for other in rows
            if any(row[name] is not None and row[name] == other[name] for name in ("id", "mail"))
        ]
        if not taken:
            rows.append(row)
    return rows


EXAMPLES = {"DuckDB": 12}
"""DuckDB forces a checkpoint each time that it is closed, so it gets fewer examples."""
POLICIES = st.frozensets(st.sampled_from(["mail", "a", "b"]), max_size=2)


@st.composite
def reconciliations(draw: st.DrawFn) -> Reconciliation:
    return Reconciliation(
        operation=draw(st.sampled_from(Operation)),
        key=("id",),
        second_key=draw(st.sampled_from([(), ("mail",)])),
        doubles=draw(st.sampled_from(Doubles)),
        duplicates=draw(st.sampled_from(Duplicates)),
        keep_if_source_empty=tuple(sorted(draw(POLICIES))),
        only_if_target_empty=tuple(sorted(draw(POLICIES))),
        on_insert_only=tuple(sorted(draw(POLICIES))),
    )


@dataclass(frozen=True, kw_only=True)
class Voyage:
    """A job that is carried out in another order than planned, and twice in places."""

    port: Port
    spec: ImportSpec
    random: random.Random

    def run(self) -> tuple[ImportPlan, Counts]:
        transfer = self.port.transfer
        plan: Any = transfer.plan(self.spec)
        committed: dict[int, Counts] = {}
        attempt = 1
        transfer.discard("job", plan)  # An example before may have failed.
        if plan.added:
            transfer.add_columns("job", attempt, plan)
        transfer.begin("job", attempt, plan)
        chunks: list[Chunk] = []
        for phase in range(len(plan.phases)):
            if phase:
                for _ in range(self.random.randint(1, 2)):
                    transfer.advance("job", attempt, plan, phase, chunks)
            chunks = self._cut(plan, phase, chunks)
            waiting = [*chunks, *self.random.choices(chunks, k=min(len(chunks), 2))]
            self.random.shuffle(waiting)
            for chunk in waiting:
                if self.random.random() < 0.2:
                    attempt += 1
                    there = {one.ordinal: one.counts for one in transfer.begin("job", attempt, plan, phase)}
                    assert there == committed
                committed[chunk.ordinal] = transfer.process("job", attempt, plan, chunk)
        for _ in range(2):
            transfer.finish("job", plan, chunks)
        return plan, total(committed.values())

    def _cut(self, plan: ImportPlan, phase: int, before: list[Chunk]) -> list[Chunk]:
        chunks: list[Chunk] = []
        while True:
            previous = (chunks or before or [None])[-1]
            more = self.port.transfer.cut("job", plan, previous, 3, phase)
            chunks += more
            if len(more) < 3:
                return chunks


@pytest.fixture
def port(database: TestDatabase, tmp_path: Path, work_dir: Any) -> Port:
    transfer = BulkTransfer(connections={"harbour": database.connection}, roots={"local": tmp_path}, work_dir=work_dir)
    return Port(database=database, directory=tmp_path, transfer=transfer)


@pytest.fixture
def many_slices(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even small files are merged in several slices."""
    monkeypatch.setattr(rules, "_SMALL", 0)
    target = port.database.provider.target(port.database.connection, port.transfer.work_dir)
    monkeypatch.setattr(type(target), "slice_bytes", 30)


def make_table(database: TestDatabase, rows: list[Row], *, both_unique: bool) -> None:
    unique = " UNIQUE" if both_unique else ""
    literals = [", ".join(map(_literal, row.values())) for row in rows]
    database.sql(
        "DROP TABLE IF EXISTS t",
        f"CREATE TABLE t (id BIGINT UNIQUE, mail VARCHAR(20){unique}, a VARCHAR(20), b BIGINT)",
        *([f"INSERT INTO t VALUES ({'), ('.join(literals)})"] if literals else []),
    )


def _literal(value: int | str | None) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "NULL" if value is None else str(value)


def write_file(path: Path, rows: list[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(["" if value is None else value for value in row.values()] for row in rows)


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("many_slices")
def test_a_merge_does_what_the_oracle_says(port: Port) -> None:
    @settings(max_examples=EXAMPLES.get(port.database.provider.name, 40), deadline=None)
    @given(
        there=tables(),
        given_records=st.lists(records(), min_size=1, max_size=12),
        wanted=reconciliations(),
        seed=st.integers(0, 1 << 20),
    )
    def compare(there: list[Row], given_records: list[Row], wanted: Reconciliation, seed: int) -> None:
        if not wanted.second_key:
            there = [row for row in there if row["id"] is not None]
        make_table(port.database, there, both_unique=bool(wanted.second_key))
        given_records = [row for row in given_records if any(value is not None for value in row.values())]
        write_file(port.directory / "in.csv", given_records or [{"id": 1, "mail": None, "a": None, "b": None}])
        given_records = given_records or [{"id": 1, "mail": None, "a": None, "b": None}]
        spec = ImportSpec(
            files=(File(path="in.csv"),),
            csv=CsvFormat(delimiter=",", header=Header.PRESENT, skip_lines=0, comment="none"),
            target=Table(connection="harbour", table="t"),
            types=TYPES,
            reconciliation=wanted,
            chunk_bytes=random.Random(seed).choice([20, 60, 1000]),
        )
        plan, counts = Voyage(port=port, spec=spec, random=random.Random(seed)).run()
        assert plan.merge is not None
        outcome = expected(there, given_records, plan.merge)
        rows = port.database.sql("SELECT id, mail, a, b FROM t")
        assert sorted(rows, key=repr) == sorted((tuple(row.values()) for row in outcome.rows), key=repr)
        assert counts.read == len(given_records)
        assert counts.balances
        assert not counts.pending
        names = ("inserted", "updated", "deleted", "unchanged", "rejected", "ignored_doubles", "doubles", "duplicates")
        assert {name: number for name in names if (number := getattr(counts, name))} == dict(outcome.counts)
        rejects = port.rejects()
        assert {reject["record"]: reject["code"] for reject in rejects} == outcome.rejected
        assert len(rejects) == len(outcome.rejected)
        for reject in rejects:
            assert reject["line"] == reject["record"] + 1
            assert reject["raw"].split(",")[0] == str(given_records[reject["record"] - 1]["id"] or "")
        assert not [name for name in port.database.tables() if "stage" in name]
        port.transfer.discard("job", plan)

    compare()


UPSERT = Reconciliation(key=("id",))


def merged(port: Port, text: str, wanted: Reconciliation = UPSERT, **options: Any) -> tuple[Counts, dict[int, str]]:
    """Merge a file into the table. Returns the counts, and the codes of the rejects by record."""
    (port.directory / "in.csv").write_text(text, encoding="utf-8")
    spec = ImportSpec(
        files=(File(path="in.csv"),),
        target=Table(connection="harbour", table="t"),
        reconciliation=wanted,
        chunk_bytes=40,
        **options,
    )
    _, counts = Voyage(port=port, spec=spec, random=random.Random(1)).run()
    assert counts.balances
    assert not counts.pending
    return counts, {reject["record"]: reject["code"] for reject in port.rejects()}


def test_records_that_the_table_refuses_are_rejected_and_the_others_are_merged(port: Port) -> None:
    check = port.database.codes["CHECK"]
    port.database.sql(
        "CREATE TABLE other (id BIGINT PRIMARY KEY)",
        "INSERT INTO other VALUES (1)",
        f"CREATE TABLE t (id {port.database.key}, mail VARCHAR(20) UNIQUE, n INTEGER CHECK (n <> 7))",
        "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
    )
    counts, codes = merged(port, "id,mail,n\n1,a,7\n2,z,20\n3,c,3\n4,a,4\n5,e,7\n6,f,6\n7,f,70\n8,h,8\n")
    assert codes == {1: check, 4: port.database.codes["UNIQUE"], 5: check, 7: port.database.codes["UNIQUE"]}
    assert port.database.sql("SELECT * FROM t ORDER BY id") == [
        (1, "a", 1), (2, "z", 20), (3, "c", 3), (6, "f", 6), (8, "h", 8)
    ]  # fmt: skip
    assert (counts.inserted, counts.updated, counts.unchanged, counts.rejected) == (2, 1, 1, 4)


def test_a_reject_leaves_records_of_the_other_key_alone(port: Port) -> None:
    check = port.database.codes["CHECK"]
    port.database.sql(
        "CREATE TABLE t (id BIGINT PRIMARY KEY NOT NULL, mail VARCHAR(20) UNIQUE NOT NULL, n INTEGER CHECK (n <> 7))",
        "INSERT INTO t VALUES (2, 'b', 2), (4, 'd', 4)",
    )
    wanted = Reconciliation(key=("id",), second_key=("mail",), keep_if_source_empty=("mail",))
    text = "id,mail,n\n1,a,1\n,b,20\n3,c,7\n,e,50\n4,,40\n,d,7\n"
    counts, codes = merged(port, text, wanted)
    assert codes == {3: check, 4: "NOT_NULL", 6: check}
    assert port.database.sql("SELECT * FROM t ORDER BY id") == [(1, "a", 1), (2, "b", 20), (4, "d", 40)]
    assert (counts.inserted, counts.updated, counts.rejected) == (1, 2, 3)


def test_one_reject_of_the_merge_keeps_its_record_whole(port: Port) -> None:
    port.database.sql(f"CREATE TABLE t (id {port.database.key}, name VARCHAR(20))", "INSERT INTO t VALUES (2, 'b')")
    wanted = Reconciliation(key=("id",), operation=Operation.INSERT)
    counts, codes = merged(port, 'id,name\n1,"x,\ny"\n2,"two\nlines"\n', wanted)
    assert codes == {2: "DUPLICATE"}
    (reject,) = port.rejects()
    assert {name: reject[name] for name in ("line", "raw", "column", "value", "connector", "file")} == {
        "line": 4, "raw": '2,"two\nlines"', "column": "id", "value": "2", "connector": "DATABASE", "file": "in.csv"
    }  # fmt: skip
    assert reject["message"] == "(id) = (2) is in table t already"
    assert counts.inserted == 1


def test_a_key_that_is_not_unique_is_refused_with_an_example(port: Port) -> None:
    port.database.sql("CREATE TABLE t (id BIGINT, n BIGINT)", "INSERT INTO t VALUES (1, 1), (5, 2), (5, 3), (NULL, 4)")
    with pytest.raises(InvalidSpec, match=r"not unique in table t: 2 rows have \(id\) = \(5\)") as refused:
        merged(port, "id,n\n5,6\n")
    assert refused.value.field == "reconciliation.key"


def test_a_key_without_an_index_will_do(port: Port) -> None:
    port.database.sql("CREATE TABLE t (id BIGINT, n BIGINT)", "INSERT INTO t VALUES (1, 1), (NULL, 4)")
    counts, codes = merged(port, "id,n\n1,2\n3,3\n3,4\n,5\n")
    assert codes == {4: "NO_KEY"}
    assert (counts.inserted, counts.updated, counts.ignored_doubles) == (1, 1, 1)
    assert sorted(port.database.sql("SELECT * FROM t WHERE id IS NOT NULL")) == [(1, 2), (3, 4)]


def test_a_key_that_the_file_lacks_is_refused(port: Port) -> None:
    port.database.sql(f"CREATE TABLE t (id {port.database.key}, n BIGINT)")
    with pytest.raises(InvalidSpec, match="the file has no column for id"):
        merged(port, "n\n5\n", Reconciliation(key=("id",), operation=Operation.UPDATE))
    with pytest.raises(InvalidSpec, match="there is no column 'ident'; did you mean 'id'"):
        merged(port, "id,n\n5,1\n", Reconciliation(key=("ident",)))


@pytest.mark.parametrize("doubles", Doubles)
def test_columns_may_have_any_name(port: Port, doubles: Doubles) -> None:
    names = ["kept", "place", "rank", "s", "t", "number", "name", "r", "o", "e"]
    port.database.sql(
        f"CREATE TABLE t ({', '.join(f'{name} BIGINT' for name in names)}, UNIQUE (kept, place, rank, s))"
    )
    lines = [",".join(names), *(",".join([str(key)] * 4 + [str(value)] * 6) for key, value in [(1, 5), (1, 6), (2, 7)])]
    wanted = Reconciliation(key=("kept", "place", "rank", "s"), doubles=doubles)
    counts, _ = merged(port, "\n".join(lines) + "\n", wanted)
    assert counts.inserted == (1 if doubles is Doubles.REJECT_ALL else 2)


def test_a_key_that_the_job_adds_is_in_no_row(port: Port) -> None:
    port.database.sql("CREATE TABLE t (n BIGINT)", "INSERT INTO t VALUES (1), (1)")
    counts, codes = merged(port, "id,n\n5,1\n6,2\n5,3\n", add_columns=True)
    assert not codes
    assert (counts.inserted, counts.updated, counts.ignored_doubles) == (2, 0, 1)
    assert port.database.sql("SELECT id, n FROM t ORDER BY n") == [(None, 1), (None, 1), (6, 2), (5, 3)]


def test_a_file_for_updates_and_deletions_may_lack_columns_that_new_rows_need(port: Port) -> None:
    port.database.sql(
        f"CREATE TABLE t (id {port.database.key}, name VARCHAR(20) NOT NULL, n BIGINT)",
        "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)",
    )
    with pytest.raises(InvalidSpec, match="name of table t may not be empty"):
        merged(port, "id,n\n1,5\n")
    counts, codes = merged(port, "id,n\n1,5\n3,7\n", Reconciliation(key=("id",), operation=Operation.UPDATE))
    assert (counts.updated, codes) == (1, {2: "NOT_FOUND"})
    counts, codes = merged(port, "id\n1\n3\n", Reconciliation(key=("id",), operation=Operation.DELETE))
    assert (counts.deleted, counts.unchanged, codes) == (1, 1, {})
    assert port.database.sql("SELECT * FROM t") == [(2, "b", 2)]


def test_a_table_that_is_created_takes_the_last_record_of_each_key(port: Port) -> None:
    counts, _ = merged(port, "id,name\n1,a\n2,b\n1,c\n")
    assert (counts.inserted, counts.ignored_doubles) == (2, 1)
    assert sorted(port.database.sql("SELECT * FROM t")) == [(1, "c"), (2, "b")]


def test_an_empty_field_of_a_column_that_may_not_be_empty_keeps_the_value_of_a_row(port: Port) -> None:
    port.database.sql(
        f"CREATE TABLE t (id {port.database.key}, name VARCHAR(20) NOT NULL)", "INSERT INTO t VALUES (1, 'a')"
    )
    wanted = Reconciliation(key=("id",), keep_if_source_empty=("name",))
    counts, codes = merged(port, "id,name\n1,\n2,\n3,c\n", wanted)
    assert (counts.inserted, counts.unchanged, codes) == (1, 1, {2: port.database.codes["NOT NULL"]})
    assert port.database.sql("SELECT * FROM t ORDER BY id") == [(1, "a"), (3, "c")]


def replaced(port: Port, text: str, **options: Any) -> tuple[Counts, dict[int, str]]:
    """Replace rows of the table by the records of a file. Returns the counts, and the codes of the rejects."""
    return merged(port, text, options.pop("wanted", Reconciliation()), replace=True, **options)


def test_records_replace_all_rows(port: Port) -> None:
    port.database.sql("CREATE TABLE t (id BIGINT, n BIGINT)", "INSERT INTO t VALUES (1, 1), (1, 1), (3, 3)")
    counts, codes = replaced(port, "id,n\n1,1\n2,2\n2,2\n4,x\n")
    assert sorted(port.database.sql("SELECT * FROM t")) == [(1, 1), (2, 2), (2, 2)]
    assert (counts.inserted, counts.removed, codes) == (3, 3, {4: "NOT_AN_INTEGER"})


def test_records_replace_rows_by_key_and_leave_the_same_ones(port: Port) -> None:
    port.database.sql(
        f"CREATE TABLE t (id {port.database.key}, n BIGINT)", "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)"
    )
    counts, codes = replaced(port, "id,n\n1,1\n2,5\n4,4\n2,6\n", wanted=UPSERT)
    assert sorted(port.database.sql("SELECT * FROM t")) == [(1, 1), (2, 6), (4, 4)]
    assert codes == {}
    assert (counts.inserted, counts.updated, counts.unchanged, counts.removed, counts.ignored_doubles) == (
        1,
        1,
        1,
        1,
        1,
    )


def test_a_record_that_the_table_refuses_leaves_no_old_row_behind(port: Port) -> None:
    port.database.sql(
        f"CREATE TABLE t (id {port.database.key}, n BIGINT CHECK (n < 9))",
        "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)",
    )
    counts, codes = replaced(port, "id,n\n1,1\n2,9\n", wanted=UPSERT)
    assert codes == {2: port.database.codes["CHECK"]}
    assert (port.database.sql("SELECT * FROM t"), counts.removed) == ([(1, 1)], 2)


def test_a_part_of_the_table_is_replaced(port: Port) -> None:
    port.database.sql(
        "CREATE TABLE t (day DATE, n BIGINT)",
        "INSERT INTO t VALUES ('2026-01-01', 1), ('2026-01-02', 2), ('2026-01-02', 3)",
    )
    options: dict[str, Any] = {"where": "DAY = :day and n is not null", "variables": {"day": "2026-01-02"}}
    counts, codes = replaced(port, "day,n\n2026-01-02,4\n2026-01-03,5\n2026-01-02,\n", **options)
    assert [n for (n,) in port.database.sql("SELECT n FROM t ORDER BY n")] == [1, 4]
    assert codes == {2: "OUTSIDE_PART", 3: "OUTSIDE_PART"}
    assert (counts.inserted, counts.removed) == (1, 2)


def test_a_part_that_is_replaced_without_a_key_has_rejects(port: Port) -> None:
    port.database.sql(
        "CREATE TABLE t (id BIGINT UNIQUE, day VARCHAR(20))", "INSERT INTO t VALUES (1, 'mon'), (2, 'tue'), (3, 'mon')"
    )
    counts, codes = replaced(port, "id,day\n2,mon\n1,mon\n4,mon\n4,mon\n", where="day = 'mon'")
    assert codes == {1: port.database.codes["UNIQUE"], 4: port.database.codes["UNIQUE"]}
    assert port.database.sql("SELECT * FROM t ORDER BY id") == [(1, "mon"), (2, "tue"), (4, "mon")]
    assert (counts.inserted, counts.rejected) == (2, 2)


def test_a_part_is_replaced_by_key_and_other_parts_stay(port: Port) -> None:
    port.database.sql(
        f"CREATE TABLE t (id {port.database.key}, part VARCHAR(9), n BIGINT)",
        "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'b', 3)",
    )
    counts, codes = replaced(port, "id,part,n\n1,b,7\n2,b,8\n4,b,9\n", wanted=UPSERT, where="part in ('b')")
    assert sorted(port.database.sql("SELECT * FROM t")) == [(1, "a", 1), (2, "b", 8), (4, "b", 9)]
    assert (codes, counts.inserted, counts.updated, counts.removed) == ({1: "OUTSIDE_PART"}, 1, 1, 1)


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("n", "is a value and no condition"),
        ("n =", "is no condition"),
        ("n = (select 1)", "is not allowed in a condition"),
        ("lower(n) = 'x'", "is not allowed in a condition"),
        ("n = 1; drop table t", "no single condition"),
        ("other.n = 1", "is not allowed in a condition"),
        ("m = 1", "the files fill no column 'm'"),
        ("n = :day", "there is no variable 'day'"),
    ],
)
def test_a_condition_says_nothing_else(port: Port, where: str, problem: str) -> None:
    port.database.sql("CREATE TABLE t (id BIGINT, n BIGINT)")
    with pytest.raises(InvalidSpec, match=problem) as refused:
        replaced(port, "id,n\n1,1\n", where=where)
    assert refused.value.field == "where"


def test_a_value_in_a_condition_stays_a_value(port: Port) -> None:
    port.database.sql("CREATE TABLE t (id BIGINT, name VARCHAR(40))", "INSERT INTO t VALUES (1, 'x'), (2, 'y')")
    options: dict[str, Any] = {"where": "name = $name", "variables": {"name": "x' or '1' = '1"}}
    counts, _ = replaced(port, "id,name\n5,x' or '1' = '1\n", **options)
    assert sorted(port.database.sql("SELECT * FROM t")) == [(1, "x"), (2, "y"), (5, "x' or '1' = '1")]
    assert counts.removed == 0


def test_a_cancelled_job_leaves_no_staging(port: Port) -> None:
    port.database.sql(f"CREATE TABLE t (id {port.database.key}, n BIGINT)")
    with gzip.open(port.directory / "in.csv.gz", "wt") as file:
        file.write("id,n\n" + "".join(f"{n},{n}\n" for n in range(50)))
    spec = ImportSpec(
        files=(File(path="in.csv.gz"),),
        target=Table(connection="harbour", table="t"),
        reconciliation=UPSERT,
        chunk_bytes=100,
    )
    plan: Any = port.transfer.plan(spec)
    port.transfer.begin("job", 1, plan)
    (chunk,) = port.transfer.cut("job", plan, None, 1)
    port.transfer.process("job", 1, plan, chunk)
    assert [name for name in port.database.tables() if "stage" in name]
    for _ in range(2):
        port.transfer.abandon("job", plan)
    assert not [name for name in port.database.tables() if "stage" in name]
    assert not [*(port.directory / "work").rglob("content-*")]
    assert [one.ordinal for one in port.transfer.committed("job", 2, plan)] == [0]


@pytest.mark.parametrize("change", ["append", "rewrite", "remove"])
def test_a_file_that_changes_after_its_load_costs_only_the_text_of_rejects(port: Port, change: str) -> None:
    port.database.sql(f"CREATE TABLE t (id {port.database.key}, n BIGINT)", "INSERT INTO t VALUES (1, 0)")
    path = port.directory / "in.csv"
    path.write_text("id,n\n" + "".join(f"{n},{n}\n" for n in range(1, 60)))
    spec = ImportSpec(
        files=(File(path="in.csv"),),
        target=Table(connection="harbour", table="t"),
        reconciliation=Reconciliation(operation=Operation.UPDATE, key=("id",)),
        chunk_bytes=100,
    )
    plan: Any = port.transfer.plan(spec)
    port.transfer.begin("job", 1, plan)
    chunks = port.transfer.cut("job", plan, None, 100)
    for chunk in chunks:
        port.transfer.process("job", 1, plan, chunk)
    port.transfer.advance("job", 1, plan, 1, chunks)
    if change == "append":
        path.write_text(path.read_text() + "60,60\n")
    elif change == "rewrite":
        path.write_text(path.read_text().replace("1", "3"))
    else:
        path.unlink()
    (merge,) = port.transfer.cut("job", plan, chunks[-1], 1, 1)
    counts = port.transfer.process("job", 1, plan, merge)
    assert (counts.updated, counts.rejected) == (1, 58)
    rejects = rejects_in(port.transfer.work_dir.rejects("job", merge.ordinal))
    assert [(told["line"], told["record"]) for told in rejects] == [(n + 1, n) for n in range(2, 60)]
    lost = [told for told in rejects if "the text of the record is lost" in told["message"]]
    assert all("in.csv" in told["message"] and not told["raw"] for told in lost)
    assert all(f"(id) = ({n}) is not in table t" in told["message"] for n, told in enumerate(rejects, 2))
    assert all(told["raw"] == f"{n},{n}" for n, told in enumerate(rejects, 2) if told not in lost)
    assert len(lost) == 58 if change == "remove" else (0 < len(lost) < 59) is (change == "rewrite")
    port.transfer.finish("job", plan, [merge])


def test_a_staging_that_is_gone_ends_the_job(port: Port) -> None:
    port.database.sql(f"CREATE TABLE t (id {port.database.key}, n BIGINT)", "INSERT INTO t VALUES (9, 9)")
    (port.directory / "in.csv").write_text("id,n\n1,1\n2,2\n3,3\n")
    spec = ImportSpec(
        files=(File(path="in.csv"),),
        target=Table(connection="harbour", table="t"),
        reconciliation=UPSERT,
        replace=True,
        chunk_bytes=6,
    )
    plan: Any = port.transfer.plan(spec)
    port.transfer.begin("job", 1, plan)
    chunks = port.transfer.cut("job", plan, None, 9)
    port.transfer.process("job", 1, plan, chunks[0])
    port.transfer.begin("job", 2, plan)
    for name in port.database.tables():
        if "stage" in name:
            schema, _, table = name.rpartition(".")
            full = f'"{schema}"."{table}"' if schema else f'"{table}"'
            if port.database.provider.name == "PostgreSQL":
                full = f'lading."{table}"'
            port.database.sql(f"DROP TABLE {full}")
    with pytest.raises(TargetChanged, match="staged records of this job are gone"):
        port.transfer.begin("job", 3, plan)
    assert port.database.sql("SELECT * FROM t") == [(9, 9)]
    port.transfer.discard("job", plan)
