"""Checks that a spec has no options that mean nothing for its format."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import CsvFormat, ExcelFormat, ImportSpec

if TYPE_CHECKING:
    from collections.abc import Collection

    from ladingd.core.spec import ExportSpec

_OPTIONS = {"csv": CsvFormat(), "excel": ExcelFormat()}


def refuse_options(
    spec: ImportSpec | ExportSpec, title: str, *, of: Collection[str], but: Collection[str] = ()
) -> None:
    """Raise InvalidSpec if the spec has an option of CSV or Excel, which has no meaning for the format ``title``.

    ``of``: ``csv``, ``excel``. ``but``: options that have a meaning.
    """
    for kind in of if isinstance(spec, ImportSpec) else set(of) - {"excel"}:
        nothing, given = _OPTIONS[kind], getattr(spec, kind)
        for field in fields(nothing):  # type: ignore[arg-type]
            if field.name not in but and getattr(given, field.name) != getattr(nothing, field.name):
                raise InvalidSpec(f"{kind}.{field.name}", f"has no meaning for {title}")
