"""Values of every PostgreSQL type survive an export and import."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest
from psycopg import sql

from ladingd.core.bill import Counts
from ladingd.core.job import Connector
from ladingd.core.spec import ExportSpec, File, ImportSpec, Table
from ladingd.data.databases.connection import Connection
from ladingd.data.rejects.files import RejectFiles
from ladingd.data.storage.work_dir import WorkDir
from ladingd.data.transfer import BulkTransfer

if TYPE_CHECKING:
    from pathlib import Path

    from ladingd.core.plan import ExportPlan, ImportPlan
    from tests.unit.data.databases.postgres.conftest import Quay

TYPES: dict[str, list[str]] = {
    "smallint": ["-32768", "0", "32767"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "numeric": ["NaN", "Infinity", "-Infinity", "0.000", "1e-300", "123456789012345678901234567890.123456789", "-0.10"],
    "numeric(10,2)": ["NaN", "-99999999.99", "0.01", "0", "5"],
    "numeric(38,10)": ["NaN", "9999999999999999999999999999.9999999999"],
    "numeric(3,-2)": ["NaN", "12300", "99900"],
    "numeric(2,4)": ["0.0099", "NaN"],
    "numeric(60,5)": ["1e54", "NaN", "0.00001"],
    "real": ["NaN", "Infinity", "-Infinity", "-0", "1.1", "3.4028235e38", "1e-45", "16777216"],
    "double precision": [
        "NaN", "Infinity", "-Infinity", "-0", "0.1", "1e22", "1.7976931348623157e308", "5e-324", "123456789012345680"
    ],
    "money": ["-92233720368547758.08", "1234.50", "0"],
    "boolean": ["t", "f"],
    "text": ["", " ", "\\x41", "NaN", "infinity", "t",
             "null", "NULL", "\\N", "\\.", 'a"b', "a,b", "a\nb", "é☃𝄞", "\ufeffx"],
    "varchar(5)": ["", "abc  ", "é☃𝄞"],
    "char(5)": ["", "ab", "é"],
    "\"char\"": ["", "a", "\\351"],
    "name": ["pg_class", "a b"],
    "bytea": ["", "\\x00ff", "\\x5c78", "abc"],
    "date": ["infinity", "-infinity", "0044-03-15 BC", "0001-01-01", "4713-01-01 BC", "9999-12-31", "10000-01-01",
             "5874897-12-31", "2024-02-29"],
    "time": ["00:00:00", "24:00:00", "23:59:59.999999", "10:30"],
    "time(0)": ["24:00:00", "12:00:01"],
    "timetz": ["24:00:00+00", "10:30:00.5-15:59:59", "00:00:00+15:59"],
    "timestamp": ["infinity", "-infinity", "0044-03-15 12:00:00.5 BC", "294276-12-31 23:59:59.999999",
                  "4713-11-24 00:00:00 BC", "2024-02-29 23:59:59.000001", "0001-01-01 00:00:00"],
    "timestamptz": ["infinity", "-infinity", "0044-03-15 12:00:00+00:53:28 BC", "294276-12-31 23:59:59.999999+00",
                    "1890-01-01 00:00:00+00:53:28", "2024-02-29 23:59:59.000001-11", "0001-01-01 00:00:00+00"],
    "interval": ["infinity", "-infinity", "1 year -2 mons 3 days -04:05:06.789", "-178000000 years", "0", "P1Y2M3DT4H"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "FFFFFFFF-ffff-4fff-8fff-ffffffffffff"],
    "json": ['{"a" : 1.0, "a": [null]}', '"\\u0041"', "null", "0"],
    "jsonb": ['{"a" : 1.0, "b": ["x,\\"y"]}', "null", '""', "1e5"],
    "jsonpath": ['$."a"[*]?(@ > 1)'],
    "inet": ["10.1.2.3/8", "::1", "10.0.0.1"],
    "cidr": ["10.0.0.0/8", "2001:db8::/32"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "bit(5)": ["10101", "00000"],
    "varbit": ["", "1", "0101"],
    "oid": ["0", "4294967295"],
    "regclass": ["pg_class", "0"],
    "regtype": ["integer", "timestamp with time zone"],
    "pg_lsn": ["16/B374D848", "0/0"],
    "xid8": ["18446744073709551615"],
    "tid": ["(4294967295,65535)"],
    "pg_snapshot": ["10:20:10,14,15"],
    "tsvector": ["'a b':1A,2 'c''d':3B", ""],
    "tsquery": ["'a' & !'b' <-> 'c':*A"],
    "point": ["(1.5,-2)", "(NaN,Infinity)"],
    "line": ["{1,2,3}"],
    "lseg": ["[(1,2),(3,4)]"],
    "box": ["(3,4),(1,2)"],
    "path": ["[(1,2),(3,4)]", "((1,2),(3,4))"],
    "polygon": ["((0,0),(1,1),(1,0))"],
    "circle": ["<(1,2),3>"],
    "int4range": ["empty", "[1,5)", "(,)", "[1,)"],
    "numrange": ["(1.50,NaN]", "[,-Infinity]"],
    "daterange": ["[-infinity,infinity)", "[0044-03-15 BC,2024-01-01)", "(,)"],
    "tstzrange": ['["2024-01-01 00:00:00+00",infinity)'],
    "int4multirange": ["{[1,2),[5,9)}", "{}"],
    "int[]": ["{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={5,6}"],
    "text[]": ['{a,"b,c",NULL,"NULL","","\\"\\\\","d\ne"}', "{}"],
    "date[]": ["{infinity,0044-03-15 BC}"],
    "float8[]": ["{NaN,-Infinity,-0}"],
    "bytea[]": ['{"\\\\x00ff"}'],
    "boolean[]": ["{t,f,NULL}"],
    "mood": ["sad", "so,so", ""],
    "mood[]": ['{sad,"so,so",""}'],
    "pair": ['(1,"a,""b""")', "(,)", '(,"")'],
    "pair[]": ['{"(1,x)","(,)"}'],
    "short": ["1", "9"],
    "day": ["infinity", "0044-03-15 BC", "2024-01-01"],
    "flag": ["t", "f"],
    "ratio": ["NaN", "-Infinity"],
    "price": ["NaN", "12.50"],
    "vector(3)": ["[1,2.5,-3e-07]"],
    "floats": ["[1.5,2)", "empty", "[-Infinity,NaN]"],
}  # fmt: skip
MADE = """
CREATE EXTENSION vector;
CREATE TYPE mood AS ENUM ('sad', 'so,so', '');
CREATE TYPE pair AS (n int, t text);
CREATE DOMAIN short AS int CHECK (VALUE < 10);
CREATE DOMAIN day AS date;
CREATE DOMAIN flag AS boolean;
CREATE DOMAIN ratio AS double precision;
CREATE DOMAIN price AS numeric(9,2);
CREATE TYPE floats AS RANGE (subtype = float8);
"""


