"""Whole imports into odd tables: a bad record must not affect the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import ImportPlan
from ladingd.core.spec import File, ImportSpec, Table
from ladingd.data.databases.connection import Connection
from ladingd.data.databases.postgres.session import Address, close_idle, connected
from ladingd.data.storage.work_dir import WorkDir
from ladingd.data.transfer import BulkTransfer
from tests.harness.reject_files import rejects_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.unit.data.databases.postgres.conftest import Quay


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The result of an import: the number of inserted records, and the line and code of each reject."""

    inserted: int
    rejects: list[tuple[int, str]]


Importing = Callable[..., Loaded]


@pytest.fixture
def load(quay: Quay, tmp_path: Path) -> Importing:
    numbers = iter(range(1, 100))

    def load(text: str, *, url: str = "", types: Mapping[str, str] | None = None) -> Loaded:
        job = f"job-{next(numbers)}"
        (tmp_path / "in.csv").write_text(text)
        transfer = BulkTransfer(
            connections={"quay": Connection(name="quay", url=url or quay.url)},
            roots={"local": tmp_path},
            work_dir=WorkDir(directory=tmp_path / "work"),
        )
        target = Table(connection="quay", table="t")
        plan = transfer.plan(ImportSpec(files=(File(path="in.csv"),), target=target, types=types or {}))
        transfer.begin(job, 1, plan)
        chunks = transfer.cut("job", plan, None, 10)
        counts = sum((transfer.process(job, 1, plan, chunk) for chunk in chunks), Counts())
        assert counts.balances
        lines = rejects_in(tmp_path / "work/jobs" / job / "rejects")
        assert len(lines) == counts.rejected
        return Loaded(inserted=counts.inserted, rejects=[(reject["line"], reject["code"]) for reject in lines])

    return load


def test_keys_of_tables_that_inherit_are_no_keys_of_this_one(quay: Quay, load: Importing) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n > 0)); CREATE TABLE child () INHERITS (t)")
    quay.sql("INSERT INTO child VALUES (5, 1)")
    assert load("id,n\n5,1\n6,1\n7,0\n") == Loaded(inserted=2, rejects=[(4, "CHECK")])
    quay.sql("CREATE TABLE mother (id int PRIMARY KEY); CREATE TABLE heir () INHERITS (mother)")
    quay.sql("INSERT INTO heir VALUES (1); INSERT INTO mother VALUES (2); DROP TABLE t CASCADE")
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, m int REFERENCES mother)")
    assert load("id,m\n1,2\n2,1\n") == Loaded(inserted=1, rejects=[(3, "FOREIGN_KEY")])


def test_rows_that_a_policy_hides_are_there_for_a_foreign_key(quay: Quay, load: Importing) -> None:
    quay.sql("CREATE TABLE t (id int)")
    load("id\n1\n")  # has the ledger made
    quay.sql("DROP TABLE t; CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1), (2)")
    quay.sql("ALTER TABLE parent ENABLE ROW LEVEL SECURITY")
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, p int REFERENCES parent)")
    role = f"clerk_{quay.url.partition('quay_')[2][:12]}"
    quay.sql(f"CREATE ROLE {role} LOGIN; GRANT ALL ON t TO {role}; GRANT SELECT ON parent TO {role}")
    quay.sql(f"GRANT USAGE ON SCHEMA lading TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA lading TO {role}")
    try:
        url = quay.url.replace("//postgres:@", f"//{role}:@")
        assert url != quay.url
        assert load("id,p\n10,1\n11,2\n12,99\n", url=url) == Loaded(inserted=2, rejects=[(4, "FOREIGN_KEY")])
    finally:
        quay.sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_double_of_what_a_trigger_refuses_is_none(quay: Quay, load: Importing) -> None:
    quay.sql(
        "CREATE TABLE t (id int PRIMARY KEY, n int);"
        " CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF new.n < 0 THEN RAISE EXCEPTION 'negative'; END IF; RETURN NULL; END $$;"
        " CREATE TRIGGER a AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION no()"
    )
    loaded = load("id,n\n1,-1\n1,5\n2,7\n2,8\n")
    assert (loaded.inserted, [line for line, _ in loaded.rejects]) == (2, [2, 5])
    assert quay.sql("SELECT id, n FROM t ORDER BY id") == [(1, 5), (2, 7)]


def test_a_double_of_what_has_no_parent_is_none(quay: Quay, load: Importing) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES t)")
    assert load("id,parent\n1,999\n1,\n2,1\n") == Loaded(inserted=2, rejects=[(2, "FOREIGN_KEY")])
    assert quay.sql("SELECT id, parent FROM t ORDER BY id") == [(1, None), (2, 1)]


