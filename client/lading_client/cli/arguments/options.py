"""Options and arguments that several commands share."""

from enum import StrEnum
from typing import Annotated

import typer


class Format(StrEnum):
    """The format of results."""

    TEXT = "text"
    JSON = "json"


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
        help="csv or json_lines.",
        show_default="by the name of the file, or its content",
    ),
]
DelimiterOption = Annotated[
    str, typer.Option("--delimiter", metavar="CHAR", help="One character, or `tab`.", show_default=False)
]
QuoteOption = Annotated[
    str,
    typer.Option("--quote", metavar="CHAR", help="One character.", show_default="a double quote"),
]


def job_name(text: str) -> str:
    """The full name of a job, from `jobs/ID` or `ID`."""
    return text if text.startswith("jobs/") else f"jobs/{text}"


def format_name(text: str) -> str:
    """The name of a format. People may write it with a hyphen."""
    return text.replace("-", "_")


def character(text: str) -> str:
    """One character. People write `tab` for a tab."""
    return "\t" if text in ("tab", "\\t") else text
