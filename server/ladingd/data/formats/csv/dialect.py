"""The marks that separate records and fields of a delimited file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import Layout
from ladingd.core.spec import Header

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ladingd.core.spec import CsvFormat

NAME = "csv"

FIELDS, RAGGED, FILL = "fields", "ragged", "fill"
"""Details of a layout: how many fields the records have, and what becomes of records with fewer: they are filled."""

NONE = "none"
"""The word in a spec for a mark that the file does not have."""

NO_DELIMITER = "\x1f"
"""The delimiter of a file in which none was found: a character that text does not contain."""

DELIMITER_BYTES = 16
"""The longest delimiter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """The marks of a delimited file."""

    delimiter: str
    """One character or several."""
    quote: str
    escape: str = ""
    """The character that escapes a quote. Empty: a quote is escaped by doubling it."""
    blanks: bool = False
    """Blanks before a field do not belong to it."""
    comment: str = ""
    """How lines begin that are no records; empty: every line is part of a record."""
    null_words: tuple[str, ...] = ()
    """Fields without quotes that are null."""

    @classmethod
    def of(cls, layout: Layout) -> Dialect:
        """The dialect in a layout."""
        details = layout.details
        return cls(
            delimiter=details["delimiter"],
            quote=details["quote"],
            escape=details.get("escape", ""),
            blanks=details.get("blanks") == "skipped",
            comment=details.get("comment", ""),
            null_words=tuple(details["null words"].split("\n")) if "null words" in details else (),
        )

    @classmethod
    def wanted(cls, options: CsvFormat) -> Dialect:
        """The dialect of a spec, with the defaults for what the spec leaves open."""
        return cls(
            delimiter=options.delimiter or ",",
            quote=options.quote or '"',
            escape=mark(options.escape),
            comment=mark(options.comment),
        )

    def details(self) -> Mapping[str, str]:
        """The dialect as the details of a layout."""
        details = {"delimiter": self.delimiter, "quote": self.quote, "escape": self.escape}
        if self.blanks:
            details["blanks"] = "skipped"
        if self.comment:
            details["comment"] = self.comment
        if self.null_words:
            details["null words"] = "\n".join(self.null_words)
        return details

    def layout(self, header: Header = Header.DEFAULT) -> Layout:
        """The layout with this dialect. ``header``: an export writes the names of the columns."""
        details = dict(self.details())
        if header is not Header.DEFAULT:
            details["header"] = header.value.lower()
        return Layout(format=NAME, details=details)


def mark(wanted: str) -> str:
    """A mark of a spec, where `NONE` stands for no mark."""
    return "" if wanted == NONE else wanted


def check_marks(wanted: CsvFormat, *, writes: bool) -> None:
    """Raise InvalidSpec if a mark is unusable. ``writes``: for an export, whose delimiter is one ASCII character."""
    for field, text in (("csv.quote", wanted.quote), ("csv.escape", mark(wanted.escape))):
        if text and not _is_single(text):
            raise InvalidSpec(field, f"{text!r} is not a single ASCII character that may occur within a line")
    delimiter, quote = wanted.delimiter, wanted.quote or '"'
    if delimiter and not _is_single(delimiter):
        if writes:
            raise InvalidSpec(
                "csv.delimiter", f"{delimiter!r} is not a single ASCII character that may occur within a line"
            )
        if len(delimiter.encode()) > DELIMITER_BYTES or any(bad in delimiter for bad in "\r\n\0"):
            raise InvalidSpec(
                "csv.delimiter", f"{delimiter!r} is not a text within a line of up to {DELIMITER_BYTES} bytes"
            )
    if quote in delimiter:
        raise InvalidSpec("csv.delimiter", "must not be the quote" if delimiter == quote else "must not hold the quote")
    comment = mark(wanted.comment)
    if comment and (len(comment.encode()) > DELIMITER_BYTES or any(bad in comment for bad in "\r\n\0")):
        raise InvalidSpec("csv.comment", f"{comment!r} is not a text within a line of up to {DELIMITER_BYTES} bytes")


def _is_single(text: str) -> bool:
    return len(text) == 1 and text.isascii() and text not in "\r\n\0"
