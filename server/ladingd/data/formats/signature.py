"""Recognises files in formats that Lading cannot read, by their names and first bytes, and refuses them."""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath
from typing import NamedTuple

from ladingd.core.errors import InvalidSpec
from ladingd.data.formats.format import SAMPLE


class _Format(NamedTuple):
    is_a: str
    """What a file in this format is: `x.json is …`."""
    first: str = "convert it to CSV first"
    """What to do before an import."""
    afterwards: str = "convert the file afterwards"
    """What to do after an export."""


_JSON = _Format("JSON")
_AVRO = _Format("Avro")
_ORC = _Format("ORC")
_EXCEL = _Format("an Excel workbook", "save it as CSV first")
_SPREADSHEET = _Format("an OpenDocument spreadsheet", "save it as CSV first")
_XML = _Format("XML")
_HTML = _Format("HTML")
_PDF = _Format("PDF")
_SQLITE = _Format("a SQLite database", "export its table to CSV first")
_DUCKDB = _Format("a DuckDB database", "export its table to CSV first")
_GZIP = _Format("compressed with gzip", "decompress it first with gunzip", "compress the file afterwards")
_ZSTD = _Format("compressed with Zstandard", "decompress it first with unzstd", "compress the file afterwards")
_BZIP2 = _Format("compressed with bzip2", "decompress it first with bunzip2", "compress the file afterwards")
_XZ = _Format("compressed with xz", "decompress it first with unxz", "compress the file afterwards")
_ZIP = _Format("a ZIP archive", "unpack it first with unzip", "pack the file afterwards")

_NAMES = {
    _JSON: ("json", "geojson"),
    _AVRO: ("avro",),
    _ORC: ("orc",),
    _EXCEL: ("xlsx", "xlsm", "xlsb", "xls"),
    _SPREADSHEET: ("ods",),
    _XML: ("xml",),
    _HTML: ("html", "htm"),
    _PDF: ("pdf",),
    _DUCKDB: ("duckdb",),
    _GZIP: ("gz", "gzip", "tgz"),
    _ZSTD: ("zst", "zstd"),
    _BZIP2: ("bz2", "tbz2"),
    _XZ: ("xz", "txz"),
    _ZIP: ("zip",),
}
"""The endings of file names in each format."""

_BY_ENDING = {ending: form for form, endings in _NAMES.items() for ending in endings}

_BEGINNINGS = (
    (re.compile(rb"\x1f\x8b"), _GZIP),
    (re.compile(rb"\x28\xb5\x2f\xfd"), _ZSTD),
    (re.compile(rb"BZh[1-9]1AY&SY"), _BZIP2),
    (re.compile(rb"\xfd7zXZ\0"), _XZ),
    (re.compile(rb"(?s)PK\x03\x04.{0,4000}?(?:xl/|\[Content_Types\]\.xml)"), _EXCEL),
    (re.compile(rb"(?s)PK\x03\x04.{26}mimetypeapplication/vnd\.oasis\.opendocument\.spreadsheet"), _SPREADSHEET),
    (re.compile(rb"PK(?:\x03\x04|\x05\x06)"), _ZIP),
    (re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), _EXCEL),
    (re.compile(rb"Obj\x01"), _AVRO),
    (re.compile(rb"ORC[\0-\x08]"), _ORC),
    (re.compile(rb"SQLite format 3\0"), _SQLITE),
    (re.compile(rb"(?s).{8}DUCK.\0\0\0"), _DUCKDB),
    (re.compile(rb"%PDF-[0-9]"), _PDF),
    (re.compile(rb"\s*<\?xml\s"), _XML),
    (re.compile(rb"(?i)\s*<(?:!doctype\s+html|html)[\s>]"), _HTML),
    (re.compile(rb"\s*(?:[\[{][ \t]*[\r\n]|\[\s*\{\s*\")"), _JSON),
)
"""How files in each format begin."""

_OBJECT = re.compile(rb'\{\s*"(?:[^"\\]|\\.)*+"\s*:')


def check_readable(path: str, head: bytes) -> None:
    """Raise InvalidSpec if the name or the first bytes of a file show a format that Lading cannot read."""
    form = _by_name(path) or _by_beginning(head)
    if form is not None:
        raise InvalidSpec("files[0].path", f"{path} is {form.is_a}, which Lading cannot read yet: {form.first}")


def check_writable(path: str) -> None:
    """Raise InvalidSpec if the name of a file promises a format that Lading cannot write."""
    form = _by_name(path)
    if form is not None:
        raise InvalidSpec(
            "file.path",
            f"{PurePosixPath(path).name} would be {form.is_a}, which Lading cannot write yet: "
            f"choose a name that ends in .csv and {form.afterwards}",
        )


def _by_name(path: str) -> _Format | None:
    return _BY_ENDING.get(PurePosixPath(path).suffix[1:].lower())


def _by_beginning(head: bytes) -> _Format | None:
    for beginning, form in _BEGINNINGS:
        if beginning.match(head):
            return form
    text = head.lstrip()
    if not text.startswith((b"{", b"[")):
        return None
    line, *rest = re.split(rb"[\r\n]+", text, maxsplit=1)
    if not rest and len(head) == SAMPLE:
        return _JSON if _OBJECT.match(line) else None  # The line continues after the sample.
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return _JSON if isinstance(value, list) or (isinstance(value, dict) and not (rest and rest[0])) else None
