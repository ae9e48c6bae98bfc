"""Records that the table refuses, and all others beside them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import psycopg
import pyarrow as pa
import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import TargetRefused
from ladingd.core.job import Connector
from ladingd.data.databases.postgres import bulk_load as load
from ladingd.data.databases.postgres.session import Session
from ladingd.data.databases.postgres.violations import Probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from ladingd.data.databases.postgres.refusal import Refusal
    from tests.unit.data.databases.postgres.conftest import Quay

SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE DOMAIN few AS integer CHECK (VALUE < 1000);
CREATE TABLE harbour (id int PRIMARY KEY);
INSERT INTO harbour VALUES (1), (2);
CREATE TABLE t (
    id int PRIMARY KEY, email varchar(12) NOT NULL, amount numeric(6,2) CHECK (amount % 2 <> 1),
    harbour int REFERENCES harbour,
    mood mood, few few, EXCLUDE USING btree (few WITH =)
);
CREATE UNIQUE INDEX t_email ON t (lower(email)) WHERE id > 0;
INSERT INTO t VALUES (100, 'there', 0)
"""
RECORDS: list[tuple[object, ...]] = [
    (1, "a", "1.50", 1, "sad", None),
    (1, "b", None, None, None, None),
    (100, "c", None, None, None, None),
    (4, "A", None, None, None, None),
    (5, "THERE", None, None, None, None),
    (6, "f", "3.00", None, None, None),
    (7, "g", None, 3, None, None),
    (8, "h", None, None, "mad", None),
    (9, "much too long", None, None, None, None),
    (10, None, None, None, None, None),
    (11, "k", "99999.00", None, None, None),
    (12, "l", None, None, None, 1000),
    (13, "m            ", None, 2, "glad", 7),
    (14, "n", None, None, None, 7),
    (-1, "A", None, None, None, None),
]
TYPES = (pa.int32(), pa.string(), pa.string(), pa.int32(), pa.string(), pa.int32())
FAULTS = [
    (1, "UNIQUE", "s_id", "1"),
    (2, "UNIQUE", "s_id", "100"),
    (3, "UNIQUE", "", ""),
    (4, "UNIQUE", "", ""),
    (5, "CHECK", "s_amount", "3.00"),
    (6, "FOREIGN_KEY", "s_harbour", "3"),
    (7, "INVALID_VALUE", "s_mood", "mad"),
    (8, "TOO_LONG", "s_email", "much too long"),
    (9, "NOT_NULL", "s_email", ""),
    (10, "OUT_OF_RANGE", "s_amount", "99999.00"),
    (11, "CHECK", "s_few", "1000"),
    (13, "EXCLUSION", "s_few", "7"),
]


def _columns() -> dict[str, pa.Array]:
    names = ("id", "email", "amount", "harbour", "mood", "few")
    columns = zip(*RECORDS, strict=True)
    arrays = {name: pa.array(values, kind) for name, values, kind in zip(names, columns, TYPES, strict=True)}
    return arrays | {"amount": arrays["amount"].cast(pa.decimal128(10, 2))}


def test_every_kind_of_violator_is_found_and_no_other_record_suffers(quay: Quay) -> None:
    quay.sql(SCHEMA)
    assert quay.write(_columns()) == Counts(read=15, inserted=3, rejected=12, errors=12)
    assert quay.sql("SELECT id FROM t WHERE id <> 100 ORDER BY id") == [(-1,), (1,), (13,)]
    expected = [fault if fault[1] != "EXCLUSION" else (13, "EXCLUSION", "", "") for fault in FAULTS]
    assert quay.codes == expected
    assert {fault.connector for fault in quay.faults} == {Connector.DATABASE}
    assert quay.faults[0].message == 'duplicate key value violates unique constraint "t_pkey"'


def test_trying_alone_finds_the_same_records(quay: Quay, monkeypatch: pytest.MonkeyPatch) -> None:
    quay.sql(SCHEMA)
    monkeypatch.setattr(load, "PROBES", 0)
    quay.write(_columns())
    assert [(index, code) for index, code, _, _ in quay.codes] == [(index, code) for index, code, _, _ in FAULTS]
    assert quay.sql("SELECT id FROM t WHERE id <> 100 ORDER BY id") == [(-1,), (1,), (13,)]