def test_a_double_of_what_a_full_match_refuses_is_none(quay: Quay, load: Importing) -> None:
    quay.sql("CREATE TABLE parent (a int, b int, PRIMARY KEY (a, b))")
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES parent MATCH FULL)")
    assert load("id,a,b\n1,1,\n1,,\n2,,\n") == Loaded(inserted=2, rejects=[(2, "FOREIGN_KEY")])


def test_there_was_no_year_0(quay: Quay, load: Importing) -> None:
    quay.sql("CREATE TABLE t (d date, a timestamp, b timestamptz)")
    good = "2024-05-01,2024-05-01 00:00:00,2024-05-01 00:00:00Z"
    lines = ["d,a,b", good, "0000-01-01,,", ",0000-05-01 00:00:00,", ",,0000-05-01 00:00:00Z", "0001-01-01,,"]
    codes = [(3, "NOT_A_DATE"), (4, "NOT_A_TIMESTAMP"), (5, "NOT_A_TIMESTAMPTZ")]
    assert load("\n".join(lines) + "\n") == Loaded(inserted=2, rejects=codes)


def test_a_timestamp_to_the_hour_spoils_no_other(quay: Quay, load: Importing) -> None:
    quay.sql("CREATE TABLE t (b timestamptz)")
    loaded = load("b\n2024-10-01 23-00:00\n2024-10-01 23:00:00\n2023-05-29T23:59-0530\n2024-10-01T23:00:00+05:30\n")
    assert (loaded.inserted, [line for line, _ in loaded.rejects]) == (3, [2])
    assert quay.sql("SELECT count(*) FROM t WHERE b = '2023-05-30T05:29Z'") == [(1,)]


def test_decimals_have_room_or_are_refused(quay: Quay, load: Importing) -> None:
    quay.sql("CREATE TABLE t (a numeric(38,18), b numeric(38,2))")
    nines = "9" * 36
    text = f"a,b\n753044089265407048979,1\n1.5,{nines}.99\n12345678901234567890.5,-{nines}.99\n,{nines}9.9\n"
    assert load(text) == Loaded(inserted=2, rejects=[(2, "OUT_OF_RANGE"), (5, "OUT_OF_RANGE")])
    assert quay.sql("SELECT a::text, b::text FROM t ORDER BY a") == [
        ("1.500000000000000000", f"{nines}.99"),
        ("12345678901234567890.500000000000000000", f"-{nines}.99"),
    ]


def test_nothing_is_rounded_without_a_word(quay: Quay, load: Importing) -> None:
    quay.sql("CREATE TABLE t (a numeric(10,2))")
    types = {"a": "decimal(10,4)"}
    assert load("a\n1.2355\n1.2300\n", types=types) == Loaded(inserted=1, rejects=[(2, "OUT_OF_RANGE")])


def test_values_go_into_text_as_they_are_spelled(quay: Quay, load: Importing) -> None:
    quay.sql("CREATE TABLE t (u varchar(40), d text, m text)")
    unit = "4c2f9d0e-8f3f-4d36-9d3e-3d9f1a2b3c4d"
    types = {"u": "uuid", "d": "decimal(15,8)", "m": "timestamp"}
    loaded = load(f"u,d,m\n{unit},0.00000012,2024-01-01 10:00:00\nx,1,\n,n/a,\n", types=types)
    assert (loaded.inserted, [line for line, _ in loaded.rejects]) == (1, [3, 4])
    assert quay.sql("SELECT * FROM t") == [(unit, "0.00000012", "2024-01-01 10:00:00")]


def test_a_column_that_was_made_wider_takes_what_it_has_refused(quay: Quay, tmp_path: Path) -> None:
    quay.sql("CREATE TABLE t (a int)")
    (tmp_path / "in.csv").write_text("a\n" + "3000000000\n" * 3 + "1\n")
    transfer = BulkTransfer(
        connections={"quay": Connection(name="quay", url=quay.url)},
        roots={"local": tmp_path},
        work_dir=WorkDir(directory=tmp_path / "work"),
    )
    plan = transfer.plan(ImportSpec(files=(File(path="in.csv"),), target=Table(connection="quay", table="t")))
    assert isinstance(plan, ImportPlan)
    transfer.begin("job", 1, plan)
    (chunk,) = transfer.cut("job", plan, None, 10)
    assert transfer.process("job", 1, plan, chunk).rejected == 3
    quay.sql("ALTER TABLE t ALTER a TYPE bigint")
    transfer.begin("job", 2, plan)
    assert transfer.process("job", 2, plan, replace(chunk, ordinal=1)).rejected == 0


