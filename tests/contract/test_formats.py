"""The contract of file formats.

Every registered format is tested. A format without files in this module fails.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import openpyxl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ladingd.core.errors import InvalidSpec, SourceChanged
from ladingd.core.plan import Column, ImportPlan, Layout
from ladingd.core.spec import ExportSpec, File, FixedWidthFormat, ImportSpec, Table
from ladingd.data.databases.connection import Connection
from ladingd.data.files.content import content_of
from ladingd.data.files.encoding import readable
from ladingd.data.files.roots import Source, open_source
from ladingd.data.formats.registry import FORMATS, format_of, format_to_read, format_to_write
from ladingd.data.storage.work_dir import WorkDir
from ladingd.data.transfer import BulkTransfer
from tests.contract.files import written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ladingd.core.plan import Chunk
    from ladingd.data.formats.format import Format

NAMES = ("id", "name", "note")
ROWS = [(str(number), f"name é{number}", None if number % 7 else f'a "note", {number}') for number in range(1, 400)]
"""The content of the regular file of every format."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A file of one format: its bytes and its content."""

    name: str
    data: bytes
    rows: list[tuple[str | None, ...]]
    refused: tuple[int, ...] = ()
    """The rejected records, counted from 1."""
    empty: int = 0
    changed: bytes
    """The bytes of a file of the same size or another whose content differs."""
    larger: Callable[[], bytes]
    """The bytes of a file that has many more records of this kind."""
    behind: str = ""
    """What may stand in a line behind its record."""


def _csv(rows: list[tuple[str | None, ...]]) -> list[bytes]:
    quoted = [["" if value is None else '"' + value.replace('"', '""') + '"' for value in row] for row in rows]
    return [",".join(row).encode() for row in quoted]


def _json_lines(rows: list[tuple[str | None, ...]]) -> list[bytes]:
    return [json.dumps(dict(zip(NAMES, row, strict=True)), ensure_ascii=False).encode() for row in rows]


def _table(rows: list[tuple[str | None, ...]]) -> pa.Table:
    return pa.table([pa.array([row[place] for row in rows], pa.string()) for place in range(len(NAMES))], NAMES)


def _parquet(rows: list[tuple[str | None, ...]], group: int = 50) -> bytes:
    file = io.BytesIO()
    pq.write_table(_table(rows), file, row_group_size=group, compression="none", use_dictionary=False)
    return file.getvalue()


def _arrow(rows: list[tuple[str | None, ...]], new: Callable[..., Any] = pa.ipc.new_file, batch: int = 50) -> bytes:
    file = io.BytesIO()
    table = _table(rows)
    with new(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch)
    return file.getvalue()


def _other(data: bytes) -> bytes:
    return data.replace("é11".encode(), "é12".encode())


def _excel(rows: list[tuple[str | None, ...]]) -> bytes:
    file = io.BytesIO()
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Sheet")
    for row in [NAMES, *rows]:
        sheet.append(row)
    book.save(file)
    return file.getvalue()


def _json(
    name: str, objects: list[bytes], refused: tuple[int, ...] = (), around: tuple[bytes, bytes] = (b"", b"")
) -> Sample:
    before, behind = around

    def document(elements: list[bytes]) -> bytes:
        return before + b"[\n" + b",\n".join(elements) + b"\n]" + behind

    return Sample(
        name=name,
        data=document(objects),
        rows=ROWS,
        refused=refused,
        changed=_other(document(objects)),
        larger=lambda: document(objects * 300),
        behind=",",
    )


def _xml_records(rows: list[tuple[str | None, ...]]) -> list[bytes]:
    def element(name: str, value: str | None) -> str:
        return f'<{name} xsi:nil="true"/>' if value is None else f"<{name}>{value.replace('&', '&amp;')}</{name}>"

    return [f"<row>{''.join(element(*field) for field in zip(NAMES, row, strict=True))}</row>".encode() for row in rows]


