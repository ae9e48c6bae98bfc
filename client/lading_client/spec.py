"""Specs of jobs. The fields are named as in `protos/lading/v1/spec.proto`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class OnRestart(StrEnum):
    """What happens to an INTERRUPTED job when the daemon starts again. UNSPECIFIED means RESUME."""

    UNSPECIFIED = "UNSPECIFIED"
    RESUME = "RESUME"
    STAY = "STAY"


class Header(StrEnum):
    """Whether the first record of a file names the columns. UNSPECIFIED: detected on import, present on export."""

    UNSPECIFIED = "UNSPECIFIED"
    PRESENT = "PRESENT"
    ABSENT = "ABSENT"


class Ragged(StrEnum):
    """What becomes of records with fewer fields than the file has columns. UNSPECIFIED means REJECT."""

    UNSPECIFIED = "UNSPECIFIED"
    REJECT = "REJECT"
    FILL = "FILL"
    """The fields that such a record lacks are null."""


class CreateTable(StrEnum):
    """Whether an import creates a missing table. UNSPECIFIED means AUTO."""

    UNSPECIFIED = "UNSPECIFIED"
    AUTO = "AUTO"
    NEVER = "NEVER"
    """A missing table is refused."""


class ColumnNames(StrEnum):
    """The names that an import gives to new columns. UNSPECIFIED means KEEP."""

    UNSPECIFIED = "UNSPECIFIED"
    KEEP = "KEEP"
    """Those of the file."""
    SNAKE = "SNAKE"
    """Those of the file in snake_case: ``First Name`` becomes ``first_name``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A path, relative and with ``/`` between its parts, beneath one of the roots of the daemon's configuration."""

    root: str = "local"
    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of a connection. An empty schema is the connection's default one."""

    connection: str = "local"
    schema: str = ""
    table: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvFormat:
    """The form of a CSV file. On import, what is not set is detected.

    Exports take the delimiter (one character), the quote (empty: a double quote) and the header only. If the delimiter
    is empty, it is a tab for ``.tsv`` and ``.tab``, a bar for ``.psv``, and a comma for all other names.
    """

    delimiter: str = ""
    quote: str = ""
    header: Header = Header.UNSPECIFIED
    header_lines: int = 0
    """How many lines name the columns; 0: it is detected."""
    skip_lines: int | None = None
    """The lines before the header or the first record."""
    comment: str = ""
    """How lines begin that are no records. ``none``: every line is part of a record."""
    escape: str = ""
    """The character that escapes a quote. ``none``: a quote is escaped by doubling it."""
    ragged: Ragged = Ragged.UNSPECIFIED


@dataclass(frozen=True, kw_only=True, slots=True)
class ExcelFormat:
    """The cells of a workbook to import."""

    sheet: str = ""
    """The name of a sheet, or its number from 1; empty: the first visible one."""
    range: str = ""
    """The cells, such as ``B3:F200`` or ``B:F``; empty: all."""
    header: Header = Header.UNSPECIFIED
    header_lines: int = 0
    """How many rows name the columns; 0: it is detected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedWidthFormat:
    """The columns of a file of fixed width. On import, what is not set is detected.

    Exports take the widths and the header only. They derive a width that is not given from the type of the column.
    """

    widths: str = ""
    """The characters of each column: ``10,20,8`` or ``id=10,name=20,note=*``, where ``*`` is the rest of the line."""
    header: Header = Header.UNSPECIFIED
    skip_lines: int | None = None
    """The lines before the header or the first record."""
    comment: str = ""
    """How lines begin that are no records."""
    ragged: Ragged = Ragged.UNSPECIFIED
    """What becomes of lines that end before their last column. UNSPECIFIED: they are filled if there are such lines
    among those looked at before the import; else they are rejected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class XmlFormat:
    """The records of an XML file to import."""

    record_element: str = ""
    """The name of the elements that are records, with or without its prefix; empty: it is detected."""


class Operation(StrEnum):
    """What an import does with records. UNSPECIFIED: UPDATE_OR_INSERT if there is a key, else INSERT."""

    UNSPECIFIED = "UNSPECIFIED"
    INSERT = "INSERT"
    UPDATE_OR_INSERT = "UPDATE_OR_INSERT"
    UPDATE = "UPDATE"
    """Records that the table lacks are rejected."""
    DELETE = "DELETE"
    """Records that the table lacks change nothing."""
    RECONCILE_ONLY = "RECONCILE_ONLY"
    """Nothing is written. Records that the table lacks are rejected."""


