"""Other programs read what Lading writes, and Lading reads what they write.

Every registered format and codec is tested. One without programs in this module fails.
"""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import subprocess
from datetime import UTC, date, datetime, time
from decimal import Decimal
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import duckdb
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import xlsxwriter

from ladingd.core.spec import FixedWidthFormat, Header
from ladingd.data.files.compression import CODECS
from ladingd.data.formats.registry import FORMATS
from ladingd.data.transfer import BulkTransfer
from tests.contract.databases import duckdb_database
from tests.contract.port import Port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

Row = tuple[Any, ...]

NAMES = ("id", "big", "amount", "ratio", "active", "day", "clock", "moment", "instant", "name")
MAKE = (
    "CREATE TABLE t (id BIGINT, big BIGINT, amount DECIMAL(20,4), ratio DOUBLE, active BOOLEAN, day DATE, clock TIME, "
    "moment TIMESTAMP, instant TIMESTAMPTZ, name VARCHAR)"
)
SCHEMA = pa.schema(
    zip(
        NAMES,
        (
            *(pa.int64(), pa.int64(), pa.decimal128(20, 4), pa.float64(), pa.bool_(), pa.date32(), pa.time64("us")),
            *(pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.string()),
        ),
        strict=True,
    )
)
TEXTS = (
    *("line\nbreak", "both\r\nmarks", 'a "quoted" one', '"', "it's", "comma, semicolon; tab\t bar|", " blanks ", "é☃𝄞"),
    *("\\N \\ \\n", "=1+1", "007", "NULL", "\ufeffmark", "<b>&amp;</b>", "x" * 300),
)
EMPTY, NULL = 4, 3
"""The records whose name is empty and null."""
ROWS: list[Row] = [
    (
        *(1, 2**53 + 1, Decimal("12345678901234.5678"), 0.1, True, date(2024, 2, 29), time(1, 2, 3)),
        *(datetime(2024, 1, 2, 3, 4, 5, 678901), datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), "plain"),
    ),
    (
        *(2, -(2**63) + 1, Decimal("-0.0001"), -1.5e300, False, date(1969, 12, 31), time(23, 59, 59, 999999)),
        *(datetime(1969, 12, 31, 23, 59, 59), datetime(1969, 7, 20, 20, 17, 40, 120000, tzinfo=UTC), TEXTS[0]),
    ),
    (NULL, 2**63 - 1, Decimal(0), 1e-7, *[None] * 6),
    (EMPTY, *[None] * 8, ""),
    *(
        (
            *(number, number, Decimal(number) / 4, number / 8 + 1 / 16, number % 2 == 0, date(2024, 1, number)),
            *(time(0, 0, number), datetime(2024, 1, 1, 0, 0, number), datetime(2024, 1, 1, number, tzinfo=UTC), text),
        )
        for number, text in enumerate(TEXTS[1:], start=5)
    ),
]


def table_of(rows: Sequence[Row]) -> pa.Table:
    columns = zip(zip(*rows, strict=True), SCHEMA, strict=True)
    return pa.table([pa.array(values, field.type) for values, field in columns], SCHEMA)


TABLE = table_of(ROWS)