def transfer(quay: Quay, folder: Path) -> BulkTransfer:
    connection = Connection(name="quay", url=quay.url)
    return BulkTransfer(
        connections={"quay": connection}, roots={"local": folder}, work_dir=WorkDir(directory=folder / "work")
    )


def run(bulk: BulkTransfer, plan: ImportPlan | ExportPlan, job: str) -> Counts:
    bulk.begin(job, 1, plan)
    chunks = []
    while more := bulk.cut("job", plan, chunks[-1] if chunks else None, 3):
        chunks += more
    counts = sum((bulk.process(job, 1, plan, chunk) for chunk in chunks), Counts())
    bulk.finish(job, plan, chunks)
    return counts


def there_and_back(quay: Quay, folder: Path, table: str) -> Counts:
    """Export a table, and import the file into its copy."""
    bulk = transfer(quay, folder)
    out = bulk.plan(ExportSpec(source=Table(connection="quay", table=table), file=File(path=f"{table}.csv")))
    run(bulk, out, f"out-{table}")
    spec = ImportSpec(files=(File(path=f"{table}.csv"),), target=Table(connection="quay", table=f"{table}_again"))
    return run(bulk, bulk.plan(spec), f"in-{table}")


@pytest.mark.timeout(300)  # some eighty tables
def test_every_type_comes_back(quay: Quay, tmp_path: Path) -> None:
    quay.sql(MADE)
    troubles = []
    for number, (kind, values) in enumerate(TYPES.items()):
        table = f"t{number}"
        quay.sql(f"CREATE TABLE {table} (id int PRIMARY KEY, v {kind}, w text)")
        quay.sql(f"CREATE TABLE {table}_again (LIKE {table})")
        literals = ", ".join(
            f"({row}, {sql.Literal(value).as_string()}::{kind}, 'x')"
            for row, value in enumerate([*values, None, *values])
        )
        quay.sql(f"INSERT INTO {table} VALUES {literals}")
        counts = there_and_back(quay, tmp_path, table)
        # Compare rows as text, because some types have no comparison, and equal values of others look different.
        differences = quay.sql(
            f"(SELECT 'lost', t::text FROM {table} t EXCEPT SELECT 'lost', t::text FROM {table}_again t) UNION ALL "
            f"(SELECT 'come', t::text FROM {table}_again t EXCEPT SELECT 'come', t::text FROM {table} t)"
        )
        if differences or counts.rejected:
            troubles.append((kind, counts.rejected, differences))
    assert not troubles


