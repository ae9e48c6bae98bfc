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


_JSON = _Format(
    "JSON of an unknown shape",
    "choose --format json for an array of objects, or --format json_lines for an object in each line",
)
_AVRO = _Format("Avro")
_ORC = _Format("ORC")
_EXCEL = _Format("a workbook of another kind than .xlsx")
_HTML = _Format("HTML", "save its table as CSV first")
_PDF = _Format("PDF")
_SQLITE = _Format("a SQLite database", "export its table to CSV first")
_DUCKDB = _Format("a DuckDB database", "export its table to CSV first")
_TAR = _Format("a tar archive", "unpack it first with tar", "pack the file afterwards")
_DOCUMENT = _Format("a document, or an archive in an archive", "unpack it first, or convert it to CSV")
_SEVEN_ZIP = _Format("a 7z archive", "unpack it first with 7z", "pack the file afterwards")
_RAR = _Format("a RAR archive", "unpack it first with unrar", "pack the file afterwards")
_LZ4 = _Format("compressed with LZ4", "decompress it first with unlz4", "compress the file afterwards")
_SAS = _Format("a SAS data set")
_SAS_TRANSPORT = _Format("a SAS transport file")
_SPSS = _Format("an SPSS file")
_STATA = _Format("a Stata file")
_DBASE = _Format("a dBase table")
_ACCESS = _Format("a Microsoft Access database", "export its table to CSV first")
_HDF5 = _Format("HDF5")
_NETCDF = _Format("NetCDF")
_NUMPY = _Format("a NumPy array")
_PICKLE = _Format("a Python pickle")
_R = _Format("R data")
_FEATHER = _Format("a Feather file of version 1", "write it anew with version 2")
_PG_DUMP = _Format("a dump of PostgreSQL", "restore it with pg_restore, and export its table to CSV")
_MAIL = _Format("an Outlook file")
_COMPRESSED = {
    "gzip": ("gz", "gzip", "tgz"),
    "Zstandard": ("zst", "zstd"),
    "bzip2": ("bz2", "tbz2"),
    "xz": ("xz", "txz"),
    "ZIP": ("zip",),
}
"""Files that Lading unpacks, by the endings of their names. It does not write them yet."""

_NAMES = {
    _AVRO: ("avro",),
    _ORC: ("orc",),
    _EXCEL: ("xlsm", "xlsb", "xls", "ods"),
    _HTML: ("html", "htm"),
    _PDF: ("pdf",),
    _DUCKDB: ("duckdb",),
    _TAR: ("tar", "tgz", "tbz2", "txz"),
    _SEVEN_ZIP: ("7z",),
    _RAR: ("rar",),
    _LZ4: ("lz4",),
    _SAS: ("sas7bdat",),
    _SAS_TRANSPORT: ("xpt",),
    _SPSS: ("sav", "zsav"),
    _STATA: ("dta",),
    _DBASE: ("dbf",),
    _ACCESS: ("mdb", "accdb"),
    _HDF5: ("h5", "hdf5"),
    _NUMPY: ("npy", "npz"),
    _PICKLE: ("pkl", "pickle"),
    _R: ("rds", "rdata"),
}
"""The endings of file names in each format."""

_BY_ENDING = {ending: form for form, endings in _NAMES.items() for ending in endings}

