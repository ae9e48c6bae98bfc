"""The spec of a job, as the user wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

DEFAULT_CHUNK_BYTES = 8 << 20
DEFAULT_CHUNK_KEYS = 100_000


class OnRestart(StrEnum):
    """What happens to an INTERRUPTED job when the daemon starts again."""

    RESUME = "RESUME"
    STAY = "STAY"


class Header(StrEnum):
    """Whether the first record of a file names the columns."""

    DEFAULT = "DEFAULT"
    """Detected on import, present on export."""
    PRESENT = "PRESENT"
    ABSENT = "ABSENT"


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A path beneath one of the daemon's configured roots."""

    root: str = "local"
    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of a connection. An empty schema means the default schema."""

    connection: str = "local"
    schema: str = ""
    table: str


class Ragged(StrEnum):
    """What becomes of records with fewer fields than the file has columns."""

    REJECT = "REJECT"
    FILL = "FILL"
    """The fields that such a record lacks are null."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvFormat:
    """The format of a delimited file. On import, what is empty is detected.

    Exports know the delimiter (empty: the file's name decides, else a comma), the quote (empty: a double quote) and the
    header only.
    """

    delimiter: str = ""
    quote: str = ""
    header: Header = Header.DEFAULT
    header_lines: int = 0
    """How many records name the columns; 0: it is detected."""
    skip_lines: int | None = None
    """The lines before the header or the first record. None: they are detected."""
    comment: str = ""
    """How lines begin that are no records. ``none``: every line is part of a record."""
    escape: str = ""
    """The character that escapes a quote. ``none``: a quote is escaped by doubling it."""
    ragged: Ragged = Ragged.REJECT


@dataclass(frozen=True, kw_only=True, slots=True)
class ExcelFormat:
    """The cells of a workbook to import."""

    sheet: str = ""
    """The name of a sheet, or its number from 1; empty: the first visible one."""
    range: str = ""
    """The cells, such as ``B3:F200`` or ``B:F``; empty: all."""
    header: Header = Header.DEFAULT
    header_lines: int = 0
    """How many rows name the columns; 0: it is detected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedWidthFormat:
    """The columns of a file of fixed width. On import, what is not set is detected.

    Exports know the widths and the header only.
    """

    widths: str = ""
    """The characters of each column: ``10,20,8`` or ``id=10,name=20,note=*``, where ``*`` is the rest of the line."""
    header: Header = Header.DEFAULT
    skip_lines: int | None = None
    """The lines before the header or the first record."""
    comment: str = ""
    """How lines begin that are no records. Empty, ``none``: every line is a record."""
    ragged: Ragged | None = None
    """What becomes of lines that end before their last column. None: they are filled if the sample has such lines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class XmlFormat:
    """The records of an XML file to import."""

    record_element: str = ""
    """The name of the elements that are records, with or without its prefix; empty: it is detected."""


class CreateTable(StrEnum):
    """Whether an import creates a missing table."""

    AUTO = "AUTO"
    NEVER = "NEVER"
    """A missing table is refused."""


class ColumnNames(StrEnum):
    """The names that an import gives to new columns."""

    KEEP = "KEEP"
    """Those of the file."""
    SNAKE = "SNAKE"
    """Those of the file in snake_case."""


class Operation(StrEnum):
    """What an import does with the records of its files."""

    DEFAULT = "DEFAULT"
    """UPDATE_OR_INSERT if there is a key, else INSERT."""
    INSERT = "INSERT"
    UPDATE_OR_INSERT = "UPDATE_OR_INSERT"
    UPDATE = "UPDATE"
    """Records that the table lacks are rejected."""
    DELETE = "DELETE"
    """Records that the table lacks change nothing."""
    RECONCILE_ONLY = "RECONCILE_ONLY"
    """Nothing is written; records that the table lacks are rejected."""


class Doubles(StrEnum):
    """What becomes of records whose key occurs several times in the source."""

    DEFAULT = "DEFAULT"
    """UPDATE."""
    UPDATE = "UPDATE"
    """The last one counts; those before it are ignored."""
    IGNORE = "IGNORE"
    """The first one counts; those after it are ignored."""
    REJECT = "REJECT"
    """The first one counts; those after it are rejected."""
    REJECT_ALL = "REJECT_ALL"
    """All of them are rejected."""