def _xml(
    name: str, records: list[bytes], refused: tuple[int, ...] = (), around: tuple[bytes, bytes] = (b"", b"")
) -> Sample:
    before, behind = around

    def document(elements: list[bytes]) -> bytes:
        root = b'<rows xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
        return before + root + b"\n".join(elements) + b"\n</rows>" + behind

    return Sample(
        name=name,
        data=document(records),
        rows=ROWS,
        refused=refused,
        changed=_other(document(records)),
        larger=lambda: document(records * 300),
    )


def _lines(name: str, data: bytes, refused: tuple[int, ...] = (), empty: int = 0) -> Sample:
    more = data[-20_000:].partition(b"\n")[2]
    return Sample(
        name=name,
        data=data,
        rows=ROWS,
        refused=refused,
        empty=empty,
        changed=_other(data),
        larger=lambda: data + more * 300,
    )


def _fixed_width(rows: list[tuple[str | None, ...]]) -> list[bytes]:
    return [f"{number or '':>6}  {name or '':<20}{note or '':<24}".encode() for number, name, note in rows]


CSV, JSON, XML, FIXED = _csv(ROWS), _json_lines(ROWS), _xml_records(ROWS), _fixed_width(ROWS)
FIXED_HEADER = b"    id  name                note                    "
MANY = 200 * ROWS
SAMPLES = {
    "csv": [
        _lines("regular.csv", b"\n".join([b"id,name,note", *CSV, b""])),
        _lines("no_end.csv", b"\r\n".join([b"id,name,note", *CSV])),
        _lines(
            "faults.csv",
            b"\n".join([b"id,name,note", *CSV[:9], b"1,2", b"", *CSV[9:], b"1,2,3,4", b""]),
            refused=(10, 402),
            empty=1,
        ),
    ],
    "fixed_width": [
        _lines("regular.txt", b"\n".join([FIXED_HEADER, *FIXED, b""])),
        _lines("no_end.dat", b"\r\n".join([FIXED_HEADER, *FIXED])),
        _lines(
            "faults.prn",
            b"\n".join([FIXED_HEADER, *FIXED[:9], b"1  2", b" ", *FIXED[9:], FIXED[0] + b"x", b""]),
            refused=(10, 402),
            empty=1,
        ),
    ],
    "json_lines": [
        _lines("regular.jsonl", b"\n".join([*JSON, b""])),
        _lines("no_end.ndjson", b"\r\n".join(JSON)),
        _lines(
            "faults.jsonl",
            b"\n".join([*JSON[:9], b"[1]", b" ", *JSON[9:], b'{"id":', b""]),
            refused=(10, 402),
            empty=1,
        ),
    ],
    "json": [
        _json("regular.json", JSON),
        _json("member.json", JSON, around=(b'{"count": 399,\r\n"rows":', b', "next": [{"a": "]"}]}\n')),
        _json("faults.json", [*JSON[:9], b"[1]", *JSON[9:], b'{"id": }'], refused=(10, 401)),
    ],
    "xml": [
        _xml("regular.xml", XML),
        _xml(
            "nested.xml",
            XML,
            around=(b'<?xml version="1.0"?>\r\n<export>\n<meta><row>no</row></meta>\n', b"\n<!-- end --></export>\n"),
        ),
        _xml(
            "faults.xml",
            [*XML[:9], b"<row><id>1</name></row>", *XML[9:200], b"<row><id>7", *XML[200:], b"</id></row>"],
            refused=(10, 202, 402),
        ),
    ],
    "parquet": [
        Sample(
            name="groups.parquet",
            data=_parquet(ROWS),
            rows=ROWS,
            changed=_other(_parquet(ROWS)),
            larger=lambda: _parquet(MANY, 1000),
        ),
        Sample(
            name="one_group.pq",
            data=_parquet(ROWS, 1000),
            rows=ROWS,
            changed=_other(_parquet(ROWS, 1000)),
            larger=lambda: _parquet(MANY, 10_000),
        ),
    ],
    "arrow": [
        Sample(
            name="file.arrow", data=_arrow(ROWS), rows=ROWS, changed=_other(_arrow(ROWS)), larger=lambda: _arrow(MANY)
        ),
        Sample(
            name="stream.arrows",
            data=_arrow(ROWS, pa.ipc.new_stream),
            rows=ROWS,
            changed=_other(_arrow(ROWS, pa.ipc.new_stream)),
            larger=lambda: _arrow(MANY, pa.ipc.new_stream),
        ),
        Sample(
            name="one_batch.feather",
            data=_arrow(ROWS, batch=1000),
            rows=ROWS,
            changed=_other(_arrow(ROWS, batch=1000)),
            larger=lambda: _arrow(MANY),
        ),
    ],
    "excel": [
        Sample(
            name="book.xlsx",
            data=_excel(ROWS),
            rows=ROWS,
            changed=_excel([*ROWS[:10], ("other", "", ""), *ROWS[11:]]),
            larger=lambda: _excel(MANY),
        ),
    ],
}
"""Files for each format, by its name."""