_BEGINNINGS = (
    (re.compile(rb"PK(?:\x03\x04|\x05\x06)"), _DOCUMENT),
    (re.compile(rb"(?s).{257}ustar"), _TAR),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), _SEVEN_ZIP),
    (re.compile(rb"Rar!\x1a\x07"), _RAR),
    (re.compile(rb"\x04\x22\x4d\x18"), _LZ4),
    (re.compile(rb"Obj\x01"), _AVRO),
    (re.compile(rb"ORC[\0-\x08]"), _ORC),
    (re.compile(rb"SQLite format 3\0"), _SQLITE),
    (re.compile(rb"(?s).{8}DUCK.\0\0\0"), _DUCKDB),
    (re.compile(rb"%PDF-[0-9]"), _PDF),
    (re.compile(rb"(?is)\s*(?:<\?xml\s.*?\?>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)[\s>]"), _HTML),
    (re.compile(rb"\0{12}\xc2\xea\x81\x60\xb3\x14\x11\xcf\xbd\x92\x08\x00\x09\xc7\x31\x8c"), _SAS),
    (re.compile(rb"HEADER RECORD\*{7}LIB"), _SAS_TRANSPORT),
    (re.compile(rb"\$FL[23]@\(#\)"), _SPSS),
    (re.compile(rb"<stata_dta>|[\x71-\x73][\x01\x02]\x01\0"), _STATA),
    (re.compile(rb"\0\x01\0\0Standard (?:Jet|ACE) DB\0"), _ACCESS),
    (re.compile(rb"(?s)[\x03\x30\x31\x83\x8b\xf5].[\x01-\x0c][\x01-\x1f].{4}..[\0-\x20].\0{16}"), _DBASE),
    (re.compile(rb"\x89HDF\r\n\x1a\n"), _HDF5),
    (re.compile(rb"CDF[\x01\x02\x05]"), _NETCDF),
    (re.compile(rb"\x93NUMPY"), _NUMPY),
    (re.compile(rb"\x80[\x02-\x05](?:\x95.{6}\0\0|[\]}c(])"), _PICKLE),
    (re.compile(rb"RD[AX][234]\n|[AX]\n\0\0\0[\x02\x03]\0"), _R),
    (re.compile(rb"FEA1\0"), _FEATHER),
    (re.compile(rb"PGDMP\x01"), _PG_DUMP),
    (re.compile(rb"!BDN"), _MAIL),
    (re.compile(rb"\s*(?:[\[{][ \t]*[\r\n]|\[\s*\{\s*\")"), _JSON),
)
"""How files in each format begin."""

_WITHOUT_RECORDS = {
    "a PNG image": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "a JPEG image": re.compile(rb"\xff\xd8\xff"),
    "a GIF image": re.compile(rb"(?s)GIF8[79]a.{0,12}\0"),
    "a TIFF image": re.compile(rb"II\*\0|MM\0\*"),
    "a WebP image": re.compile(rb"(?s)RIFF.{4}WEBP"),
    "a sound file": re.compile(rb"(?s)ID3[\x02-\x04]|RIFF.{4}WAVE|fLaC\0|OggS\0"),
    "a video": re.compile(rb"(?s)\0\0..ftyp|\x1a\x45\xdf\xa3|RIFF.{4}AVI "),
    "a program": re.compile(rb"(?s)\x7fELF|MZ.{0,60}\0|\xca\xfe\xba\xbe|\xcf\xfa\xed\xfe"),
    "a font": re.compile(rb"wOF[F2]\0|OTTO\0|\0\x01\0\0\0[\x01-\x40]"),
    "a PostScript file": re.compile(rb"%!PS-"),
    "an RTF document": re.compile(rb"\{\\rtf1"),
    "encrypted": re.compile(rb"-----BEGIN PGP MESSAGE|Salted__|age-encryption\.org/"),
}
"""Files that hold no records, by what they are, and how they begin."""

_OBJECT = re.compile(rb'\{\s*"(?:[^"\\]|\\.)*+"\s*:')


def check_readable(path: str, name: str, head: bytes) -> None:
    """Raise InvalidSpec if the name or the first bytes of a file's content show a format that Lading cannot read."""
    form = _by_name(name) or _by_beginning(head)
    if form is not None:
        raise InvalidSpec("files[0].path", f"{path} is {form.is_a}, which Lading cannot read yet: {form.first}")
    for what, beginning in _WITHOUT_RECORDS.items():
        if beginning.match(head):
            raise InvalidSpec("files[0].path", f"{path} is {what}, not a file of records")


def check_writable(path: str) -> None:
    """Raise InvalidSpec if the name of a file promises a format that Lading cannot write."""
    form = _by_name(path) or _compressed(path)
    if form is not None:
        raise InvalidSpec(
            "file.path",
            f"{PurePosixPath(path).name} would be {form.is_a}, which Lading cannot write yet: "
            f"choose a name that ends in .csv and {form.afterwards}",
        )


def _compressed(path: str) -> _Format | None:
    ending = PurePosixPath(path).suffix[1:].lower()
    title = next((title for title, endings in _COMPRESSED.items() if ending in endings), None)
    return None if title is None else _Format(f"compressed with {title}", afterwards="compress the file afterwards")


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