@pytest.mark.parametrize("counts", ["on", "off"])
@pytest.mark.parametrize("moment", ["BEFORE", "AFTER"])
def test_runs_of_good_and_bad_records_of_any_length(quay: Quay, moment: str, counts: str) -> None:
    (name,) = quay.sql("SELECT current_database()")[0]
    quay.sql(f'ALTER DATABASE "{name}" SET track_counts = {counts}')
    quay.sql(
        "CREATE TABLE t (id int PRIMARY KEY, n int);"
        "CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.n = 1 THEN RAISE EXCEPTION 'no %', NEW.id; END IF; RETURN CASE NEW.n WHEN 2 THEN NULL ELSE NEW END;"
        f" END $$; CREATE TRIGGER judge {moment} INSERT ON t FOR EACH ROW EXECUTE FUNCTION judge()"
    )
    chance = random.Random(3)
    kinds: list[int] = []
    while len(kinds) < 3000:
        kinds += [chance.choice((0, 0, 1, 2))] * chance.choice((1, 1, 2, 7, 40, 300))
    quay.write({"id": list(range(len(kinds))), "n": kinds})
    refused = (1, 2) if moment == "BEFORE" else (1,)
    assert [fault.index for fault in quay.faults] == [row for row, kind in enumerate(kinds) if kind in refused]
    assert all(fault.message == f"no {fault.index}" for fault in quay.faults if kinds[fault.index] == 1)
    rows = quay.sql("SELECT id FROM t ORDER BY id")
    assert rows == [(row,) for row, kind in enumerate(kinds) if kind not in refused]


def test_records_that_are_refused_together_and_not_alone_are_taken(quay: Quay) -> None:
    quay.sql(
        "CREATE TABLE t (id int PRIMARY KEY);"
        "CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF (SELECT count(*) > 1 AND bool_or(id % 50 = 7) FROM fresh) THEN RAISE EXCEPTION 'not together'; END IF;"
        " RETURN NULL; END $$;"
        "CREATE TRIGGER judge AFTER INSERT ON t REFERENCING NEW TABLE AS fresh EXECUTE FUNCTION judge()"
    )
    counts = quay.write({"id": list(range(300))})
    assert counts == Counts(read=300, inserted=300)
    assert quay.sql("SELECT count(*) FROM t") == [(300,)]


def test_a_record_that_is_left_out_is_not_told_the_column_of_one_before(quay: Quay) -> None:
    quay.sql(
        "CREATE TABLE t (id int NOT NULL, n int);"
        "CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.n = 1 THEN NEW.id := NULL; END IF; RETURN CASE NEW.n WHEN 2 THEN NULL ELSE NEW END; END $$;"
        "CREATE TRIGGER judge BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION judge()"
    )
    quay.write({"id": [1, 2, 3], "n": [0, 1, 2]})
    assert quay.codes == [(1, "NOT_NULL", "s_id", "2"), (2, "IGNORED_BY_TRIGGER", "", "")]


def test_many_violators_far_apart_are_found_by_trying(quay: Quay, monkeypatch: pytest.MonkeyPatch) -> None:
    quay.sql(
        "CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n % 97 <> 0) REFERENCES t DEFERRABLE INITIALLY DEFERRED)"
    )
    quay.sql("INSERT INTO t VALUES (-1, NULL)")
    numbers = [-1 if number % 97 and number % 89 else (number if number % 97 == 0 else -2) for number in range(1, 4001)]
    monkeypatch.setattr(load, "PROBES", 0)
    counts = quay.write({"id": list(range(1, 4001)), "n": numbers})
    bad = {number - 1 for number in range(1, 4001) if number % 97 == 0 or number % 89 == 0}
    assert {fault.index for fault in quay.faults} == bad
    assert counts.inserted == 4000 - len(bad)
    assert quay.sql("SELECT count(*) - 1 FROM t") == [(counts.inserted,)]


def test_a_later_chunk_is_probed_first_and_comes_to_the_same(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY)")
    for ordinal in range(3):
        quay.write({"id": [ordinal * 2, ordinal * 2, ordinal * 2 + 1]}, ordinal=ordinal)
        assert [fault.index for fault in quay.faults] == [1]
    assert quay.sql("SELECT id FROM t ORDER BY id") == [(number,) for number in range(6)]


