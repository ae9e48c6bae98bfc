"""The options of file formats as specs have them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lading_client.cli.arguments.options import character
from lading_client.spec import CsvFormat, ExcelFormat, FixedWidthFormat, Header, Ragged, XmlFormat

if TYPE_CHECKING:
    from lading_client.cli.arguments.options import RaggedChoice


class BadOption(ValueError):
    """An option is wrong, or does not fit another one. The message says what to write."""


def csv_format(
    delimiter: str,
    quote: str,
    header: bool | None,
    header_lines: int | None,
    escape: str,
    skip_lines: int | None,
    comment: str,
    ragged: RaggedChoice | None,
) -> CsvFormat:
    """The options of CSV."""
    return CsvFormat(
        delimiter=character(delimiter),
        quote=character(quote),
        header=header_of(header),
        header_lines=header_lines or 0,
        skip_lines=skip_lines,
        comment=comment,
        escape=escape,
        ragged=Ragged[ragged.name] if ragged else Ragged.UNSPECIFIED,
    )


def fixed_width_format(widths: str, csv: CsvFormat, others: str = "") -> FixedWidthFormat:
    """The options of fixed width, which take the place of those of CSV. Raises BadOption."""
    if not widths:
        return FixedWidthFormat()
    if csv.delimiter or csv.quote or csv.header_lines or csv.escape or others:
        raise BadOption(
            "--widths is for fixed width, whose other options are --header, --skip-lines, --comment and --ragged"
        )
    return FixedWidthFormat(
        widths=widths, header=csv.header, skip_lines=csv.skip_lines, comment=csv.comment, ragged=csv.ragged
    )


def excel_format(sheet: str, cells: str, csv: CsvFormat) -> ExcelFormat:
    """The options of Excel, which take the place of those of CSV. Raises BadOption."""
    if not sheet and not cells:
        return ExcelFormat()
    if replace(csv, header=Header.UNSPECIFIED, header_lines=0, ragged=Ragged.UNSPECIFIED) != CsvFormat():
        raise BadOption(
            "--sheet and --range are for Excel, which has no other options than --header and --header-lines"
        )
    return ExcelFormat(sheet=sheet, range=cells, header=csv.header, header_lines=csv.header_lines)


def xml_format(record_element: str, cells: str, csv: CsvFormat) -> XmlFormat:
    """The options of XML, which take the place of those of CSV. Raises BadOption."""
    if record_element and (cells or replace(csv, ragged=Ragged.UNSPECIFIED) != CsvFormat()):
        raise BadOption("--record-element is for XML, which has no other options")
    return XmlFormat(record_element=record_element)


def header_of(given: bool | None) -> Header:
    """Whether the first record names the columns."""
    if given is None:
        return Header.UNSPECIFIED
    return Header.PRESENT if given else Header.ABSENT
