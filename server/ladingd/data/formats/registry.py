"""The file formats that Lading knows. A new one is a folder beside this file, and a line here."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.data.formats.arrow.format import Arrow
from ladingd.data.formats.csv.format import Csv
from ladingd.data.formats.excel.format import Excel
from ladingd.data.formats.fixed_width.format import FixedWidth
from ladingd.data.formats.format import SAMPLE
from ladingd.data.formats.json.format import Json
from ladingd.data.formats.json_lines.format import JsonLines
from ladingd.data.formats.parquet.format import Parquet
from ladingd.data.formats.signature import check_readable, check_writable
from ladingd.data.formats.xml.format import Xml

if TYPE_CHECKING:
    from ladingd.core.plan import Layout
    from ladingd.core.spec import ExportSpec, ImportSpec
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.format import Format

FORMATS: tuple[Format, ...] = (Parquet(), Arrow(), Excel(), Json(), JsonLines(), Xml(), FixedWidth(), Csv())
"""All formats. The first one that recognises a file reads it; the last one takes every other file."""

_BY_NAME = {each.name: each for each in FORMATS}


def format_of(layout: Layout) -> Format:
    """The format that made a layout."""
    return _BY_NAME[layout.format]


def format_to_read(source: Source, spec: ImportSpec, name: str = "", packed: Source | None = None) -> Format:
    """The format of a file to import: from the spec, else from its content, else from the name of its content.

    ``name``: the name of the content, if it is not that of the file. ``packed``: the content before its encoding, if
    that was converted.

    Raises InvalidSpec if Lading cannot read it.
    """
    if meant := _meant(spec):
        return meant
    sample = source.read(0, min(SAMPLE, source.size))
    name = name or source.path
    by_name = _read_by_ending(name)
    if by_name is not None and by_name.may_be(sample):
        return by_name
    recognised = next((each for each in FORMATS if each.recognises(sample)), None)
    if recognised is None and by_name in (None, FORMATS[-1]):
        check_readable(source.path, name, sample)
        if packed is not None and packed is not source:
            check_readable(source.path, name, packed.read(0, min(SAMPLE, packed.size)))
    return recognised or by_name or FORMATS[-1]


def contradiction(name: str, form: Format) -> tuple[str, ...]:
    """The note about a file whose name promises another format than its content has."""
    by_name = _read_by_ending(name)
    if by_name is None or by_name is form:
        return ()
    return (f"{name} is {form.title}, although its name is that of a file in {by_name.title}",)


def format_to_write(spec: ExportSpec) -> Format:
    """The format of a file to export: from the spec, else from its name, else CSV.

    Raises InvalidSpec if the name promises a format that Lading cannot write.
    """
    if meant := _meant(spec):
        return meant
    check_writable(spec.file.path)
    return _by_ending(spec.file.path) or FORMATS[-1]


def _meant(spec: ImportSpec | ExportSpec) -> Format | None:
    if spec.file_format:
        return _named(spec.file_format)
    return next((each for each in FORMATS if each.is_meant(spec)), None)


def _named(name: str) -> Format:
    if name not in _BY_NAME:
        *others, last = sorted(_BY_NAME)
        known = f"{', '.join(others)} and {last}"
        raise InvalidSpec("file_format", f"names no format that Lading knows: {name!r} (it knows {known})")
    return _BY_NAME[name]


def _read_by_ending(path: str) -> Format | None:
    ending = PurePosixPath(path).suffix[1:].lower()
    return next((each for each in FORMATS if ending in each.endings | each.read_only_endings), None)


def _by_ending(path: str) -> Format | None:
    ending = PurePosixPath(path).suffix[1:].lower()
    return next((each for each in FORMATS if ending in each.endings), None)