class Duplicates(StrEnum):
    """What becomes of records whose key is in the table already."""

    DEFAULT = "DEFAULT"
    """REJECT for INSERT, else UPDATE."""
    UPDATE = "UPDATE"
    """The operation is carried out; INSERT updates the row."""
    IGNORE = "IGNORE"
    """The row stays as it is."""
    REJECT = "REJECT"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciliation:
    """How records are matched with the rows of the table, and what becomes of them. Columns are those of the table."""

    operation: Operation = Operation.DEFAULT
    key: tuple[str, ...] = ()
    """The columns that decide whether a record is in the table already. Empty: records are not matched."""
    second_key: tuple[str, ...] = ()
    """The columns that decide it for records with an empty field in the first key."""
    doubles: Doubles = Doubles.DEFAULT
    duplicates: Duplicates = Duplicates.DEFAULT
    keep_if_source_empty: tuple[str, ...] = ()
    """Columns of rows that an empty field leaves as they are."""
    only_if_target_empty: tuple[str, ...] = ()
    """Columns of rows that are written only if they are empty."""
    on_insert_only: tuple[str, ...] = ()
    """Columns that updates leave as they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnMapping:
    """How a column of the table is filled: from a column of the file (``source``) or by an ``expression``."""

    source: str = ""
    target: str = ""
    """Empty: the column with the name of ``source``."""
    transformations: tuple[str, ...] = ()
    """What is done to the text of a value, in this order: ``trim``, ``truncate:20``."""
    default_value: str | None = None
    """What an empty field becomes, written as the values of the file are."""
    expression: str = ""
    lookup: str = ""
    """The name of an enumeration."""
    null_words: tuple[str, ...] = ()
    """Words that are null in this column, besides those of all columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Enumeration:
    """The values of a table for the labels of a file."""

    values: Mapping[str, str] = field(default_factory=dict)
    """By label."""
    default_value: str | None = None
    """The value for all other labels. None: records with other labels are rejected."""
    ignore_case: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectLimit:
    """How many records may be rejected before the job stops. None: any number."""

    records: int | None = None
    percent: float | None = None
    """Of the records that were read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportSpec:
    """Imports files into a table. ``types`` overrides the detected types and notations, by source column; it also types
    calculated columns, by target column."""

    kind: Literal["import"] = "import"
    files: tuple[File, ...]
    """Imported in this order. A path may be a pattern (``in/*.csv``) or a directory."""
    file_format: str = ""
    """``csv`` or another format; empty: detected from the file's name or content."""
    csv: CsvFormat = CsvFormat()
    excel: ExcelFormat = ExcelFormat()
    xml: XmlFormat = XmlFormat()
    fixed_width: FixedWidthFormat = FixedWidthFormat()
    target: Table
    types: Mapping[str, str] = field(default_factory=dict)
    null_words: tuple[str, ...] = ()
    """Words that are null in every column. ``none``: no other words are null."""
    encoding: str = ""
    """The encoding of the file's text; empty: detected."""
    member: str = ""
    """The files of archives: a name or a pattern; empty: all."""
    flatten: bool = False
    """The fields of nested objects are columns, called by their paths: ``address.city``."""
    columns: tuple[ColumnMapping, ...] = ()
    ignored_columns: tuple[str, ...] = ()
    """Columns of the file that are not imported."""
    ignore_extra: bool = False
    """Columns of the file that the table lacks are not imported."""
    filter: str = ""
    """An expression. Only records for which it is true are imported."""
    skip: int = 0
    """How many records to leave out at the beginning, over all files."""
    limit: int = 0
    """The most records to import after those; 0: all."""
    first_line: int = 0
    """The first line of each file to import; 0: the first line of all."""
    last_line: int = 0
    """The last line of each file to import; 0: the last line of all."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """What expressions call ``$name``."""
    enumerations: Mapping[str, Enumeration] = field(default_factory=dict)
    create: CreateTable = CreateTable.AUTO
    names: ColumnNames = ColumnNames.KEEP
    add_columns: bool = False
    """Columns that the table lacks are added to it."""
    provenance: bool = False
    """Four more columns say where each row comes from."""
    before: tuple[str, ...] = ()
    """SQL that runs once before the first record is written."""
    after: tuple[str, ...] = ()
    """SQL that runs once after the last record was written."""
    reconciliation: Reconciliation = Reconciliation()
    replace: bool = False
    """The records replace the rows of the table, all in one moment when the job finishes."""
    where: str = ""
    """With ``replace``: the condition, in SQL of the database, of the rows that are replaced. Empty: all."""
    reject_limit: RejectLimit = RejectLimit()
    chunk_bytes: int = DEFAULT_CHUNK_BYTES
    on_restart: OnRestart = OnRestart.RESUME

    @property
    def named_files(self) -> tuple[File, ...]:
        """The files that the job reads."""
        return self.files


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSpec:
    """Exports a table into a file."""

    kind: Literal["export"] = "export"
    source: Table
    file: File
    file_format: str = ""
    """``csv`` or another format; empty: chosen by the file name's extension, or CSV."""
    csv: CsvFormat = CsvFormat()
    fixed_width: FixedWidthFormat = FixedWidthFormat()
    overwrite: bool = False
    chunk_keys: int = DEFAULT_CHUNK_KEYS
    consistent: bool = False
    """The file shows one moment of the table. An export that is interrupted starts over."""
    on_restart: OnRestart = OnRestart.RESUME

    @property
    def named_files(self) -> tuple[File, ...]:
        """The file that the job writes."""
        return (self.file,)


JobSpec = ImportSpec | ExportSpec
