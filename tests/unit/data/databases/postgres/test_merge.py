"""Merges into odd tables of PostgreSQL, and beside other sessions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ladingd.core.bill import Counts, total
from ladingd.core.errors import InvalidSpec, TargetBusy, TargetRefused
from ladingd.core.spec import File, ImportSpec, Operation, Reconciliation, Table
from ladingd.data.databases.connection import Connection
from ladingd.data.databases.postgres.merge_writing import MergeWriting
from ladingd.data.databases.postgres.session import Session, close_idle
from ladingd.data.storage.work_dir import WorkDir
from ladingd.data.transfer import BulkTransfer
from tests.harness.reject_files import rejects_in
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.data.databases.postgres.conftest import Quay

UPSERT = Reconciliation(key=("id",))


@dataclass(frozen=True, kw_only=True)
class Done:
    """The end of an import."""

    counts: Counts
    rejects: dict[int, str]
    """The code of each rejected record."""
    messages: list[str]

    @property
    def numbers(self) -> dict[str, int]:
        names = ("inserted", "updated", "unchanged", "deleted", "rejected")
        return {name: number for name in names if (number := getattr(self.counts, name))}


Merging = Callable[..., Done]


@pytest.fixture
def merge(quay: Quay, tmp_path: Path) -> Iterator[Merging]:
    jobs = iter(range(1, 100))

    def merge(text: str, wanted: Reconciliation = UPSERT, *, url: str = "", **options: Any) -> Done:
        job = f"job-{next(jobs)}"
        (tmp_path / f"{job}.csv").write_text(text)
        transfer = BulkTransfer(
            connections={"quay": Connection(name="quay", url=url or quay.url)},
            roots={"local": tmp_path},
            work_dir=WorkDir(directory=tmp_path / "work"),
        )
        spec = ImportSpec(
            files=(File(path=f"{job}.csv"),),
            target=Table(connection="quay", table="t"),
            reconciliation=wanted,
            **options,
        )
        plan: Any = transfer.plan(spec)
        transfer.begin(job, 1, plan)
        counts: list[Counts] = []
        chunks: list[Any] = []
        for phase in range(len(plan.phases)):
            if phase:
                transfer.advance(job, 1, plan, phase, chunks)
            chunks = [*transfer.cut(job, plan, chunks[-1] if chunks else None, 100, phase)]
            counts += [transfer.process(job, 1, plan, chunk) for chunk in chunks]
        transfer.finish(job, plan, chunks)
        bill = total(counts)
        assert bill.balances
        assert not bill.pending
        rejects = rejects_in(tmp_path / "work/jobs" / job / "rejects")
        return Done(
            counts=bill,
            rejects={reject["record"]: reject["code"] for reject in rejects},
            messages=[reject["message"] for reject in rejects],
        )

    yield merge
    close_idle()


def test_a_trigger_that_skips_rows_leaves_rejects(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, n int)")
    quay.sql("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)")
    quay.sql(
        "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.n = 13 THEN RETURN NULL; END IF; RETURN NEW; END $$"
    )
    quay.sql("CREATE TRIGGER skip BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION skip()")
    done = merge("id,n\n1,13\n2,5\n3,3\n4,13\n5,6\n")
    assert done.rejects == {1: "IGNORED_BY_TRIGGER", 4: "IGNORED_BY_TRIGGER"}
    assert done.numbers == {"inserted": 1, "updated": 1, "unchanged": 1, "rejected": 2}
    assert quay.sql("SELECT * FROM t ORDER BY id") == [(1, 1), (2, 5), (3, 3), (5, 6)]


def test_a_trigger_that_raises_leaves_rejects(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, n int)")
    quay.sql("INSERT INTO t SELECT i, i FROM generate_series(1, 40) i")
    quay.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.n % 100 = 77 THEN RAISE 'no 77 here'; END IF; RETURN NEW; END $$"
    )
    quay.sql("CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION refuse()")
    done = merge("id,n\n" + "".join(f"{n},{n + 60}\n" for n in range(1, 161)))
    assert done.rejects == {17: "TRIGGER", 117: "TRIGGER"}
    assert done.messages == ["no 77 here"] * 2
    assert done.numbers == {"inserted": 119, "updated": 39, "rejected": 2}


def test_triggers_see_only_rows_that_change(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, n int)")
    quay.sql("CREATE TABLE seen (what text, id int)")
    quay.sql("INSERT INTO t VALUES (1, 1), (2, 2), (3, NULL)")
    quay.sql(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO seen VALUES (TG_OP, NEW.id); RETURN NULL; END $$"
    )
    quay.sql("CREATE TRIGGER note AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note()")
    done = merge("id,n\n1,1\n2,5\n3,\n4,4\n")
    assert done.numbers == {"inserted": 1, "updated": 1, "unchanged": 2}
    assert sorted(quay.sql("SELECT * FROM seen")) == [("INSERT", 4), ("UPDATE", 2)]


def test_a_trigger_that_changes_the_values_is_obeyed(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, n int, stamp text NOT NULL)")
    quay.sql(
        "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.stamp := 'at ' || NEW.n; RETURN NEW; END $$"
    )
    quay.sql("CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION stamp()")
    assert merge("id,n\n1,1\n").numbers == {"inserted": 1}
    assert merge("id,n\n1,2\n").numbers == {"updated": 1}
    assert quay.sql("SELECT * FROM t") == [(1, 2, "at 2")]


@pytest.mark.parametrize(
    ("operation", "meanwhile", "code", "rows"),
    [
        (Operation.UPDATE, "DELETE FROM t WHERE id = 2", "NOT_FOUND", [(1, 10)]),
        (Operation.INSERT, "INSERT INTO t VALUES (3, 7)", "DUPLICATE", [(1, 1), (2, 2), (3, 7), (4, 40)]),
    ],
)
def test_rows_that_come_or_go_between_the_statements_are_noticed(
    quay: Quay,
    merge: Merging,
    monkeypatch: pytest.MonkeyPatch,
    operation: Operation,
    meanwhile: str,
    code: str,
    rows: list[tuple[int, int]],
) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, n int)")
    quay.sql("INSERT INTO t VALUES (1, 1), (2, 2)")
    others, write = [meanwhile], MergeWriting.write

    def interrupted(self: MergeWriting, *given: Any) -> Any:
        while others:
            quay.sql(others.pop())
        return write(self, *given)

    monkeypatch.setattr(MergeWriting, "write", interrupted)
    ids = (1, 2) if operation is Operation.UPDATE else (3, 4)
    text = "id,n\n" + "".join(f"{n},{n * 10}\n" for n in ids)
    done = merge(text, Reconciliation(key=("id",), operation=operation))
    assert list(done.rejects.values()) == [code]
    assert not done.counts.unchanged
    assert quay.sql("SELECT * FROM t ORDER BY id") == rows


def test_a_record_may_refer_to_another_one_though_a_third_is_rejected(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES t)")
    done = merge("id,parent\n1,2\n2,3\n3,\n4,9\n5,4\n6,5\n7,8\n8,7\n9,x\n")
    assert done.rejects == {4: "FOREIGN_KEY", 5: "FOREIGN_KEY", 6: "FOREIGN_KEY", 9: "NOT_AN_INTEGER"}
    assert quay.sql("SELECT * FROM t ORDER BY id") == [(1, 2), (2, 3), (3, None), (7, 8), (8, 7)]


def test_a_column_with_a_percent_sign_is_named_in_a_reject(quay: Quay, merge: Merging) -> None:
    quay.sql('CREATE TABLE t (id int PRIMARY KEY, "n %" int NOT NULL)')
    quay.sql(
        "CREATE FUNCTION empty() RETURNS trigger LANGUAGE plpgsql AS "
        '$$ BEGIN NEW."n %" := nullif(NEW."n %", 7); RETURN NEW; END $$'
    )
    quay.sql("CREATE TRIGGER empty BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION empty()")
    done = merge("id,n %\n1,1\n2,7\n")
    assert done.rejects == {2: "NOT_NULL"}
    assert done.numbers == {"inserted": 1, "rejected": 1}


def test_a_trigger_that_keeps_rows_stops_their_replacement(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, n int)")
    quay.sql("INSERT INTO t VALUES (1, 1), (2, 2)")
    quay.sql(
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF OLD.id = 2 THEN RETURN NULL; END IF; RETURN OLD; END $$"
    )
    quay.sql("CREATE TRIGGER hold BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION hold()")
    with pytest.raises(TargetRefused, match="a trigger keeps them"):
        merge("id,n\n1,10\n3,30\n", replace=True)
    assert quay.sql("SELECT * FROM t ORDER BY id") == [(1, 1), (2, 2)]


def test_a_trigger_that_changes_keys_costs_no_new_row_of_a_replacement(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id text PRIMARY KEY, n int CHECK (n < 50))")
    quay.sql("INSERT INTO t VALUES ('a', 1)")
    quay.sql(
        "CREATE FUNCTION fold() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.id := lower(NEW.id); RETURN NEW; END $$"
    )
    quay.sql("CREATE TRIGGER fold BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION fold()")
    with pytest.raises(TargetRefused, match="changes the key of new rows"):
        merge("id,n\nB,2\nc,3\nd,99\n", replace=True)
    assert quay.sql("SELECT * FROM t") == [("a", 1)]


def test_a_check_that_fails_for_a_record_rejects_only_that_record(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, n int CHECK (10 / n > 0), CHECK (current_user <> ''))")
    done = merge("id,n\n1,5\n2,0\n3,-1\n4,2\n")
    assert done.rejects == {2: "INVALID_VALUE", 3: "CHECK"}
    assert quay.sql("SELECT * FROM t ORDER BY id") == [(1, 5), (4, 2)]


def test_many_refused_records_cost_few_statements(quay: Quay, merge: Merging, monkeypatch: pytest.MonkeyPatch) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, n int, state text, place text)")
    quay.sql("INSERT INTO t SELECT i, 0 FROM generate_series(1, 3000, 2) i")
    quay.sql(
        "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.n % 7 = 0 THEN RAISE 'seven in %', NEW.n; END IF; IF NEW.n % 11 = 0 THEN RETURN NULL; END IF; "
        "RETURN NEW; END $$; CREATE TRIGGER odd BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION odd()"
    )
    statements = 0
    ask = Session.rows

    def counting(*args: Any) -> Any:
        nonlocal statements
        statements += 1
        return ask(*args)

    monkeypatch.setattr(Session, "rows", counting)
    done = merge("id,n,state,place\n" + "".join(f"{n},{n},s,p\n" for n in range(1, 3001)))
    seven = {n for n in range(1, 3001) if n % 7 == 0}
    eleven = {n for n in range(1, 3001) if n % 11 == 0} - seven
    assert done.rejects == dict.fromkeys(seven, "TRIGGER") | dict.fromkeys(eleven, "IGNORED_BY_TRIGGER")
    assert {f"seven in {n}" for n in seven} <= set(done.messages)
    good = [n for n in range(1, 3001) if n not in seven | eleven]
    assert done.counts.inserted == sum(n % 2 == 0 for n in good)
    assert done.counts.updated == sum(n % 2 for n in good)
    assert quay.sql("SELECT n FROM t WHERE n > 0 ORDER BY id") == [(n,) for n in good]
    assert statements < 200, "the server tries single records by itself"


def test_a_policy_that_hides_rows_leaves_rejects(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, owner text, n int)")
    quay.sql("INSERT INTO t VALUES (1, 'crew', 1), (2, 'captain', 2)")
    name = quay.sql("SELECT current_database()")[0][0]
    quay.sql(f'CREATE ROLE crew LOGIN; GRANT ALL ON DATABASE "{name}" TO crew; GRANT ALL ON t TO crew')
    try:
        quay.sql("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
        quay.sql("CREATE POLICY own ON t USING (owner = current_user) WITH CHECK (owner = current_user)")
        done = merge(
            "id,owner,n\n1,crew,5\n2,crew,6\n3,crew,7\n4,captain,8\n", url=quay.url.replace("postgres:", "crew:", 1)
        )
        assert done.rejects == {2: "UNIQUE", 4: "POLICY"}
        assert done.numbers == {"inserted": 1, "updated": 1, "rejected": 2}
        assert quay.sql("SELECT * FROM t ORDER BY id") == [(1, "crew", 5), (2, "captain", 2), (3, "crew", 7)]
    finally:
        close_idle()
        quay.sql("DROP OWNED BY crew CASCADE; DROP ROLE crew")


@pytest.mark.parametrize("wanted", [Reconciliation(), UPSERT])
def test_a_replacement_is_refused_if_a_policy_may_hide_rows(
    quay: Quay, merge: Merging, monkeypatch: pytest.MonkeyPatch, wanted: Reconciliation
) -> None:
    quay.sql("CREATE TABLE t (id int, owner text); CREATE UNIQUE INDEX ON t (id)")
    quay.sql("INSERT INTO t VALUES (1, 'crew'), (2, 'captain')")
    name = quay.sql("SELECT current_database()")[0][0]
    quay.sql(f'CREATE ROLE crew LOGIN; GRANT ALL ON DATABASE "{name}" TO crew; GRANT ALL ON t TO crew')
    url = quay.url.replace("postgres:", "crew:", 1)
    police = "ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON t USING (owner = current_user)"
    begin = BulkTransfer.begin

    def begin_and_police(*args: Any) -> Any:
        committed = begin(*args)
        quay.sql(police)
        return committed

    try:
        monkeypatch.setattr(BulkTransfer, "begin", begin_and_police)
        with pytest.raises(TargetRefused, match="may hide rows of table t from the account crew"):
            merge("id,owner\n3,crew\n", wanted, url=url, replace=True)
        monkeypatch.undo()
        with pytest.raises(InvalidSpec, match="may hide rows of table t from the account crew") as refused:
            merge("id,owner\n3,crew\n", wanted, url=url, replace=True)
        assert refused.value.field == "replace"
        assert quay.sql("SELECT * FROM t ORDER BY id") == [(1, "crew"), (2, "captain")]
        assert merge("id,owner\n3,crew\n", wanted, replace=True).numbers == {"inserted": 1}, "the owner sees all rows"
    finally:
        close_idle()
        quay.sql("DROP OWNED BY crew CASCADE; DROP ROLE crew")


def test_types_refuse_values_when_they_are_staged(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TYPE mood AS ENUM ('sad', 'happy')")
    quay.sql("CREATE DOMAIN small AS int CHECK (VALUE < 10)")
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, name varchar(3), mood mood, amount small, data json, tags text[])")
    text = (
        "id,name,mood,amount,data,tags\n"
        '1,abc,sad,1,{},"{a,b}"\n2,abcd,sad,1,{},{}\n3,abc,odd,1,{},{}\n4,abc,sad,10,{},{}\n5,abc,sad,1,{,{}\n'
    )
    assert merge(text).rejects == {2: "TOO_LONG", 3: "INVALID_VALUE", 4: "CHECK", 5: "INVALID_VALUE"}
    assert merge(text).numbers == {"unchanged": 1, "rejected": 4}


def test_what_is_equal_but_not_the_same_is_updated(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, n numeric, f float8, d jsonb, v varchar(9))")
    text = "id,n,f,d,v\n1,1.0,0,{},a\n2,1.0,0,{},a\n"
    assert merge(text).numbers == {"inserted": 2}
    assert merge("id,n,f,d,v\n1,1.00,0,{},a\n2,1.0,-0,{},a\n").numbers == {"updated": 2}


def test_a_key_with_its_own_idea_of_equality(quay: Quay, merge: Merging) -> None:
    try:
        quay.sql("CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    except psycopg.Error as error:
        pytest.skip(str(error))
    quay.sql("CREATE TABLE t (id text COLLATE ci PRIMARY KEY, n int)")
    quay.sql("INSERT INTO t VALUES ('Anna', 1)")
    done = merge("id,n\nANNA,2\nbob,3\nBob,4\n")
    assert done.numbers == {"inserted": 1, "updated": 1}
    assert done.counts.ignored_doubles == 1
    assert sorted(quay.sql("SELECT * FROM t")) == [("Anna", 2), ("Bob", 4)]


def test_a_partitioned_table(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int, part int, n int, PRIMARY KEY (id, part)) PARTITION BY LIST (part)")
    quay.sql("CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)")
    quay.sql("CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2)")
    quay.sql("INSERT INTO t VALUES (1, 1, 1), (1, 2, 2)")
    done = merge("id,part,n\n1,1,5\n1,2,2\n2,2,3\n9,9,9\n", Reconciliation(key=("id", "part")))
    assert done.numbers == {"inserted": 1, "updated": 1, "unchanged": 1, "rejected": 1}
    assert list(done.rejects) == [4]


def test_an_identity_goes_on_behind_the_merged_values(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mail text UNIQUE, n int)")
    quay.sql("INSERT INTO t (mail, n) VALUES ('a', 1)")
    both = Reconciliation(key=("id",), second_key=("mail",))
    done = merge("id,mail,n\n7,b,1\n,a,5\n,c,6\n", both)
    assert done.numbers == {"inserted": 2, "updated": 1}
    assert quay.sql("SELECT mail, n FROM t ORDER BY mail") == [("a", 5), ("b", 1), ("c", 6)]
    assert quay.sql("INSERT INTO t (mail) VALUES ('d') RETURNING id > 7") == [(True,)]


def test_a_record_and_its_parent_in_one_file(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES t)")
    done = merge("id,parent\n2,1\n1,\n3,9\n4,3\n")
    assert done.rejects == {3: "FOREIGN_KEY", 4: "FOREIGN_KEY"}
    assert done.numbers == {"inserted": 2, "rejected": 2}


def test_rows_that_others_refer_to_are_not_deleted(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, n int)")
    quay.sql("CREATE TABLE child (t int REFERENCES t)")
    quay.sql("INSERT INTO t VALUES (1, 1), (2, 2); INSERT INTO child VALUES (2)")
    done = merge("id\n1\n2\n", Reconciliation(key=("id",), operation=Operation.DELETE))
    assert done.rejects == {2: "FOREIGN_KEY"}
    assert done.numbers == {"deleted": 1, "rejected": 1}


def test_a_replacement_by_key_keeps_what_others_refer_to(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, n int)")
    quay.sql("CREATE TABLE child (t int REFERENCES t)")
    quay.sql("CREATE VIEW shown AS SELECT * FROM t")
    quay.sql("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3); INSERT INTO child VALUES (2)")
    done = merge("id,n\n2,5\n4,4\n", replace=True)
    assert done.numbers == {"inserted": 1, "updated": 1}
    assert done.counts.removed == 2
    assert quay.sql("SELECT * FROM shown ORDER BY id") == [(2, 5), (4, 4)]


def test_a_view_is_no_target(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE VIEW t AS SELECT 1 AS id")
    with pytest.raises(InvalidSpec, match="t is a view"):
        merge("id\n1\n")


def test_rules_are_refused(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY)")
    quay.sql("CREATE RULE r AS ON UPDATE TO t DO INSTEAD NOTHING")
    with pytest.raises(InvalidSpec, match="table t has rules"):
        merge("id\n1\n")


def test_a_missing_right_is_told_before_the_start(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, n int)")
    name = quay.sql("SELECT current_database()")[0][0]
    quay.sql(f'CREATE ROLE cook LOGIN; GRANT ALL ON DATABASE "{name}" TO cook; GRANT INSERT, SELECT ON t TO cook')
    try:
        with pytest.raises(InvalidSpec, match="GRANT UPDATE ON"):
            merge("id,n\n1,1\n", url=quay.url.replace("postgres:", "cook:", 1))
    finally:
        close_idle()
        quay.sql("DROP OWNED BY cook CASCADE; DROP ROLE cook")


def test_a_key_that_another_session_inserts_meanwhile_is_updated(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, n int)")
    found: list[Done] = []
    with psycopg.connect(quay.url) as other:
        other.execute("INSERT INTO t VALUES (2, 0)")
        thread = threading.Thread(target=lambda: found.append(merge("id,n\n1,1\n2,2\n")))
        thread.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%MERGE%'"
        until(lambda: quay.sql(waiting) == [(1,)], "the merge waits for the other session")
        other.commit()
        thread.join(30)
    (done,) = found
    assert done.numbers == {"inserted": 1, "updated": 1}
    assert quay.sql("SELECT * FROM t ORDER BY id") == [(1, 1), (2, 2)]


def test_two_merges_at_once_leave_each_key_once(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int, who int, n int)")  # No index guards the key.
    found: list[Done] = []

    def load(who: int) -> None:
        rows = [f"{n},{who},{n}\n" for n in range(who * 500, who * 500 + 2000)]
        found.append(merge("id,who,n\n" + "".join(rows if who else reversed(rows))))

    threads = [threading.Thread(target=load, args=(who,)) for who in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 3
    assert quay.sql("SELECT count(*), count(DISTINCT id) FROM t") == [(3000, 3000)]
    assert sum(done.counts.inserted for done in found) == 3000
    assert sum(done.counts.updated for done in found) == 3000


def test_the_holder_of_a_lock_is_named(quay: Quay, merge: Merging) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, n int)")
    with psycopg.connect(quay.url, application_name="backup of the night") as other:
        other.execute("LOCK TABLE t")
        with pytest.raises(TargetBusy, match="backup of the night"):
            merge("id,n\n1,1\n")


def test_older_servers_update_and_insert_in_two_statements(
    quay: Quay, merge: Merging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ladingd.data.databases.postgres.merge_writing._RETURNING_ACTIONS", 10**9)
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, n int)")
    quay.sql("INSERT INTO t VALUES (1, 1), (2, 2)")
    assert merge("id,n\n1,1\n2,5\n3,3\n").numbers == {"inserted": 1, "updated": 1, "unchanged": 1}
    done = merge("id,n\n1,7\n9,9\n", Reconciliation(key=("id",), operation=Operation.UPDATE))
    assert (done.numbers, done.rejects) == ({"updated": 1, "rejected": 1}, {2: "NOT_FOUND"})
    assert quay.sql("SELECT * FROM t ORDER BY id") == [(1, 7), (2, 5), (3, 3)]
