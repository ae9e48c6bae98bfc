"""Files that are not delimited text are refused by name, or by content if the name says nothing."""

from __future__ import annotations

import gzip
import io
import sqlite3
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import ImportSpec, Table

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.data.conftest import Yard

NAMES = [
    ("x.csv.lz4", "compressed with LZ4"),
    ("x.tar", "a tar archive"),
    ("x.html", "HTML"),
]
COMPRESSED = [
    ("x.csv.gz", "compressed with gzip"),
    ("x.csv.zst", "compressed with Zstandard"),
    ("x.csv.xz", "compressed with xz"),
    ("x.bz2", "compressed with bzip2"),
    ("x.zip", "compressed with ZIP"),
]


@pytest.mark.parametrize(("name", "kind"), NAMES)
def test_an_import_of_another_format_is_refused_by_its_name(yard: Yard, name: str, kind: str) -> None:
    with pytest.raises(InvalidSpec, match=f"{name} is {kind}, which Lading cannot read yet: .* first") as caught:
        yard.transfer.plan(ImportSpec(files=(yard.write("a,b\n1,2\n", name),), target=Table(table="t")))
    assert caught.value.field == "files[0].path"


@pytest.mark.parametrize(("name", "kind"), [*NAMES, *COMPRESSED, ("x.XLS", "a workbook of another kind than .xlsx")])
def test_an_export_to_another_format_is_refused_by_its_name(yard: Yard, name: str, kind: str) -> None:
    yard.sql("CREATE TABLE t (a)")
    with pytest.raises(InvalidSpec, match=f"{name} would be {kind}, which Lading cannot write yet: .*csv") as caught:
        yard.plan_export(path=name)
    assert caught.value.field == "file.path"


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"))
    return buffer.getvalue()


def database(directory: Path) -> bytes:
    path = directory / "made.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a)")
    connection.commit()
    connection.close()
    return path.read_bytes()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"[1,2]\n[3,4]\n", "JSON of an unknown shape"),
        (b'\n{\n  "id": 1\n}\n', "JSON of an unknown shape"),
        (b'{"rows": [' + b"1," * 10_000 + b"1]}\n", "JSON of an unknown shape"),
        (b'<?xml version="1.0"?>\n<html xmlns="http://www.w3.org/1999/xhtml"><body/></html>\n', "HTML"),
        (b"<!DOCTYPE html>\n<p>\n", "HTML"),
        (b"%PDF-1.7\n", "PDF"),
        (gzip.compress(tarred(), mtime=0), "a tar archive"),
        (zipped("mimetype", "content.opf"), "a document in a ZIP archive"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive"),
    ],
)
def test_an_import_of_another_format_is_refused_by_its_content(yard: Yard, content: bytes, kind: str) -> None:
    with pytest.raises(InvalidSpec, match=f"in.csv is {kind}, which Lading cannot read yet"):
        yard.plan_import(content)


def test_a_database_is_refused_by_its_content(yard: Yard, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"in\.csv is a SQLite database, .*: export its table to CSV first"):
        yard.plan_import(database(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "{id},name\n1,2\n",
        "[a],[b]\n1,2\n",
        '{"a":1},x\n{"a":2},y\n',
        "PK,name\n1,2\n",
        "PARAM,b\n1,2\n",
        "PAR1,b\n1,2\n",
        "ARROW1,b\n1,2\n",
        "<5,low\n>9,high\n",
        "Obj,n\n1,2\n",
        "[],x\n1,2\n",
    ],
)
def test_text_that_only_looks_like_another_format_is_read(yard: Yard, text: str) -> None:
    assert len(yard.plan_import(text).columns) == 2


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.txt", "x", "x.2024-01", "json", "x.dat"])
def test_other_names_are_no_matter(yard: Yard, name: str) -> None:
    yard.sql("CREATE TABLE t (a INTEGER, b INTEGER)")
    yard.plan_export(path=f"o{name}")
    yard.transfer.plan(ImportSpec(files=(yard.write("a,b\n1,2\n", name),), target=Table(table="t")))
