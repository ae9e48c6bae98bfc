"""Mappings of files in all formats."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import ColumnMapping, File, FixedWidthFormat, ImportSpec, Table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.data.conftest import Yard

ROWS = [(1, " Anna ", "7", "x"), (2, "Bob", "", "y"), (3, "Zoë", "12", "z")]
NAMES = ("id", "Full Name", "n", "junk")


def csv_file(path: Path) -> None:
    path.write_text("\n".join([",".join(NAMES), *(",".join(map(str, row)) for row in ROWS)]) + "\n")


def fixed_width(path: Path) -> None:
    path.write_text("".join(f"{id:<4}{name:<10}{n:<4}{junk:<4}\n" for id, name, n, junk in ROWS))


def json_lines(path: Path) -> None:
    records = (
        {"id": id, "Full Name": name, **({"n": int(n)} if n else {}), "junk": junk} for id, name, n, junk in ROWS
    )
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def json_file(path: Path) -> None:
    json_lines(path)
    path.write_text("[" + ",\n".join(path.read_text().splitlines()) + "]")


def xml(path: Path) -> None:
    rows = (
        f"<r><id>{id}</id><Full_Name>{name}</Full_Name>{n and f'<n>{n}</n>'}<junk>{junk}</junk></r>\n"
        for id, name, n, junk in ROWS
    )
    path.write_text(f"<rs>{''.join(rows)}</rs>")


def parquet(path: Path) -> None:
    columns = {
        "id": pa.array([row[0] for row in ROWS], pa.int32()),
        "Full Name": [row[1] for row in ROWS],
        "n": pa.array([int(row[2]) if row[2] else None for row in ROWS], pa.float64()),
        "junk": [row[3] for row in ROWS],
    }
    pq.write_table(pa.table(columns), path)


FORMATS: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    "csv": (csv_file, {}),
    "fixed_width": (fixed_width, {"names": True}),
    "json_lines": (json_lines, {}),
    "json": (json_file, {}),
    "xml": (xml, {}),
    "parquet": (parquet, {}),
}


@pytest.mark.parametrize("size", [1, 1 << 20], ids=["small chunks", "one chunk"])
@pytest.mark.parametrize("form", FORMATS)
def test_all_formats_are_mapped_alike(yard: Yard, form: str, size: int) -> None:
    write, more = FORMATS[form]
    write(yard.directory / f"in.{form}")
    name = "Full_Name" if form == "xml" else "Full Name"
    fixed = FixedWidthFormat(widths="id=4,Full Name=10,n=4,junk=4") if more else FixedWidthFormat()
    plan = yard.transfer.plan(
        ImportSpec(
            files=(File(path=f"in.{form}"),),
            target=Table(table="t"),
            file_format=form,
            fixed_width=fixed,
            columns=(
                ColumnMapping(source=name, target="name", transformations=("trim", "upper")),
                ColumnMapping(source="n", target="padded", transformations=("pad_left:4:0",), default_value="none"),
                ColumnMapping(source="n", target="n", default_value="0"),
                ColumnMapping(target="twice", expression="id * 2"),
                ColumnMapping(target="number", expression="lading_record"),
                ColumnMapping(target="told", expression="junk || '!'"),
            ),
            ignored_columns=("junk",),
            types={"padded": "text", "name": "text"},
            filter="id < 3",
            chunk_bytes=size,
        )
    )
    assert yard.run(plan) == Counts(read=3, inserted=2, filtered=1)
    assert yard.sql("SELECT id, name, padded, n, twice, number, told FROM t ORDER BY id") == [
        (1, "ANNA", "0007", 7, 2, 1, "x!"),
        (2, "BOB", "none", 0, 4, 2, "y!"),
    ]


def test_a_file_without_lines_has_no_first_line(yard: Yard) -> None:
    parquet(yard.directory / "in.parquet")
    spec = ImportSpec(files=(File(path="in.parquet"),), target=Table(table="t"), first_line=2)
    with pytest.raises(InvalidSpec, match="the file has no lines; use skip and limit"):
        yard.transfer.plan(spec)


RECORDS = 3_000


@pytest.mark.parametrize("form", ["json_lines", "xml"])
def test_fields_that_only_late_records_have(yard: Yard, form: str) -> None:
    """Those are not in the sample of the plan if the file is large; here the table lacks them."""
    yard.sql("CREATE TABLE t (id INTEGER)")
    if form == "xml":
        late = {RECORDS: "<late a='1'>x</late>"}
        rows = [f"<r><id>{n}</id>{late.get(n, '')}</r>" for n in range(1, RECORDS + 1)]
        (yard.directory / "in").write_text(f"<rs>{''.join(rows)}</rs>")
    else:
        lines = [json.dumps({"id": n, **({"late": {"a": [1]}} if n == RECORDS else {})}) for n in range(1, RECORDS + 1)]
        (yard.directory / "in").write_text("\n".join(lines))
    spec: dict[str, Any] = {"files": (File(path="in"),), "target": Table(table="t"), "file_format": form}
    plan = yard.transfer.plan(ImportSpec(**spec))
    assert yard.run(plan) == Counts(read=RECORDS, inserted=RECORDS - 1, rejected=1, errors=1)
    plan = yard.transfer.plan(ImportSpec(**spec, ignore_extra=True))
    assert yard.run(plan, "other") == Counts(read=RECORDS, inserted=RECORDS)
