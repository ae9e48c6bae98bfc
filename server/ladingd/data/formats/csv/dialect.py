"""The marks that separate records and fields of a delimited file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import Layout
from ladingd.core.spec import Header

if TYPE_CHECKING:
    from ladingd.core.spec import CsvFormat

NAME = "csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """The marks of a delimited file. Each is one character."""

    delimiter: str
    quote: str
    escape: str = ""
    """The character that escapes a quote. Empty: a quote is escaped by doubling it."""

    @classmethod
    def of(cls, layout: Layout) -> Dialect:
        """The dialect in a layout."""
        details = layout.details
        return cls(delimiter=details["delimiter"], quote=details["quote"], escape=details.get("escape", ""))

    @classmethod
    def wanted(cls, options: CsvFormat) -> Dialect:
        """The dialect of a spec, with the defaults for what the spec leaves open."""
        return cls(delimiter=options.delimiter or ",", quote=options.quote or '"')

    def layout(self, header: Header = Header.DEFAULT) -> Layout:
        """The layout with this dialect. ``header``: an export writes the names of the columns."""
        details = {"delimiter": self.delimiter, "quote": self.quote, "escape": self.escape}
        if header is not Header.DEFAULT:
            details["header"] = header.value.lower()
        return Layout(format=NAME, details=details)


def check_options(wanted: CsvFormat) -> None:
    """Raise InvalidSpec if the delimiter or the quote is unusable."""
    for field, mark in (("csv.delimiter", wanted.delimiter), ("csv.quote", wanted.quote)):
        if mark and (len(mark) != 1 or not mark.isascii() or mark in "\r\n\0"):
            raise InvalidSpec(field, f"{mark!r} is not a single ASCII character that may occur within a line")
    if wanted.delimiter and wanted.delimiter == (wanted.quote or '"'):
        raise InvalidSpec("csv.delimiter", "must not be the quote")
