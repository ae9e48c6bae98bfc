"""Checks that a spec has no options that mean nothing for its format."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import CsvFormat, ExcelFormat, FixedWidthFormat, Header, XmlFormat

if TYPE_CHECKING:
    from collections.abc import Collection

    from ladingd.core.plan import Layout
    from ladingd.core.spec import ExportSpec, ImportSpec

MOST_HEADER_LINES = 20
"""The most records that may be a header together."""

_OPTIONS = {"csv": CsvFormat(), "fixed_width": FixedWidthFormat(), "excel": ExcelFormat(), "xml": XmlFormat()}

FLATTENED = {"flatten": "yes"}
"""The detail of a layout: the fields of nested objects are columns."""


def is_flattened(layout: Layout) -> bool:
    """Whether the fields of nested objects are columns."""
    return FLATTENED.items() <= layout.details.items()


HEADER_LINES = "header lines"
"""The detail of a layout: how many records are the header, if they are several."""


def check_header_lines(kind: str, given: CsvFormat | ExcelFormat) -> None:
    """Raise InvalidSpec if a header cannot have as many lines."""
    if not 0 <= given.header_lines <= MOST_HEADER_LINES:
        raise InvalidSpec(f"{kind}.header_lines", f"must be from 1 to {MOST_HEADER_LINES}")
    if given.header_lines and given.header is Header.ABSENT:
        raise InvalidSpec(
            f"{kind}.header_lines", "contradicts the header, which is said to be absent: give one of them"
        )


def refuse_options(spec: ImportSpec | ExportSpec, title: str, *, own: str = "", but: Collection[str] = ()) -> None:
    """Raise InvalidSpec if the spec has an option of another format, which has no meaning for the format ``title``.

    ``own``: the field of the spec with the options of the format itself. ``but``: further options that have a meaning.
    """
    if "flatten" not in but and getattr(spec, "flatten", False):
        raise InvalidSpec("flatten", f"has no meaning for {title}: its values are not nested")
    for kind, nothing in _OPTIONS.items():
        given = getattr(spec, kind, nothing)  # Exports do not have all of them.
        if kind == own:
            continue
        for field in fields(nothing):  # type: ignore[arg-type]
            if field.name not in but and getattr(given, field.name) != getattr(nothing, field.name):
                raise InvalidSpec(f"{kind}.{field.name}", f"has no meaning for {title}")
