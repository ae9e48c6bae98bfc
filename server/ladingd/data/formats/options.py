"""Checks that a spec has no options that mean nothing for its format."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import CsvFormat

if TYPE_CHECKING:
    from ladingd.core.spec import ExportSpec, ImportSpec

_NO_OPTIONS = CsvFormat()


def refuse_csv_options(spec: ImportSpec | ExportSpec, title: str) -> None:
    """Raise InvalidSpec if the spec has an option of CSV, which has no meaning for the format ``title``."""
    for field in fields(CsvFormat):
        if getattr(spec.csv, field.name) != getattr(_NO_OPTIONS, field.name):
            raise InvalidSpec(f"csv.{field.name}", f"has no meaning for {title}")