def test_a_record_that_only_a_refused_one_stands_against_is_taken(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (a int UNIQUE, b int UNIQUE, c int CHECK (c > 0))")
    quay.write({"a": [1, 1, 3, 4, 5], "b": [1, 2, 2, 2, 5], "c": [1, 1, 1, 1, 0]})
    assert quay.codes == [(1, "UNIQUE", "s_a", "1"), (3, "UNIQUE", "s_b", "2"), (4, "CHECK", "s_c", "0")]


def test_several_columns_of_a_key_stand_in_the_message(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (a int, b text, UNIQUE NULLS NOT DISTINCT (a, b))")
    quay.write({"a": [1, 1, None, None], "b": ["x", "x", None, None]})
    assert quay.codes == [(1, "UNIQUE", "", ""), (3, "UNIQUE", "", "")]
    assert quay.faults[0].message.endswith(": (a, b) = (1, x)")


def test_references_within_the_batch(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES t)")
    quay.write({"id": [1, 2, 3, 4], "parent": [2, None, 9, 3]})
    assert quay.codes == [(2, "FOREIGN_KEY", "s_parent", "9"), (3, "FOREIGN_KEY", "s_parent", "3")]


def test_triggers_fire_and_refuse(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int, n int NOT NULL)")
    quay.sql(
        "CREATE FUNCTION mend() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.n := coalesce(NEW.n, 7);"
        " IF NEW.id = 3 THEN RAISE EXCEPTION 'three is taken'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER mend BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION mend()"
    )
    quay.write({"id": [1, 2, 3, 4], "n": [None, 2, 3, 4]})
    assert [(fault.index, fault.code, fault.message) for fault in quay.faults] == [(2, "TRIGGER", "three is taken")]
    assert quay.sql("SELECT * FROM t ORDER BY id") == [(1, 7), (2, 2), (4, 4)]


REFUSING = """
CREATE TABLE t (id int PRIMARY KEY, n int);
CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.n > 0 THEN {verdict} END IF; RETURN NEW; END $$;
CREATE TRIGGER judge {moment} INSERT ON t FOR EACH ROW EXECUTE FUNCTION judge()
"""
VERDICTS = {
    "raised before": ("BEFORE", "RAISE EXCEPTION 'no';", "TRIGGER"),
    "raised after": ("AFTER", "RAISE EXCEPTION 'no';", "TRIGGER"),
    "ignored": ("BEFORE", "RETURN NULL;", "IGNORED_BY_TRIGGER"),
}


@pytest.mark.parametrize(("moment", "verdict", "code"), VERDICTS.values(), ids=VERDICTS.keys())
@pytest.mark.parametrize("share", [100, 20, 1])
def test_records_that_triggers_refuse_cost_no_statement_each(
    quay: Quay, moment: str, verdict: str, code: str, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    quay.sql(REFUSING.format(moment=moment, verdict=verdict))
    statements = 0
    for name in ("run", "rows", "copy"):
        method = getattr(Session, name)

        def counted(*arguments: object, method: Callable[..., object] = method) -> object:
            nonlocal statements
            statements += 1
            return method(*arguments)

        monkeypatch.setattr(Session, name, counted)
    for ordinal in range(3):
        numbers = list(range(ordinal * 500, ordinal * 500 + 500))
        bad = [number for number in numbers if number % share == share // 2]
        counts = quay.write({"id": numbers, "n": [int(number in set(bad)) for number in numbers]}, ordinal=ordinal)
        assert counts == Counts(read=500, inserted=500 - len(bad), rejected=len(bad), errors=len(bad))
        assert [(fault.index, fault.code) for fault in quay.faults] == [(number - numbers[0], code) for number in bad]
    assert quay.sql("SELECT count(*) FROM t") == [(1500 - len(range(share // 2, 1500, share)),)]
    assert statements < 3 * 100, "fewer than a statement for each refused record of a chunk"


@pytest.mark.parametrize("rule", ["", "CREATE RULE also AS ON INSERT TO t DO ALSO NOTHING"], ids=["no rule", "rule"])
def test_a_trigger_that_ignores_some_and_refuses_others(quay: Quay, rule: str) -> None:
    quay.sql(
        "CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n < 8));"
        "CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.n % 5 = 1 THEN RETURN NULL; ELSIF NEW.n % 5 = 2 THEN RAISE EXCEPTION 'two of %', NEW.id; END IF;"
        " NEW.id := NEW.id / 2 * 2; RETURN NEW; END $$;"
        "CREATE TRIGGER judge BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION judge()"
    )
    quay.sql(rule)
    for ordinal in range(2):
        first = ordinal * 20
        quay.write({"id": list(range(first, first + 10)), "n": list(range(10))}, ordinal=ordinal)
        assert [(fault.index, fault.code, fault.message) for fault in quay.faults] == [
            (1, "IGNORED_BY_TRIGGER", "a trigger of table t ignores this record"),
            (2, "TRIGGER", f"two of {first + 2}"),
            (5, "UNIQUE", 'duplicate key value violates unique constraint "t_pkey"'),
            (6, "IGNORED_BY_TRIGGER", "a trigger of table t ignores this record"),
            (7, "TRIGGER", f"two of {first + 7}"),
            (8, "CHECK", 'new row for relation "t" violates check constraint "t_n_check"'),
            (9, "CHECK", 'new row for relation "t" violates check constraint "t_n_check"'),
        ]
    assert quay.sql("SELECT * FROM t ORDER BY id") == [(0, 0), (2, 3), (4, 4), (20, 0), (22, 3), (24, 4)]


def test_a_trigger_that_puts_records_elsewhere_ends_the_job(quay: Quay) -> None:
    quay.sql(
        "CREATE TABLE t (id int); CREATE TABLE child () INHERITS (t);"
        "CREATE FUNCTION route() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO child VALUES (NEW.id);"
        " RETURN NULL; END $$;"
        "CREATE TRIGGER route BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION route()"
    )
    with pytest.raises(TargetRefused, match="into tables that inherit from it"):
        quay.write({"id": [1, 2]})
    assert quay.sql("SELECT count(*) FROM t") == [(0,)]


def test_partitioned_tables_generated_columns_and_identities(quay: Quay) -> None:
    quay.sql(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED,"
        " a int[]) PARTITION BY RANGE (n); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10)"
    )
    quay.write({"n": [1, 11, 2]})
    assert quay.codes == [(1, "CHECK", "", "")]
    quay.write({"id": [50], "n": [3], "a": ["{1}"]}, ordinal=1)
    assert quay.sql("SELECT n, twice FROM t ORDER BY n") == [(1, 2), (2, 4), (3, 6)]
    assert quay.sql("SELECT id FROM t WHERE n = 3") == [(50,)]


def test_an_error_that_no_record_is_to_blame_for_stops_the_job(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int)")
    quay.sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM * FROM nowhere;"
        " RETURN NEW; END $$;"
        "CREATE TRIGGER fail AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION fail()"
    )
    with pytest.raises(TargetRefused, match="nowhere"):
        quay.write({"id": [1]})


def test_keys_that_come_between_probe_and_copy_are_probed_again(quay: Quay, monkeypatch: pytest.MonkeyPatch) -> None:
    quay.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    run = Probe.run
    once = iter(["INSERT INTO t VALUES (2)"])

    def between(probe: Probe) -> list[Refusal]:
        found = run(probe)
        for statement in once:
            quay.sql(statement)
        return found

    monkeypatch.setattr(Probe, "run", between)
    quay.write({"id": [1, 2, 3]})
    assert quay.codes == [(0, "UNIQUE", "s_id", "1"), (1, "UNIQUE", "s_id", "2")]


@pytest.mark.parametrize("probes", [0, load.PROBES])
def test_any_batch_comes_to_what_single_inserts_come_to(
    quay: Quay, monkeypatch: pytest.MonkeyPatch, probes: int
) -> None:
    monkeypatch.setattr(load, "PROBES", probes)
    quay.sql(
        "CREATE TABLE other (x int, y text, PRIMARY KEY (x, y)); INSERT INTO other VALUES (1, 'a'), (2, 'b'), (3, 'c');"
        "CREATE TABLE t (a int UNIQUE, b text, c varchar(2), d numeric(3,1), UNIQUE (b, c), CHECK (a % 7 <> 3),"
        " CHECK (d > 0 OR b = 'a'), FOREIGN KEY (a, b) REFERENCES other);"
        "CREATE UNIQUE INDEX ON t (upper(c)) WHERE d > 2; CREATE TABLE u (LIKE t INCLUDING ALL);"
        "ALTER TABLE u ADD FOREIGN KEY (a, b) REFERENCES other"
    )
    chance = random.Random(11)
    for ordinal in range(40):
        rows = [
            (
                chance.choice((None, 1, 2, 3, 4)),
                chance.choice((None, "a", "b", "c")),
                chance.choice((None, "x", "X", "y", "z ", "z  ", "zzz")),
                chance.choice((None, "0.00", "1.25", "2.04", "2.05", "99.94", "99.95")),
            )
            for _ in range(chance.randrange(1, 9))
        ]
        columns = dict(zip("abcd", zip(*rows, strict=True), strict=True))
        decimals = pa.array(columns["d"], pa.string()).cast(pa.decimal128(4, 2))
        quay.write({"a": columns["a"], "b": columns["b"], "c": columns["c"], "d": decimals}, ordinal=ordinal)
        assert [fault.index for fault in quay.faults] == _refused_one_by_one(quay, rows), rows
        assert quay.sql("SELECT count(*) FROM (TABLE t EXCEPT ALL TABLE u) d") == [(0,)]
        if chance.random() < 0.5:
            quay.sql("DELETE FROM t; DELETE FROM u")


def _refused_one_by_one(quay: Quay, rows: list[tuple[object, ...]]) -> list[int]:
    refused = []
    with psycopg.connect(quay.url, autocommit=True) as connection:
        for index, row in enumerate(rows):
            try:
                connection.execute("INSERT INTO u VALUES (%s::int, %s::text, %s::text, %s::numeric)", row)
            except psycopg.Error:
                refused.append(index)
    return refused
