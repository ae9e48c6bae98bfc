"""A table with columns of every type goes from each typed format into each database, and back."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import openpyxl
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from ladingd.core.spec import ExcelFormat, File, ImportSpec, Table
from ladingd.data.transfer import BulkTransfer
from tests.contract.port import Port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.contract.databases import TestDatabase

TYPED = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int8()),
        "wide": pa.array([2**62, None, -(2**62)], pa.int64()),
        "amount": pa.array([Decimal("1.50"), Decimal("-0.01"), None], pa.decimal128(10, 2)),
        "ratio": pa.array([0.1, None, -2.5e-7]),
        "active": pa.array([True, None, False]),
        "day": pa.array([date(2024, 2, 29), None, date(1969, 12, 31)]),
        "clock": pa.array([time(1, 2, 3), None, time(1, 2, 3, 500)], pa.time64("us")),
        "at": pa.array([datetime(2024, 1, 2, 3, 4, 5), None, datetime(1900, 1, 1, 0, 0, 0, 7)], pa.timestamp("ns")),
        "instant": pa.array([datetime(2024, 1, 2, 3, tzinfo=UTC), None, None], pa.timestamp("ms", "Europe/Berlin")),
        "name": pa.array(["a", "", None]),
        "kind": pa.array(["x", None, "x"]).dictionary_encode(),
        "blob": pa.array([b"\x00\xff", b"", None]),
        "tags": pa.array([["a", "ü"], None, []], pa.list_(pa.string())),
        "place": pa.array([{"x": 1, "y": None}, None, {"x": 2, "y": 0.5}]),
        "nothing": pa.nulls(3),
    }
)


def _write_file(path: Path, table: pa.Table) -> None:
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def _write_stream(path: Path, table: pa.Table) -> None:
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


WRITERS: dict[str, Callable[[Path, pa.Table], object]] = {
    "t.parquet": lambda path, table: pq.write_table(table, path, row_group_size=2),
    "t.arrow": _write_file,
    "t.arrows": _write_stream,
    "t.feather": lambda path, table: feather.write_feather(table, str(path), compression="zstd"),
}
READERS: dict[str, Callable[[Path], pa.Table]] = {
    "out.parquet": pq.read_table,
    "out.arrow": lambda path: pa.ipc.open_file(str(path)).read_all(),
    "out.arrows": lambda path: pa.ipc.open_stream(str(path)).read_all(),
}


def load(port: Port, name: str, table: pa.Table) -> tuple[int, int]:
    """Import a table from a file. Returns how many records were written and rejected."""
    WRITERS[name](port.directory / name, table)
    return port.load(name)


@pytest.fixture
def port(database: TestDatabase, tmp_path: Path, work_dir: Any) -> Port:
    transfer = BulkTransfer(connections={"harbour": database.connection}, roots={"local": tmp_path}, work_dir=work_dir)
    return Port(database=database, directory=tmp_path, transfer=transfer)


@pytest.mark.parametrize("name", WRITERS)
def test_columns_of_every_type_arrive(port: Port, name: str) -> None:
    assert load(port, name, TYPED) == (3, 0)
    rows = port.database.sql("SELECT * FROM t ORDER BY id")
    told = [tuple(_told(value) for value in row) for row in rows]
    assert told[0] == (
        "1", str(2**62), "1.5", "0.1", "1", "2024-02-29", "01:02:03", "2024-01-02 03:04:05",
        "2024-01-02 03:00:00", "a", "x", "\\x00ff", '["a", "ü"]', '{"x": 1, "y": null}', None,
    )  # fmt: skip
    assert told[1] == ("2", None, "-0.01", *[None] * 6, "", None, "\\x", None, None, None)
    assert told[2] == (
        "3", str(-(2**62)), None, "-2.5e-07", "0", "1969-12-31", "01:02:03.0005", "1900-01-01 00:00:00.000007",
        None, None, "x", None, "[]", '{"x": 2, "y": 0.5}', None,
    )  # fmt: skip


def _told(value: object) -> str | None:
    """A value in one spelling for all databases. SQLite keeps decimals as reals, and times as text."""
    match value:
        case None:
            return None
        case datetime():
            text = value.astimezone(UTC).strftime("%F %T.%f") if value.tzinfo else value.strftime("%F %T.%f")
            return text.rstrip("0").rstrip(".")
        case time():
            return value.strftime("%T.%f").rstrip("0").rstrip(".")
        case bool():
            return str(int(value))
        case Decimal():
            return f"{value.normalize():f}"
    return str(value).removesuffix("Z")


@pytest.mark.parametrize("name", READERS)
def test_what_other_programs_read_is_what_was_in_the_table(port: Port, name: str) -> None:
    load(port, "t.parquet", TYPED)
    assert port.export(name) == (3, 0)
    back = READERS[name](port.directory / name).sort_by("id")
    assert back.schema.names == TYPED.schema.names
    for column in ("id", "wide", "amount", "ratio", "day", "clock", "at", "name"):
        assert back[column].to_pylist() == TYPED[column].cast(back[column].type).to_pylist(), column
    assert back["day"].type == pa.date32()
    assert back["at"].type == pa.timestamp("us")
    assert not list(port.directory.glob(".*"))


@pytest.mark.parametrize("name", READERS)
def test_an_export_of_no_rows_is_a_file_with_columns(port: Port, name: str) -> None:
    load(port, "t.arrow", TYPED.slice(0, 0))
    assert port.export(name) == (0, 0)
    back = READERS[name](port.directory / name)
    assert (back.num_rows, back.schema.names) == (0, TYPED.schema.names)


@pytest.mark.parametrize("name", WRITERS)
def test_a_reject_names_its_record_and_shows_it_as_json(port: Port, name: str) -> None:
    port.database.sql(f"CREATE TABLE t (id {port.database.key}, day DATE NOT NULL)")
    table = pa.table({"id": [1, 2, 3], "day": pa.array([date(2024, 1, 1), None, date(2024, 1, 3)])})
    assert load(port, name, table) == (2, 1)
    (reject,) = port.rejects()
    assert (reject["line"], reject["record"], reject["column"]) == (0, 2, "day")
    assert json.loads(reject["raw"]) == {"id": 2, "day": None}


@pytest.mark.parametrize("sheet", ["", "2", "Records"])
def test_a_sheet_arrives_with_the_types_of_its_cells(port: Port, sheet: str) -> None:
    book = openpyxl.Workbook()
    if sheet:
        book.active.append(["not", "this"])
        page = book.create_sheet("Records")
    else:
        page = book.active
    page.append(["id", "ratio", "day", "at", "clock", "active", "code", "note"])
    page.append([1, 0.5, date(2024, 2, 29), datetime(2024, 1, 2, 3, 4, 5), time(1, 2, 3), True, "007", "ü"])
    page.append([2, 3, date(1969, 12, 31), datetime(2024, 1, 2), None, False, None, "#N/A"])
    book.save(port.directory / "in.xlsx")
    spec = ImportSpec(
        files=(File(path="in.xlsx"),), target=Table(connection="harbour", table="t"), excel=ExcelFormat(sheet=sheet)
    )
    assert port.run(spec) == (2, 0)
    rows = [tuple(map(_told, row)) for row in port.database.sql("SELECT * FROM t ORDER BY id")]
    assert rows == [
        ("1", "0.5", "2024-02-29", "2024-01-02 03:04:05", "01:02:03", "1", "007", "ü"),
        ("2", "3.0", "1969-12-31", "2024-01-02 00:00:00", None, "0", None, None),
    ]


def test_excel_shows_what_was_in_the_table(port: Port) -> None:
    load(port, "t.parquet", TYPED)
    assert port.export("out.xlsx") == (3, 0)
    header, *rows = openpyxl.load_workbook(port.directory / "out.xlsx").active.iter_rows(values_only=True)
    assert list(header) == TYPED.schema.names
    first, second, third = sorted(rows)
    assert first[:8] == (
        1, str(2**62), 1.5, 0.1, True, datetime(2024, 2, 29), time(1, 2, 3), datetime(2024, 1, 2, 3, 4, 5),
    )  # fmt: skip
    assert first[8].startswith("2024-01-02 03:00:00")
    assert second[:4] == (2, None, -0.01, None)
    assert third[5:8] == (datetime(1969, 12, 31), "01:02:03.000500", "1900-01-01 00:00:00.000007")
