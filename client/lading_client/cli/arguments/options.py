"""Options and arguments that several commands share."""

from enum import StrEnum
from typing import Annotated

import typer


class Format(StrEnum):
    """The format of results."""

    TEXT = "text"
    JSON = "json"


class RaggedChoice(StrEnum):
    """The values of --ragged."""

    REJECT = "reject"
    FILL = "fill"


class CreateChoice(StrEnum):
    """The values of --create."""

    AUTO = "auto"
    NEVER = "never"


class NamesChoice(StrEnum):
    """The values of --names."""

    KEEP = "keep"
    SNAKE = "snake"


class OperationChoice(StrEnum):
    """The values of --operation."""

    INSERT = "insert"
    UPDATE_OR_INSERT = "update-or-insert"
    UPDATE = "update"
    DELETE = "delete"
    RECONCILE_ONLY = "reconcile-only"


class DoublesChoice(StrEnum):
    """The values of --doubles."""

    UPDATE = "update"
    IGNORE = "ignore"
    REJECT = "reject"
    REJECT_ALL = "reject-all"


class DuplicatesChoice(StrEnum):
    """The values of --duplicates."""

    UPDATE = "update"
    IGNORE = "ignore"
    REJECT = "reject"


JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="jobs/ID or ID.")]
LabelOption = Annotated[
    str, typer.Option("--label", metavar="TEXT", help="A text to recognise the job by.", show_default=False)
]
SharedOption = Annotated[
    bool, typer.Option("--shared", help="Let everybody who may use the daemon read the job and its rejects.")
]
DetachOption = Annotated[bool, typer.Option("--detach", help="Start the job and do not wait for it.")]
RejectsOption = Annotated[bool, typer.Option("--fail-on-rejects", help="Exit with status 4 if records were rejected.")]
FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="csv, fixed_width, json_lines, json, xml, parquet, arrow or excel.",
        show_default="by the content of the file, or its name",
    ),
]
TypesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        metavar="COL=TYPE",
        help="text, integer, real, decimal(P,S), boolean, date, time, timestamp, timestamptz or uuid; after a colon, "
        "how it is written: date:DD/MM/YYYY, decimal(10,2):, for a decimal comma, boolean:ja/nein.",
    ),
]
NullOption = Annotated[
    list[str] | None,
    typer.Option(
        "--null",
        metavar="[COL=]WORD",
        help="A word that is null in every column, or in one, besides NA, NULL and the like; none: those are not null.",
    ),
]
HeaderOption = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether the first record names the columns.", show_default="detected"),
]
HeaderLinesOption = Annotated[
    int | None,
    typer.Option(
        "--header-lines",
        metavar="N",
        min=1,
        help="How many lines are the header; their names are joined.",
        show_default="detected",
    ),
]
DelimiterOption = Annotated[
    str, typer.Option("--delimiter", metavar="TEXT", help="What separates fields; or `tab`.", show_default=False)
]
QuoteOption = Annotated[
    str,
    typer.Option("--quote", metavar="CHAR", help="One character.", show_default="detected"),
]
EscapeOption = Annotated[
    str,
    typer.Option(
        "--escape", metavar="CHAR", help="The character that escapes a quote, or `none`.", show_default="detected"
    ),
]
SkipOption = Annotated[
    int | None,
    typer.Option("--skip-lines", metavar="N", min=0, help="The lines before the table.", show_default="detected"),
]
CommentOption = Annotated[
    str,
    typer.Option(
        "--comment",
        metavar="TEXT",
        help="How lines begin that are no records, or `none`.",
        show_default="detected before the table",
    ),
]
EncodingOption = Annotated[
    str,
    typer.Option(
        "--encoding", metavar="NAME", help="windows-1252, utf-16, shift_jis and others.", show_default="detected"
    ),
]
MemberOption = Annotated[
    str,
    typer.Option("--member", metavar="NAME", help="The files of an archive: a name or a pattern.", show_default="all"),
]
RaggedOption = Annotated[
    RaggedChoice | None,
    typer.Option(
        "--ragged",
        help="What becomes of records with too few fields: fill them with nulls or reject them.",
        show_default="reject",
    ),
]
_COLUMNS = "COLUMN[,COLUMN...]"
OperationOption = Annotated[
    OperationChoice | None,
    typer.Option(
        "--operation",
        help="What to do with the records.",
        show_default="update-or-insert if there is a key, else insert",
    ),
]
KeyOption = Annotated[
    str,
    typer.Option(
        "--key",
        metavar=_COLUMNS,
        help="The table's columns that tell whether a record is there already.",
        show_default="none; all records are inserted",
    ),
]
SecondKeyOption = Annotated[
    str,
    typer.Option(
        "--second-key", metavar=_COLUMNS, help="The same for records whose key is empty.", show_default="none"
    ),
]
DoublesOption = Annotated[
    DoublesChoice | None,
    typer.Option(
        "--doubles",
        help="What to do with records whose key occurs several times in the files: let the last one win (update), let "
        "the first one win (ignore), or reject all but the first, or all.",
        show_default="update",
    ),
]
DuplicatesOption = Annotated[
    DuplicatesChoice | None,
    typer.Option(
        "--duplicates",
        help="What to do with records whose key is in the table already.",
        show_default="reject for insert, else update",
    ),
]
KeepOption = Annotated[
    str,
    typer.Option(
        "--keep-if-empty", metavar=_COLUMNS, help="Columns that an empty field leaves as they are.", show_default="none"
    ),
]
OnlyIfEmptyOption = Annotated[
    str,
    typer.Option(
        "--only-if-empty",
        metavar=_COLUMNS,
        help="Columns that are written only if they are empty in the table.",
        show_default="none",
    ),
]
OnInsertOnlyOption = Annotated[
    str,
    typer.Option(
        "--on-insert-only", metavar=_COLUMNS, help="Columns that updates leave as they are.", show_default="none"
    ),
]
ReplaceOption = Annotated[
    bool,
    typer.Option(
        "--replace", help="Replace the rows of the table, all in one moment; readers see the old ones until then."
    ),
]
WhereOption = Annotated[
    str,
    typer.Option(
        "--where", metavar="SQL", help="With --replace: a condition for the rows to replace.", show_default="all rows"
    ),
]
MaxRejectsOption = Annotated[
    str,
    typer.Option(
        "--max-rejects",
        metavar="N[%]",
        help="Stop, with status 4, if more records are rejected; with %, of those that were read.",
        show_default="any number, but not all",
    ),
]


