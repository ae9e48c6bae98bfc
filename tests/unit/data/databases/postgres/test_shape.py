"""Reading tables from the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import Table

if TYPE_CHECKING:
    from tests.unit.data.databases.postgres.conftest import Quay


def test_every_common_type_has_its_field_type_and_arrow_type(quay: Quay) -> None:
    quay.sql("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    quay.sql("CREATE DOMAIN money2 AS numeric(12,2) CHECK (VALUE >= 0)")
    quay.sql("CREATE DOMAIN price AS money2 NOT NULL")
    types = {
        "smallint": ("integer", pa.int16()),
        "integer": ("integer", pa.int32()),
        "bigint": ("integer", pa.int64()),
        "numeric(10,2)": ("decimal(10,2)", pa.decimal128(10, 2)),
        "numeric": ("text", pa.string()),
        "numeric(5,-2)": ("text", pa.string()),
        "real": ("real", pa.float32()),
        "double precision": ("real", pa.float64()),
        "boolean": ("boolean", pa.bool_()),
        "date": ("date", pa.date32()),
        "time": ("time", pa.time64("us")),
        "timestamp": ("timestamp", pa.timestamp("us")),
        "timestamptz": ("timestamptz", pa.timestamp("us", "UTC")),
        "interval": ("text", pa.string()),
        "uuid": ("uuid", pa.binary(16)),
        "bytea": ("text", pa.binary()),
        "json": ("text", pa.string()),
        "jsonb": ("text", pa.string()),
        "text": ("text", pa.string()),
        "varchar(7)": ("text", pa.string()),
        "char(3)": ("text", pa.string()),
        "mood": ("text", pa.string()),
        "integer[]": ("text", pa.string()),
        "price": ("decimal(12,2)", pa.decimal128(12, 2)),
    }
    quay.sql(f"CREATE TABLE t ({', '.join(f'c{place} {kind}' for place, kind in enumerate(types))})")
    shape = quay.shape()
    found = [(str(column.type.field_type), column.type.arrow) for column in shape.columns]
    assert dict(zip(types, found, strict=True)) == types
    by_kind = dict(zip(types, shape.columns, strict=True))
    assert by_kind["varchar(7)"].type.length == 7
    assert by_kind["mood"].type.labels == ("sad", "glad")
    assert by_kind["price"].type.is_domain
    assert not by_kind["price"].nullable


def test_defaults_identities_generated_columns_and_names(quay: Quay) -> None:
    quay.sql('CREATE SCHEMA "a.b"; CREATE TABLE "a.b".other (id int PRIMARY KEY)')
    quay.sql(
        'CREATE TABLE "a.b"."T ""1" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,'
        " \"Na me\" text NOT NULL DEFAULT 'x', twice int GENERATED ALWAYS AS (n * 2) STORED,"
        ' n int UNIQUE REFERENCES "a.b".other,'
        " CONSTRAINT small CHECK (n < 5))"
    )
    shape = quay.shape('T "1', schema="a.b")
    key, name, twice, n = shape.columns
    assert (key.identity, key.always_identity, key.optional) == (True, True, True)
    assert (name.name, name.nullable, name.has_default) == ("Na me", False, True)
    assert (twice.generated, twice.has_default, n.optional) == (True, False, True)
    assert shape.key == ("id",)


def test_a_table_that_is_not_there(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (a int)")
    assert quay.target.table(Table(table="T")) is None
    with pytest.raises(InvalidSpec, match="no schema 'nowhere'"):
        quay.target.table(Table(schema="nowhere", table="t"))
    with pytest.raises(InvalidSpec, match="reserved for Lading's ledger"):
        quay.target.table(Table(schema="lading", table="t"))


def test_views_are_refused_and_partitioned_tables_taken(quay: Quay) -> None:
    quay.sql("CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE VIEW v AS SELECT 1 AS id")
    quay.sql("CREATE MATERIALIZED VIEW m AS SELECT 1 AS id")
    assert quay.target.table(Table(table="p")) is not None
    with pytest.raises(InvalidSpec, match="v is a view"):
        quay.target.table(Table(table="v"))
    with pytest.raises(InvalidSpec, match="m is a materialized view"):
        quay.target.table(Table(table="m"))