class Doubles(StrEnum):
    """What becomes of records whose key occurs several times in the files. UNSPECIFIED means UPDATE."""

    UNSPECIFIED = "UNSPECIFIED"
    UPDATE = "UPDATE"
    """The last one counts. Those before it are ignored."""
    IGNORE = "IGNORE"
    """The first one counts. Those after it are ignored."""
    REJECT = "REJECT"
    """The first one counts. Those after it are rejected."""
    REJECT_ALL = "REJECT_ALL"
    """All of them are rejected."""


class Duplicates(StrEnum):
    """What becomes of records whose key is in the table already. UNSPECIFIED: REJECT for INSERT, else UPDATE."""

    UNSPECIFIED = "UNSPECIFIED"
    UPDATE = "UPDATE"
    """The operation is carried out. INSERT updates the row."""
    IGNORE = "IGNORE"
    """The row stays as it is."""
    REJECT = "REJECT"


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectLimit:
    """How many records may be rejected before the job stops. None: any number."""

    records: int | None = None
    percent: float | None = None
    """Of the records that were read, from the 1,000th on, and at the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciliation:
    """How records are matched with the rows of the table, and what becomes of them. Columns are those of the table."""

    operation: Operation = Operation.UNSPECIFIED
    key: tuple[str, ...] = ()
    """The columns that decide whether a record is in the table already. Empty: all records are inserted."""
    second_key: tuple[str, ...] = ()
    """The columns that decide it for records with an empty field in the first key."""
    doubles: Doubles = Doubles.UNSPECIFIED
    duplicates: Duplicates = Duplicates.UNSPECIFIED
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
class ImportSpec:
    """Files into a table. ``types`` overrides detected types and notations, by source column. ``chunk_bytes`` 0 means
    8 MiB.

    ``file_format`` is ``csv``, ``fixed_width``, ``json_lines``, ``json``, ``xml``, ``parquet``, ``arrow`` or ``excel``.
    If it is empty, the file's content or name decides. ``encoding`` is detected if it is empty. ``member`` names the
    files of an archive, by a name or a pattern; empty: all.
    """

    files: tuple[File, ...]
    file_format: str = ""
    csv: CsvFormat = CsvFormat()
    excel: ExcelFormat = ExcelFormat()
    """Replaces ``csv`` if it is set."""
    xml: XmlFormat = XmlFormat()
    """Replaces ``csv`` if it is set."""
    fixed_width: FixedWidthFormat = FixedWidthFormat()
    """Replaces ``csv`` if it is set, and makes the format fixed width."""
    target: Table
    types: Mapping[str, str] = field(default_factory=dict)
    null_words: tuple[str, ...] = ()
    """Words that are null in every column. ``none``: no other words are null."""
    encoding: str = ""
    member: str = ""
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
    create: CreateTable = CreateTable.UNSPECIFIED
    names: ColumnNames = ColumnNames.UNSPECIFIED
    add_columns: bool = False
    """Columns that only the files have are added to the table."""
    provenance: bool = False
    """Adds and fills ``lading_job``, ``lading_file``, ``lading_line`` and ``lading_time``."""
    before: tuple[str, ...] = ()
    """SQL that runs once before the first record is written. The connection must allow hooks."""
    after: tuple[str, ...] = ()
    """SQL that runs once after the last record was written."""
    reconciliation: Reconciliation = Reconciliation()
    replace: bool = False
    """The records replace the rows of the table, all in one moment when the job finishes."""
    where: str = ""
    """With ``replace``: which rows are replaced, as a condition in the SQL of the database. Empty: all."""
    reject_limit: RejectLimit = RejectLimit()
    chunk_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSpec:
    """A table into a file. ``chunk_keys`` 0 means 100,000.

    ``file_format`` is ``csv``, ``fixed_width``, ``json_lines``, ``json``, ``xml``, ``parquet``, ``arrow`` or ``excel``.
    If it is empty, the ending of the file's name decides; else CSV.
    """

    table: Table
    file: File
    file_format: str = ""
    csv: CsvFormat = CsvFormat()
    fixed_width: FixedWidthFormat = FixedWidthFormat()
    """Replaces ``csv`` if it is set, and makes the format fixed width."""
    overwrite: bool = False
    chunk_keys: int = 0
    consistent: bool = False
    """The file shows one moment of the table. An export that is interrupted starts over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobSpec:
    """What a job does: an import or an export."""

    kind: ImportSpec | ExportSpec
    on_restart: OnRestart = OnRestart.UNSPECIFIED
