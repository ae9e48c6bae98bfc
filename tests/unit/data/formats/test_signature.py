"""Files that are not delimited text are refused by name, or by content if the name says nothing."""

from __future__ import annotations

import gzip
import io
import pickle
import sqlite3
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import ImportSpec, Table

if TYPE_CHECKING:
    from collections.abc import Callable

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


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG image"),
        (Path(sys.executable).resolve().read_bytes()[:9000], "a program"),
        (b"{\\rtf1\\ansi a;b\n1;2}\n", "an RTF document"),
        (b"Salted__abcdefgh\x80\x81", "encrypted"),
    ],
)
def test_a_file_without_records_is_called_by_its_kind(yard: Yard, content: bytes, kind: str) -> None:
    with pytest.raises(InvalidSpec, match=rf"in\.csv is {kind}, not a file of records"):
        yard.plan_import(content)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"[1,2]\n[3,4]\n", "JSON of an unknown shape"),
        (b'\n{\n  "id": 1\n}\n', "JSON of an unknown shape"),
        (b'{"rows": [' + b"1," * 10_000 + b"1]}\n", "JSON of an unknown shape"),
        (b'<?xml version="1.0"?>\n<html xmlns="http://www.w3.org/1999/xhtml"><body/></html>\n', "HTML"),
        (b"<!DOCTYPE html>\n<p>\n", "HTML"),
        ("<!DOCTYPE html>\n<p>\n".encode("utf-16"), "HTML"),
        (b"%PDF-1.7\n", "PDF"),
        (gzip.compress(tarred(), mtime=0), "a tar archive"),
        (zipped("mimetype", "content.opf"), "a document, or an archive in an archive"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive"),
        (pickle.dumps(pd.DataFrame({"a": [1]})), "a Python pickle"),
        (pickle.dumps([1, 2], protocol=2), "a Python pickle"),
        (saved(lambda file: np.save(file, np.arange(3))), "a NumPy array"),
        (saved(pd.DataFrame({"a": [1]}).to_stata), "a Stata file"),
        (b"\x89HDF\r\n\x1a\n\0\0", "HDF5"),
        (b"PGDMP\1\x10\0", "a dump of PostgreSQL"),
        (b"\3\x7b\x05\x1f\2\0\0\0\x41\0\x0a\0" + bytes(20), "a dBase table"),
        (b"\0\1\0\0Standard Jet DB\0\1", "a Microsoft Access database"),
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
        "MZ,b\n1,2\n",
        "ID3,b\n1,2\n",
        "GIF8,b\n1,2\n",
        "FEA,b\n1,2\n",
        "CDF,b\n1,2\n",
        "RIFF,WAVE\n1,2\n",
        "MZ,b\n" + "1,2\n" * 50,
        "PGDMP,b\n1,2\n",
        "A\n,b\n1,2\n",
        "00,ftyp\n1,2\n",
    ],
)
def test_text_that_only_looks_like_another_format_is_read(yard: Yard, text: str) -> None:
    assert len(yard.plan_import(text).columns) == 2


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.txt", "x", "x.2024-01", "json", "x.dat"])
def test_other_names_are_no_matter(yard: Yard, name: str) -> None:
    yard.sql("CREATE TABLE t (a INTEGER, b INTEGER)")
    yard.plan_export(path=f"o{name}")
    yard.transfer.plan(ImportSpec(files=(yard.write("a,b\n1,2\n", name),), target=Table(table="t")))