@pytest.fixture
def clerk(quay: Quay, load: Importing) -> Iterator[tuple[str, str]]:
    """A role that may use only the ledger, and its URL."""
    quay.sql("CREATE TABLE t (id int)")
    load("id\n1\n")  # has the ledger made
    quay.sql("DROP TABLE t")
    role = f"clerk_{quay.url.partition('quay_')[2][:12]}"
    quay.sql(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA lading TO {role}")
    quay.sql(f"GRANT ALL ON ALL TABLES IN SCHEMA lading TO {role}")
    url = quay.url.replace("//postgres:@", f"//{role}:@")
    assert url != quay.url
    yield role, url
    close_idle()
    quay.sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_policy_refuses_records_one_by_one(quay: Quay, load: Importing, clerk: tuple[str, str]) -> None:
    role, url = clerk
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, owner text DEFAULT current_user); INSERT INTO t VALUES (5, 'other')")
    quay.sql("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    quay.sql(f"CREATE POLICY p ON t USING (owner = current_user) WITH CHECK (id < 100); GRANT ALL ON t TO {role}")
    loaded = load("id\n1\n200\n5\n7\n", url=url)
    assert loaded == Loaded(inserted=2, rejects=[(3, "POLICY"), (4, "UNIQUE")])
    assert quay.sql("SELECT id, owner FROM t ORDER BY id") == [(1, role), (5, "other"), (7, role)]


def test_a_missing_privilege_is_told_with_its_grant(quay: Quay, load: Importing, clerk: tuple[str, str]) -> None:
    role, url = clerk
    with pytest.raises(InvalidSpec, match=f'may not create the table t .* GRANT USAGE, CREATE ON SCHEMA .* "{role}";'):
        load("id\n1\n", url=url)
    quay.sql("CREATE TABLE t (id int)")
    with pytest.raises(InvalidSpec, match=f'may not insert into table t; .* GRANT INSERT ON "public"."t" TO "{role}";'):
        load("id\n1\n", url=url)
    with pytest.raises(InvalidSpec, match="schema pg_catalog is the server's own"):
        quay.target.table(Table(schema="pg_catalog", table="new"))


def test_settings_of_a_role_change_no_value(quay: Quay, load: Importing, clerk: tuple[str, str]) -> None:
    role, url = clerk
    for setting in ("array_nulls = off", "synchronous_commit = off", "DateStyle = 'German'", "bytea_output = 'escape'"):
        quay.sql(f"ALTER ROLE {role} SET {setting}")
    with connected(quay.target.address) as session:
        timed = session.server_version >= 170_000
    if timed:
        quay.sql(f"ALTER ROLE {role} SET transaction_timeout = '1min'")
    with connected(Address(name="quay", url=url)) as session:
        assert session.rows("SHOW synchronous_commit") == [("local",)]
        assert not timed or session.rows("SHOW transaction_timeout") == [("0",)]
    quay.sql(f"CREATE TABLE t (id int, a text[], d date); GRANT ALL ON t TO {role}")
    assert load('id,a,d\n1,"{x,NULL}",2024-02-01\n', url=url).inserted == 1
    assert quay.sql("SELECT a[2] IS NULL, d::text FROM t") == [(True, "2024-02-01")]


def test_a_character_that_the_database_lacks_costs_one_record(quay: Quay, load: Importing) -> None:
    own = quay.sql("SELECT current_database()")[0][0]
    name = own.replace("quay", "latin")
    quay.sql(f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    try:
        url = quay.url.replace(own, name)
        assert load("id,v\n1,é\n2,€\n3,ok\n", url=url) == Loaded(inserted=2, rejects=[(3, "NOT_IN_ENCODING")])
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT v FROM t ORDER BY id").fetchall() == [("é",), ("ok",)]
    finally:
        close_idle()
        quay.sql(f"DROP DATABASE {name}")


def test_a_constraint_that_a_trigger_defers_again_costs_one_record(quay: Quay, load: Importing) -> None:
    quay.sql(
        "CREATE TABLE t (id int, n int);"
        " CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN new; END $$;"
        " CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF new.n < 0 THEN RAISE EXCEPTION 'negative'; END IF; RETURN NULL; END $$;"
        " CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION late();"
        " CREATE CONSTRAINT TRIGGER b AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION no()"
    )
    assert load("id,n\n1,1\n2,-1\n3,3\n") == Loaded(inserted=2, rejects=[(3, "TRIGGER")])
    assert quay.sql("SELECT id FROM t ORDER BY id") == [(1,), (3,)]
