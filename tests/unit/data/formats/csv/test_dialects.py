"""Tables that Python's csv writes in many dialects come back by detection alone, or the wrong finding is shown."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import zipfile
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import hypothesis.strategies as st
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import CsvFormat, ExportSpec, File, ImportSpec, Table
from ladingd.data.formats.csv.format import Csv

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.data.conftest import Yard

NAMES = ("id", "name", "city", "amount", "first_name", "e-mail", "Total price", "date", "note", "Größe")
WORDS = (
    "Anna",
    "O'Neil",
    "said,so",
    "a;b",
    "x|y",
    'the "best"',
    "12",
    "2024-01-02",
    "10:20",
    "naïve",
    "東京",
    "a\tb",
    "#1",
)
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", "~": "~", "^": "^"}

values = st.one_of(
    st.integers(-999, 10**6).map(str),
    st.decimals(0, 1000, places=2).map(str),
    st.sampled_from(WORDS),
    st.lists(st.sampled_from(WORDS), min_size=2, max_size=5).map(" ".join),
    st.just(""),
)


ENCODINGS = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16",
    "utf-32": "UTF-32",
    "cp1252": "windows-1252",
    "gb18030": "",
}
"""What people are told of each encoding. Every other finding is a guess that they see."""


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in.csv", data)
    return buffer.getvalue()


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "Zstandard": zstandard.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "ZIP": zipped,
}


class Written(NamedTuple):
    """A table, and how it is written."""

    names: list[str]
    rows: list[list[str]]
    header: bool
    delimiter: str
    quote: str
    quoting: int
    ends: str
    encoding: str
    packing: str

    @property
    def content(self) -> bytes:
        file = io.StringIO(newline="")
        writer = csv.writer(
            file, delimiter=self.delimiter, quotechar=self.quote, quoting=self.quoting, lineterminator=self.ends
        )
        writer.writerows([self.names, *self.rows] if self.header else self.rows)
        return PACKINGS[self.packing](file.getvalue().encode(self.encoding))


@st.composite
def tables(draw: st.DrawFn) -> Written:
    width = draw(st.integers(2, 6))
    encoding = draw(st.sampled_from(list(ENCODINGS)))
    rows = draw(st.lists(st.lists(values, min_size=width, max_size=width), min_size=1, max_size=12))
    return Written(
        names=draw(st.lists(st.sampled_from(NAMES), min_size=width, max_size=width, unique=True)),
        rows=[[value.encode(encoding, "replace").decode(encoding) for value in row] for row in rows],
        header=draw(st.booleans()),
        delimiter=draw(st.sampled_from(list(DELIMITERS))),
        quote=draw(st.sampled_from("\"'")),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        ends=draw(st.sampled_from(["\n", "\r\n", "\r"])),
        encoding=encoding,
        packing=draw(st.sampled_from(list(PACKINGS))),
    )


@given(tables())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_comes_back_by_detection_or_the_wrong_finding_is_shown(
    make_yard: Callable[[Path], Yard], table: Written
) -> None:
    with TemporaryDirectory() as folder:
        yard = make_yard(Path(folder))
        spec = ImportSpec(files=(yard.write(table.content),), target=Table(table="t"))
        try:
            shown = yard.transfer.preview(spec, 20)
        except InvalidSpec as error:
            if error.field == "encoding" and table.encoding == "gb18030":
                return  # Nothing tells so short a text.
            raise
        names, detected = [column.source for column in shown.plan.columns], shown.plan.detected
        delimiter = detected.removeprefix("delimiter: ").split("; ")[0].split(" (in doubt")[0]
        if delimiter.split(" and blanks")[0] != DELIMITERS[table.delimiter] or f"quote: {table.quote}" not in detected:
            return  # People see it.
        if ("header: yes" in detected) is not table.header:
            return
        assert (f"compression: {table.packing}" in detected) is (table.packing != "none")
        if f"encoding: {ENCODINGS[table.encoding]}" not in detected or not ENCODINGS[table.encoding]:
            return
        counts = yard.run(shown.plan)
        as_text = replace(spec, target=Table(table="u"), types=dict.fromkeys(names, "text"))
        yard.run(yard.transfer.plan(as_text), "again")
        stored = yard.sql("SELECT * FROM u ORDER BY rowid")
    assert len(names) == len(table.names)
    if table.header:
        assert names == table.names
    blank = sum(not any(row) and table.quoting == csv.QUOTE_MINIMAL and len(row) == 1 for row in table.rows)
    assert counts.read == len(table.rows)
    assert counts.inserted + counts.rejected + counts.empty == counts.read
    assert counts.empty == blank
    assert counts.rejected == 0 or shown.rejects
    assert [[value or "" for value in row] for row in stored] == [row for row in table.rows if any(row) or not blank]


@given(st.one_of(st.binary(max_size=300), st.text(alphabet=",;|\"'\n\r a1#", max_size=200).map(str.encode)))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_end_in_a_clear_outcome(make_yard: Callable[[Path], Yard], data: bytes) -> None:
    with TemporaryDirectory() as folder:
        yard = make_yard(Path(folder))
        try:
            shown = yard.transfer.preview(ImportSpec(files=(yard.write(data),), target=Table(table="t")), 20)
        except InvalidSpec:
            return
        counts = yard.run(shown.plan)
    assert counts.balances


@pytest.mark.parametrize(
    ("name", "asked", "written"),
    [
        ("out.csv", "", ","),
        ("out.txt", "", ","),
        ("out.tsv", "", "\t"),
        ("OUT.TAB", "", "\t"),
        ("out.psv", "", "|"),
        ("out.tsv", ";", ";"),
    ],
)
def test_an_export_writes_the_delimiter_that_the_name_promises(name: str, asked: str, written: str) -> None:
    spec = ExportSpec(source=Table(table="t"), file=File(path=name), csv=CsvFormat(delimiter=asked))
    Csv().check(spec)
    assert Csv().layout(spec, ()).details["delimiter"] == written
    with pytest.raises(InvalidSpec, match="must not be the quote"):
        Csv().check(replace(spec, csv=CsvFormat(delimiter=asked, quote=written)))