def listed(text: str) -> tuple[str, ...]:
    """Names with commas between them. A comma in a name is doubled."""
    names = text.replace(",,", "\0").split(",") if text else []
    return tuple(name.replace("\0", ",") for name in names)


def job_name(text: str) -> str:
    """The full name of a job, from `jobs/ID` or `ID`."""
    return text if text.startswith("jobs/") else f"jobs/{text}"


def format_name(text: str) -> str:
    """The name of a format. People may write it with a hyphen."""
    return text.replace("-", "_")


def character(text: str) -> str:
    """One character. People write `tab` for a tab."""
    return "\t" if text in ("tab", "\\t") else text


SheetOption = Annotated[
    str,
    typer.Option(
        "--sheet", metavar="NAME", help="The sheet of a workbook, by name or number.", show_default="the first"
    ),
]
RangeOption = Annotated[
    str, typer.Option("--range", metavar="CELLS", help="The cells of a sheet: B3:F200 or B:F.", show_default="all")
]
WidthsOption = Annotated[
    str,
    typer.Option(
        "--widths",
        metavar="WIDTHS",
        help="The characters of each column of fixed width: 10,20,8 or id=10,name=20,note=*.",
        show_default="detected",
    ),
]
ExportWidthsOption = Annotated[
    str,
    typer.Option(
        "--widths",
        metavar="WIDTHS",
        help="Write fixed width; the characters of columns: 10,20,8 or name=20,note=*.",
        show_default="by type, except text",
    ),
]
RecordElementOption = Annotated[
    str,
    typer.Option(
        "--record-element", metavar="NAME", help="The element of XML that is a record.", show_default="detected"
    ),
]
FlattenOption = Annotated[
    bool,
    typer.Option(
        "--flatten", help="Make columns of the fields of nested objects, called by their paths: address.city."
    ),
]
CreateOption = Annotated[
    CreateChoice | None,
    typer.Option("--create", help="Whether a missing table is created.", show_default="auto"),
]
NamesOption = Annotated[
    NamesChoice | None,
    typer.Option(
        "--names",
        help="The names of new columns: those of the file, or in snake_case: First Name becomes first_name.",
        show_default="keep",
    ),
]
AddColumnsOption = Annotated[
    bool, typer.Option("--add-columns", help="Add the columns to the table that only the file has.")
]
ProvenanceOption = Annotated[
    bool,
    typer.Option("--provenance", help="Add and fill lading_job, lading_file, lading_line and lading_time."),
]
BeforeOption = Annotated[
    list[str] | None,
    typer.Option("--before", metavar="SQL", help="Run SQL once before the first record. The connection must allow it."),
]
AfterOption = Annotated[
    list[str] | None, typer.Option("--after", metavar="SQL", help="Run SQL once after the last record.")
]