def spelled(value: object) -> str:
    """A value as text formats spell it."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case datetime():
            text = value.replace(tzinfo=None).isoformat(" ")
            return (text.rstrip("0") if "." in text else text) + ("+00" if value.tzinfo else "")
        case Decimal():
            return f"{value:.4f}"
    return str(value).replace("e-0", "e-")


def in_json(value: object) -> object:
    """A value as JSON holds it. A decimal is a string: most programs read a number as a double."""
    return value if value is None or isinstance(value, bool | int | float) else spelled(value)


def in_cell(value: object) -> object:
    """A value as a sheet holds it: numbers of up to 15 digits, no zones, milliseconds."""
    match value:
        case datetime() if value.tzinfo:
            return value.isoformat(" ").replace("+00:00", "Z").replace("0000Z", "Z")
        case datetime() | time() if value.microsecond % 1000:
            return str(value)
        case bool():
            return value
        case int() | Decimal() if len(str(value).strip("-0").replace(".", "")) > 15:
            return str(value)
        case Decimal():
            return float(value)
        case date() if not isinstance(value, datetime):
            return datetime(value.year, value.month, value.day)
        case str():
            return value.replace("\r", "")
    return value


def as_number(value: object) -> object:
    """A number that Python compares without rounding."""
    return Decimal(spelled(value)) if isinstance(value, float | Decimal) else in_json(value)


TYPED = ROWS
SPELLED = [tuple(map(spelled, row)) for row in ROWS]
IN_JSON = [tuple(map(as_number, row)) for row in ROWS]
IN_CELLS = [tuple(map(in_cell, row)) for row in ROWS]


def renamed(names: dict[str | None, str | None], rows: Sequence[Row] = ROWS) -> list[Row]:
    """The rows with other names. Few programs tell null from empty text."""
    return [(*row[:-1], names.get(row[-1], row[-1])) for row in rows]


EMPTY_IS_NULL = renamed({"": None})
NULL_IS_EMPTY = [(*row[:-1], row[-1] if row[0] != NULL else "") for row in ROWS]
BOTH = TEXTS[1]
ONE_MARK: dict[str | None, str | None] = {BOTH: BOTH.replace("\r", "")}
"""XML makes one mark of two that are not escaped, and so does the XML within a workbook."""
OF_CELLS = renamed({"": None, **ONE_MARK})
FRAME = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in zip(NAMES, zip(*ROWS))})  # noqa: B905
CELLS = FRAME.map(in_cell)


def of_frame(frame: pd.DataFrame) -> list[Row]:
    """The rows of a frame without the classes of pandas."""
    return [
        tuple(None if pd.isna(v) else v.to_pydatetime() if isinstance(v, pd.Timestamp) else v for v in row)
        for row in frame.itertuples(index=False)
    ]


def by_duckdb(query: str) -> list[Row]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("source", TABLE)
        return connection.execute(query).fetchall()


COLUMNS = "{" + ", ".join(f"'{c}': '{t}'" for c, _, t in (x.partition(" ") for x in MAKE[16:-1].split(", "))) + "}"


def read_csv(path: Path, delimiter: str = ",") -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, delimiter=delimiter)
    assert tuple(header) == NAMES
    return [tuple(row) for row in rows]


def read_csv_typed(path: Path) -> list[Row]:
    options = pacsv.ConvertOptions(
        column_types=SCHEMA, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    read = pacsv.read_csv(path, parse_options=pacsv.ParseOptions(newlines_in_values=True), convert_options=options)
    return [tuple(row.values()) for row in read.to_pylist()]


NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"


def read_elements(path: Path) -> list[Row]:
    records = list(ElementTree.parse(path).getroot())
    for record in records:
        assert tuple(field.tag for field in record) == NAMES
        assert [field.tag for field in record if field.get(NIL)] == [
            name for name, value in zip(NAMES, ROWS[int(record[0].text or 0) - 1], strict=True) if value is None
        ]
    return [tuple(field.text or "" for field in record) for record in records]


def read_frame_of_elements(path: Path) -> list[Row]:
    frame = pd.read_xml(path, parser="etree", dtype=str)
    return [tuple(value or "" for value in row) for row in of_frame(frame[list(NAMES)])]


def read_stream(path: Path) -> list[Row]:
    with pa.ipc.open_stream(str(path)) as stream:
        return [tuple(row.values()) for row in stream.read_all().to_pylist()]


def read_objects(text: str) -> list[Row]:
    found = json.loads(text, parse_float=Decimal)
    assert {tuple(each) for each in found} == {NAMES}
    return [tuple(each.values()) for each in found]


READ_CELLS = renamed({BOTH.replace("\r", ""): BOTH.replace("\r", "_x000D_")}, IN_CELLS)
"""Excel understands this spelling of a return; openpyxl shows it."""
WIDTHS = (5, 20, 22, 20, 6, 11, 16, 27, 32, 300)
NO_ROOM = str.maketrans("\n\t", "  ", "\r\ufeff")
FLAT = [(*row[:-1], " ".join((row[-1] or "").translate(NO_ROOM).split()) or None) for row in ROWS]
"""Fixed width has no line ends and tabs, no blanks around values, and no empty text."""
FLAT_SPELLED = [tuple(map(spelled, row)) for row in FLAT]


def read_fixed_width(path: Path) -> list[Row]:
    header, *lines = path.read_text().splitlines()
    ends = list(itertools.accumulate(WIDTHS))
    assert [header[end - width : end].strip() for end, width in zip(ends, WIDTHS, strict=True)] == [*NAMES]
    return [tuple(line[end - width : end].strip() for end, width in zip(ends, WIDTHS, strict=True)) for line in lines]


def read_frame_of_fixed_width(path: Path) -> list[Row]:
    return of_frame(pd.read_fwf(path, widths=WIDTHS, dtype=str, keep_default_na=False))


OPTIONS: dict[str, dict[str, Any]] = {
    "t.fixed_width": {
        "file_format": "fixed_width",
        "fixed_width": FixedWidthFormat(widths=",".join(map(str, WIDTHS)), header=Header.PRESENT),
    }
}
"""What the spec of a file must say. Such files hold the rows ``FLAT``."""
READERS: dict[str, list[tuple[str, str, Callable[[Path], list[Row]], Sequence[Row]]]] = {
    "csv": [
        ("csv", "t.csv", read_csv, SPELLED),
        ("csv with tabs", "t.tsv", lambda path: read_csv(path, "\t"), SPELLED),
        ("csv with bars", "t.psv", lambda path: read_csv(path, "|"), SPELLED),
        (
            *("pandas", "t.csv"),
            *(lambda path: of_frame(pd.read_csv(path, dtype=str, keep_default_na=False)), SPELLED),
        ),
        ("pyarrow", "t.csv", read_csv_typed, TYPED),
        (
            *("DuckDB", "t.csv"),
            lambda path: by_duckdb(f"FROM read_csv('{path}', columns = {COLUMNS}, allow_quoted_nulls = false)"),
            TYPED,
        ),
    ],
    "fixed_width": [
        ("Python", "t.fixed_width", read_fixed_width, FLAT_SPELLED),
        ("pandas", "t.fixed_width", read_frame_of_fixed_width, FLAT_SPELLED),
    ],
    "json_lines": [
        ("json", "t.jsonl", lambda path: read_objects(f"[{','.join(path.read_text().splitlines())}]"), IN_JSON),
        ("DuckDB", "t.jsonl", lambda path: by_duckdb(f"FROM read_ndjson('{path}', columns = {COLUMNS})"), TYPED),
    ],
    "json": [
        ("json", "t.json", lambda path: read_objects(path.read_text()), IN_JSON),
        ("DuckDB", "t.json", lambda path: by_duckdb(f"FROM read_json('{path}', columns = {COLUMNS})"), TYPED),
    ],
    "parquet": [
        ("pyarrow", "t.parquet", lambda path: [tuple(row.values()) for row in pq.read_table(path).to_pylist()], TYPED),
        ("pandas", "t.parquet", lambda path: of_frame(pd.read_parquet(path, dtype_backend="pyarrow")), TYPED),
        ("DuckDB", "t.parquet", lambda path: by_duckdb(f"FROM '{path}'"), TYPED),
    ],
    "arrow": [
        ("pandas", "t.feather", lambda path: of_frame(pd.read_feather(path, dtype_backend="pyarrow")), TYPED),
        ("pyarrow", "t.arrows", read_stream, TYPED),
    ],
    "xml": [
        ("ElementTree", "t.xml", read_elements, SPELLED),
        ("pandas", "t.xml", read_frame_of_elements, renamed({"NULL": ""}, SPELLED)),
    ],
    "excel": [
        (
            *("openpyxl", "t.xlsx"),
            lambda path: list(openpyxl.load_workbook(path).active.iter_rows(min_row=2, values_only=True)),
            READ_CELLS,
        ),
        (
            *("pandas", "t.xlsx"),
            lambda path: of_frame(pd.read_excel(path, dtype=object, keep_default_na=False, engine="openpyxl")),
            [tuple("" if value is None else value for value in row) for row in READ_CELLS],
        ),
    ],
}
"""For each format: a program, the file, how the program reads it, and what it should find."""


def write_csv(path: Path, **options: Any) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, **options)
        writer.writerow(NAMES)
        writer.writerows(ROWS)


def write_elements(path: Path) -> None:
    root = ElementTree.Element("people")
    for row in ROWS:
        record = ElementTree.SubElement(root, "person")
        for name, value in zip(NAMES, row, strict=True):
            field = ElementTree.SubElement(record, name)
            if value is None:
                field.set(NIL, "true")
            field.text = spelled(value)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def write_frame_of_elements(path: Path) -> None:
    FRAME.to_xml(path, index=False, parser="etree")


def write_fixed_width(path: Path) -> None:
    rows = [[text.ljust(width) for text, width in zip(row, WIDTHS, strict=True)] for row in (NAMES, *FLAT_SPELLED)]
    path.write_text("".join("".join(row) + "\n" for row in rows))


def write_numbers_on_the_right(path: Path) -> None:
    rows = [
        [text.rjust(width - 1) + " " if text[-1:].isdigit() else text.ljust(width) for text, width in zip(row, WIDTHS)]  # noqa: B905
        for row in (NAMES, *FLAT_SPELLED)
    ]
    path.write_text("".join("".join(row).rstrip() + "\r\n" for row in rows), newline="")


AS_TEXT = {"strings_to_formulas": False}


def write_book(path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (NAMES, *IN_CELLS):
        book.active.append(row)
        for cell in book.active[book.active.max_row]:
            cell.data_type = "s" if cell.data_type == "f" else cell.data_type
    book.save(path)


def write_constant_book(path: Path) -> None:
    options = {**AS_TEXT, "constant_memory": True, "default_date_format": "yyyy-mm-dd hh:mm:ss.000"}
    with xlsxwriter.Workbook(path, options) as book:
        sheet = book.add_worksheet()
        for line, row in enumerate([NAMES, *IN_CELLS]):
            sheet.write_row(line, 0, row)


def write_frame_book(path: Path) -> None:
    with pd.ExcelWriter(path, engine="xlsxwriter", engine_kwargs={"options": AS_TEXT}) as writer:
        CELLS.to_excel(writer, index=False)


OBJECTS = [dict(zip(NAMES, map(in_json, row), strict=True)) for row in ROWS]
DAYS_AS_TEXT = FRAME.assign(day=FRAME["day"].map(spelled, na_action="ignore"))
WRITERS: dict[str, list[tuple[str, str, Callable[[Path], object], Sequence[Row]]]] = {
    "csv": [
        ("csv", "t.csv", write_csv, EMPTY_IS_NULL),
        ("csv in quotes", "t.csv", lambda path: write_csv(path, quoting=csv.QUOTE_ALL), NULL_IS_EMPTY),
        ("csv for Excel", "t.csv", lambda path: write_csv(path, delimiter=";"), EMPTY_IS_NULL),
        ("csv with tabs", "t.tsv", lambda path: write_csv(path, dialect="excel-tab"), EMPTY_IS_NULL),
        ("csv of Unix", "t.csv", lambda path: write_csv(path, dialect="unix"), NULL_IS_EMPTY),
        ("pandas", "t.csv", lambda path: FRAME.to_csv(path, index=False), EMPTY_IS_NULL),
        ("pyarrow", "t.csv", lambda path: pacsv.write_csv(TABLE, path), TYPED),
        ("DuckDB", "t.csv", lambda path: by_duckdb(f"COPY source TO '{path}'"), TYPED),
    ],
    "fixed_width": [
        ("Python", "t.fixed_width", write_fixed_width, FLAT),
        ("Python, numbers on the right", "t.fixed_width", write_numbers_on_the_right, FLAT),
    ],
    "json_lines": [
        ("json", "t.jsonl", lambda path: path.write_text("\n".join(map(json.dumps, OBJECTS))), TYPED),
        (
            *("pandas", "t.jsonl"),
            lambda path: DAYS_AS_TEXT.to_json(path, orient="records", lines=True, date_format="iso", date_unit="us"),
            TYPED,
        ),
        ("DuckDB", "t.ndjson", lambda path: by_duckdb(f"COPY source TO '{path}' (FORMAT json)"), TYPED),
    ],
    "json": [
        ("json", "t.json", lambda path: path.write_text(json.dumps(OBJECTS, indent=2, ensure_ascii=False)), TYPED),
        (
            *("pandas", "t.json"),
            lambda path: DAYS_AS_TEXT.to_json(path, orient="records", date_format="iso", date_unit="us"),
            TYPED,
        ),
        ("DuckDB", "t.json", lambda path: by_duckdb(f"COPY source TO '{path}' (FORMAT json, ARRAY true)"), TYPED),
    ],
    "parquet": [
        ("pyarrow", "t.parquet", lambda path: pq.write_table(TABLE, path), TYPED),
        ("pandas", "t.parquet", FRAME.to_parquet, TYPED),
        ("DuckDB", "t.parquet", lambda path: by_duckdb(f"COPY source TO '{path}'"), TYPED),
    ],
    "arrow": [
        ("pyarrow", "t.arrow", lambda path: feather.write_feather(TABLE, str(path), compression="lz4"), TYPED),
        ("pandas", "t.feather", FRAME.to_feather, TYPED),
    ],
    "xml": [
        ("ElementTree", "t.xml", write_elements, renamed(ONE_MARK)),
        (
            "pandas",
            "t.xml",
            lambda path: FRAME.to_xml(path, index=False, parser="etree"),
            renamed(ONE_MARK, NULL_IS_EMPTY),
        ),
    ],
    "excel": [
        ("openpyxl", "t.xlsx", write_book, OF_CELLS),
        ("xlsxwriter", "t.xlsx", write_constant_book, OF_CELLS),
        ("pandas", "t.xlsx", write_frame_book, OF_CELLS),
    ],
}
"""For each format: a program, the file, how the program writes it, and the rows that should arrive."""

TOOLS = {
    "gzip": (".gz", ("gzip",)),
    "zstd": (".zst", ("zstd", "--quiet", "--rm")),
    "bzip2": (".bz2", ("bzip2",)),
    "xz": (".xz", ("xz",)),
    "zip": (".zip", ("zip", "--quiet", "--move", "--junk-paths", "t.csv.zip")),
}
"""For each codec: the ending of its files, and the command that compresses a file."""


@pytest.fixture
def port(request: pytest.FixtureRequest, tmp_path: Path, work_dir: Any) -> Iterator[Port]:
    with duckdb_database(request) as database:
        transfer = BulkTransfer(
            connections={"harbour": database.connection}, roots={"local": tmp_path}, work_dir=work_dir
        )
        yield Port(database=database, directory=tmp_path, transfer=transfer)


def in_table(port: Port) -> list[Row]:
    return sorted(port.database.sql("SELECT * FROM t"), key=itemgetter(0))


def _cases(programs: dict[str, list[tuple[str, str, Any, Sequence[Row]]]]) -> list[Any]:
    return [pytest.param(*rest, id=f"{kind}: {program}") for kind, each in programs.items() for program, *rest in each]


def test_every_format_and_codec_has_programs_here() -> None:
    names = {each.name for each in FORMATS}
    assert names == set(READERS) == set(WRITERS)
    assert {each.name for each in CODECS} == set(TOOLS)


@pytest.mark.parametrize(("name", "read", "expected"), _cases(READERS))
def test_other_programs_read_what_was_written(
    port: Port, name: str, read: Callable[[Path], list[Row]], expected: Sequence[Row]
) -> None:
    pq.write_table(table_of(FLAT) if name in OPTIONS else TABLE, port.directory / "source.parquet")
    port.database.sql(MAKE)
    assert port.load("source.parquet") == (len(ROWS), 0)
    assert port.export(name, **OPTIONS.get(name, {})) == (len(ROWS), 0)
    assert sorted(read(port.directory / name), key=lambda row: int(row[0])) == list(expected)


@pytest.mark.parametrize(("name", "write", "expected"), _cases(WRITERS))
def test_what_other_programs_write_arrives(
    port: Port, name: str, write: Callable[[Path], object], expected: Sequence[Row]
) -> None:
    write(port.directory / name)
    port.database.sql(MAKE)
    assert port.load(name, **OPTIONS.get(name, {})) == (len(ROWS), 0), port.rejects()
    assert in_table(port) == list(expected)


@pytest.mark.parametrize(("name", "write", "expected"), _cases(WRITERS))
def test_a_table_that_is_created_keeps_every_value(
    port: Port, name: str, write: Callable[[Path], object], expected: Sequence[Row]
) -> None:
    """A type is detected only if it changes no value: numbers with too many digits become text."""
    write(port.directory / name)
    assert port.load(name, **OPTIONS.get(name, {})) == (len(ROWS), 0), port.rejects()
    for row, wanted in zip(in_table(port), expected, strict=True):
        assert tuple(map(_like, row, wanted)) == wanted


def _like(value: object, wanted: object) -> object:
    """A value of a detected type as the value that was written, if nothing is lost."""
    match wanted:
        case None if value == "":  # In quotes, in a column of numbers that has become text.
            return None
        case Decimal() | int() if isinstance(value, str | float):
            return Decimal(str(value))
        case date() | time() if isinstance(value, str):
            return type(wanted).fromisoformat(value)
    return value.date() if type(wanted) is date and isinstance(value, datetime) else value


@pytest.mark.parametrize("codec", TOOLS)
@pytest.mark.parametrize("by", ["pandas", "command"])
def test_files_that_others_compress(port: Port, codec: str, by: str) -> None:
    ending, command = TOOLS[codec]
    path = port.directory / f"t.csv{ending}"
    if by == "pandas":
        FRAME.to_csv(path, index=False)
    elif shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    else:
        write_csv(port.directory / "t.csv")
        subprocess.run([*command, "t.csv"], cwd=port.directory, check=True)
    port.database.sql(MAKE)
    assert port.load(path.name) == (len(ROWS), 0)
    assert in_table(port) == EMPTY_IS_NULL