def test_words_beside_records_that_the_table_refuses(quay: Quay, tmp_path: Path) -> None:
    quay.sql("CREATE TABLE t (d date PRIMARY KEY, n numeric(5,2), b boolean NOT NULL, a timestamptz)")
    lines = [
        "infinity,NaN,t,infinity",
        "2024-02-29,1.50,off,2024-01-01 00:00:00",
        "infinity,2.50,y,",
        "0044-03-15 BC,3.50,,",
        "2023-02-30,4.50,n,",
        "12000-02-30,5.50,n,",
        "12000-02-28,6.555,n,",
        "-infinity,NaN,no,1890-01-01 00:00:00+00:53:28",
    ]
    (tmp_path / "in.csv").write_text("d,n,b,a\n" + "\n".join(lines) + "\n")
    bulk = transfer(quay, tmp_path)
    plan = bulk.plan(ImportSpec(files=(File(path="in.csv"),), target=Table(connection="quay", table="t")))
    assert run(bulk, plan, "job") == Counts(read=8, inserted=3, rejected=5, errors=5)
    told = asyncio.run(RejectFiles(WorkDir(directory=tmp_path / "work")).read("job", [0], size=10)).items
    assert [(reject.line, reject.column, reject.connector) for reject in told] == [
        (4, "d", Connector.DATABASE),
        (5, "b", Connector.DATABASE),
        (6, "d", Connector.TEXT),
        (7, "d", Connector.DATABASE),
        (8, "n", Connector.TEXT),
    ]
    assert quay.sql("SELECT d::text, n::text, b, a::text FROM t ORDER BY t.d") == [
        ("-infinity", "NaN", False, "1889-12-31 23:06:32+00"),
        ("2024-02-29", "1.50", False, "2024-01-01 00:00:00+00"),
        ("infinity", "NaN", True, "infinity"),
    ]


def test_the_fields_of_a_chunk_are_read_for_the_table_as_it_is(quay: Quay, tmp_path: Path) -> None:
    """The table is looked at once for each job. A chunk that finds another one is read anew."""
    quay.sql("CREATE TABLE t (code varchar(1))")
    (tmp_path / "in.csv").write_text("code\n1\n2\nx3\nx4\n5\n")
    bulk, job = transfer(quay, tmp_path), str(uuid.uuid4())
    plan = bulk.plan(
        ImportSpec(files=(File(path="in.csv"),), target=Table(connection="quay", table="t"), chunk_bytes=6)
    )
    bulk.begin(job, 1, plan)
    first, second, third = chunks = bulk.cut(job, plan, None, 9)
    assert bulk.process(job, 1, plan, first).inserted == 2
    quay.sql("ALTER TABLE t ALTER code TYPE varchar(2)")
    assert bulk.process(job, 1, plan, second).inserted == 2
    quay.sql("ALTER TABLE t ALTER code TYPE text")
    assert bulk.process(job, 1, plan, third).inserted == 1
    bulk.finish(job, plan, chunks)
    assert quay.sql("SELECT code FROM t") == [("1",), ("2",), ("x3",), ("x4",), ("5",)]
