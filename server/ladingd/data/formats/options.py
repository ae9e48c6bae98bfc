"""Checks that a spec has no options that mean nothing for its format."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import CsvFormat, ExcelFormat, FixedWidthFormat, XmlFormat

if TYPE_CHECKING:
    from collections.abc import Collection

    from ladingd.core.plan import Layout
    from ladingd.core.spec import ExportSpec, ImportSpec

_OPTIONS = {"csv": CsvFormat(), "fixed_width": FixedWidthFormat(), "excel": ExcelFormat(), "xml": XmlFormat()}

FLATTENED = {"flatten": "yes"}
"""The detail of a layout: the fields of nested objects are columns."""


def is_flattened(layout: Layout) -> bool:
    """Whether the fields of nested objects are columns."""
    return FLATTENED.items() <= layout.details.items()


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