OPTIONS: dict[str, dict[str, Any]] = {
    "fixed_width": {"fixed_width": FixedWidthFormat(widths="10,20,40"), "file_format": "fixed_width"}
}
"""What the spec of a format must say to write what `ROWS` has, by its name."""
LINE_ENDS_ARE_TEXT = {each.name for each in FORMATS} - {"fixed_width"}
"""The formats whose values may contain line ends and tabs."""

ALL = [pytest.param(each, sample, id=sample.name) for each in FORMATS for sample in SAMPLES.get(each.name, [])]


@dataclass
class Watched:
    """A source that records the largest read."""

    source: Source
    most: int = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.source, name)

    def read(self, start: int, end: int) -> bytes:
        self.most = max(self.most, end - start)
        return self.source.read(start, end)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A sample on disk, with its plan."""

    source: Source
    plan: ImportPlan


def opened(directory: Path, name: str, data: bytes, chunk_bytes: int, **options: Any) -> Opened:
    (directory / name).write_bytes(data)

    connection = Connection(name="local", url=f"sqlite://{directory}/target.sqlite")
    transfer = BulkTransfer(
        connections={"local": connection}, roots={"local": directory}, work_dir=WorkDir(directory=directory / "work")
    )
    file = File(path=name)
    plan = transfer.plan(ImportSpec(files=(file,), target=Table(table="t"), chunk_bytes=chunk_bytes, **options))
    assert plan.kind == "import"
    source = content_of(open_source({"local": directory}, {}, file), plan.file.content)
    return Opened(source=source, plan=plan.ending(source.size) if plan.file.content.spooled else plan)


def chunks_of(kind: Format, source: Source, plan: ImportPlan, limit: int = 3) -> list[Chunk]:
    chunks: list[Chunk] = []
    while more := kind.cut(source, plan, chunks[-1] if chunks else None, limit):
        chunks += more
    return chunks


def texts(array: pa.Array) -> list[str | None]:
    if pa.types.is_binary(array.type):  # Not all of it is UTF-8.
        return [None if value is None else readable(value) for value in array.to_pylist()]
    return pc.cast(array, pa.string()).to_pylist()


def read_all(kind: Format, source: Source, plan: ImportPlan, chunks: list[Chunk]) -> Iterator[tuple[int, int, object]]:
    """All records except empty ones, as (record, line, values or the code of the fault)."""
    for chunk in chunks:
        piece = kind.read(source, plan, chunk)
        assert len(piece.indexes) + len({fault.index for fault in piece.faults}) + piece.empty == chunk.records
        lines = piece.origins.lines(piece.indexes)
        rows = zip(*(texts(column) for column in piece.columns), strict=True)
        for index, line, row in zip(piece.indexes.tolist(), lines.tolist(), rows, strict=True):
            yield chunk.first_record + index, line, row
        for fault in piece.faults:
            yield chunk.first_record + fault.index, 0, fault.code


def test_every_format_has_files_here() -> None:
    assert {each.name for each in FORMATS} == set(SAMPLES)
    assert all(SAMPLES.values())


def test_names_and_endings_belong_to_one_format_each() -> None:
    endings = [ending for each in FORMATS for ending in each.endings]
    assert len(endings) == len(set(endings))
    assert len({each.name for each in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize(("kind", "sample"), ALL)
def test_a_file_is_known_by_its_content(kind: Format, sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "unnamed").write_bytes(sample.data)
    spec = ImportSpec(files=(File(path="unnamed"),), target=Table(table="t"))
    with open_source({"local": tmp_path}, {}, spec.files[0]) as source:
        assert format_to_read(source, spec) is kind
        for other in FORMATS:
            assert format_to_read(source, replace(spec, file_format=other.name)) is other


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)
def test_a_file_to_write_is_named_or_asked_for(kind: Format) -> None:
    spec = ExportSpec(source=Table(table="t"), file=File(path="out.txt"))
    assert format_to_write(replace(spec, file_format=kind.name)) is kind
    for ending in kind.endings:
        assert format_to_write(replace(spec, file=File(path=f"out.{ending}"))) is kind
    layout = kind.layout(spec, [])
    assert format_of(Layout(format=layout.format, details=json.loads(json.dumps(dict(layout.details))))) is kind


@pytest.mark.parametrize("wrong", ["", "x"])
def test_a_format_that_is_not_there_is_refused(wrong: str, tmp_path: Path) -> None:
    name = "no such format" + wrong
    (tmp_path / "a").write_bytes(b"a,b\n")
    spec = ImportSpec(files=(File(path="a"),), target=Table(table="t"), file_format=name)
    with (
        open_source({"local": tmp_path}, {}, spec.files[0]) as source,
        pytest.raises(InvalidSpec, match=name) as caught,
    ):
        format_to_read(source, spec)
    assert caught.value.field == "file_format"


@pytest.mark.parametrize("chunk_bytes", [1, 100, 3000, 8 << 20])
@pytest.mark.parametrize(("kind", "sample"), ALL)
def test_every_record_is_in_one_chunk_and_read_as_it_is(
    kind: Format, sample: Sample, chunk_bytes: int, tmp_path: Path
) -> None:
    at = opened(tmp_path, sample.name, sample.data, chunk_bytes)
    with at.source as source:
        plan = at.plan
        chunks = chunks_of(kind, source, plan)
        assert (chunks[0].start, chunks[-1].end) == (plan.file.start, plan.file.end)
        assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
        for before, after in itertools.pairwise(chunks):
            assert after.start == before.end > before.start
            assert after.first_record == before.first_record + (before.records or 0)
        records = sorted(read_all(kind, source, plan, chunks), key=itemgetter(0))
        good = [row for _, _, row in records if isinstance(row, tuple)]
        assert good == [tuple(value if value != "" else None for value in row) for row in sample.rows]
        assert tuple(number for number, _, row in records if isinstance(row, str)) == sample.refused
        assert sum(chunk.records or 0 for chunk in chunks) == len(sample.rows) + len(sample.refused) + sample.empty
        assert chunks_of(kind, source, plan, limit=1) == chunks
        assert sorted(read_all(kind, source, plan, chunks), key=itemgetter(0)) == records


@pytest.mark.parametrize(("kind", "sample"), ALL)
def test_a_record_is_told_by_its_line_and_text(kind: Format, sample: Sample, tmp_path: Path) -> None:
    at = opened(tmp_path, sample.name, sample.data, 3000)
    lines = [line.removesuffix(b"\r").decode(errors="replace") for line in sample.data.split(b"\n")]
    records = [json.dumps(dict(zip(NAMES, row, strict=True)), ensure_ascii=False) for row in sample.rows]
    is_text, told = kind.unit == "bytes", 0
    with at.source as source:
        for chunk in chunks_of(kind, source, at.plan):
            piece = kind.read(source, at.plan, chunk)
            places = piece.indexes
            raws = texts(piece.origins.raw(places))
            for index, line, raw in zip(places.tolist(), piece.origins.lines(places).tolist(), raws, strict=True):
                assert raw == (
                    lines[line - 1].removesuffix(sample.behind) if is_text else records[chunk.first_record + index - 1]
                )
                assert line == 0 or is_text or line == chunk.first_line + index
                told += 1
            for column, values in enumerate(piece.columns):
                assert texts(piece.origins.texts(places, column)) == [value or "" for value in texts(values)]
    assert told == len(sample.rows)


@pytest.mark.parametrize(("kind", "sample"), ALL)
def test_a_file_that_changed_is_noticed(kind: Format, sample: Sample, tmp_path: Path) -> None:
    at = opened(tmp_path, sample.name, sample.data, 3000)
    with at.source as source:
        chunks = chunks_of(kind, source, at.plan)
        path = tmp_path / sample.name
        path.write_bytes(sample.changed)
        changed = 0
        for chunk in chunks:
            try:
                kind.read(source, at.plan, chunk)
            except SourceChanged:
                changed += 1
        assert changed >= 1
        path.write_bytes(sample.data[:-2000])
        with pytest.raises(SourceChanged):
            kind.read(source, at.plan, chunks[-1])


@pytest.mark.parametrize("kind", [each for each in FORMATS if each.bounded], ids=lambda kind: kind.name)
def test_memory_is_bounded_by_a_chunk(kind: Format, tmp_path: Path) -> None:
    sample = SAMPLES[kind.name][0]
    at = opened(tmp_path, sample.name, sample.larger(), 50_000)
    with at.source as source:
        watched = Watched(source)
        chunks = chunks_of(kind, watched, at.plan)  # type: ignore[arg-type]
        kind.read(watched, at.plan, chunks[-1])  # type: ignore[arg-type]
        assert watched.most < 1 << 20 < source.size


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)
def test_what_is_written_is_read_again(kind: Format, tmp_path: Path) -> None:
    rows = [*ROWS, ("501", '"', "\\"), ("503", "é☃𝄞", "{}")]
    if kind.name in LINE_ENDS_ARE_TEXT:
        rows += [("500", "", "line\nend"), ("502", "\t", "null")]
    options = OPTIONS.get(kind.name, {})
    columns = [Column(source=name, target=name, type="text") for name in NAMES]
    layout = kind.layout(ExportSpec(source=Table(table="t"), file=File(path="out"), **options), columns)
    writer = kind.writer(layout, columns)
    arrays = [pa.array([row[place] for row in rows], pa.string()) for place in range(len(NAMES))]
    ending = next(iter(kind.endings), "txt")
    at = opened(tmp_path, f"out.{ending}", written(writer, arrays), 8 << 20, **options)
    with at.source as source:
        chunks = chunks_of(kind, source, at.plan)
        read = [row for _, _, row in sorted(read_all(kind, source, at.plan, chunks))]
        assert read in (rows, [tuple(value or None for value in row) for row in rows])  # Some have no empty text.


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    "data", [b"", b"\n", b"\n\n\r\n", b"\xef\xbb\xbf", b"\x00\x01\x02", b"x", b"\xff\xfe\xff", b"{" * 5000, b"[" * 9000]
)
def test_odd_beginnings_are_planned_or_refused_in_words(kind: Format, data: bytes, tmp_path: Path) -> None:
    ending = next(iter(kind.endings), "txt")
    try:
        at = opened(tmp_path, f"odd.{ending}", data, 100, **OPTIONS.get(kind.name, {}))
    except InvalidSpec:
        return
    with at.source as source:
        chunks = chunks_of(kind, source, at.plan)
        assert sum(chunk.records or 0 for chunk in chunks) >= len(list(read_all(kind, source, at.plan, chunks)))
