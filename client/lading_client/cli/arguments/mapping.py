"""Options about columns: what each column of the table is made of, and which records are imported."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import typer

from lading_client.spec import ColumnMapping, Enumeration, ImportSpec


class BadMapping(ValueError):
    """An option about columns is wrong. The message says what to write."""


MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map", metavar="SOURCE=TARGET", help="A column of the file, and the column of the table it goes to."
    ),
]
IgnoreOption = Annotated[
    list[str] | None, typer.Option("--ignore", metavar="COLUMN", help="A column of the file that is not imported.")
]
IgnoreExtraOption = Annotated[
    bool, typer.Option("--ignore-extra", help="Do not import columns of the file that the table lacks.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="TARGET=EXPRESSION",
        help="A calculated column: SQL over the columns of the file, such as \"upper(name)\", 'DE' or $today.",
    ),
]
TransformOption = Annotated[
    list[str] | None,
    typer.Option(
        "--transform",
        metavar="COLUMN=NAME[,NAME...]",
        help="What is done to the values: trim, lower, upper, collapse_spaces, digits_only, email, phone:+49, "
        "strip_accents, replace:a:b, truncate:20 and others.",
    ),
]
DefaultOption = Annotated[
    list[str] | None,
    typer.Option("--default", metavar="COLUMN=VALUE", help="What an empty field of a column becomes."),
]
LookupOption = Annotated[
    list[str] | None,
    typer.Option(
        "--lookup",
        metavar="COLUMN=LABEL:VALUE[,...]",
        help="The value for each label in the file; *:VALUE is for all others.",
    ),
]
FilterOption = Annotated[
    str,
    typer.Option(
        "--filter", metavar="EXPRESSION", help="Import only records for which this is true.", show_default="all"
    ),
]
SkipRecordsOption = Annotated[
    int, typer.Option("--skip", metavar="N", min=0, help="Records to leave out first.", show_default=False)
]
LimitOption = Annotated[
    int, typer.Option("--limit", metavar="N", min=0, help="The most records after those.", show_default="all")
]
FirstLineOption = Annotated[
    int,
    typer.Option("--first-line", metavar="N", min=0, help="The first line of each file.", show_default="all"),
]
LastLineOption = Annotated[
    int, typer.Option("--last-line", metavar="N", min=0, help="The last line of each file.", show_default="all")
]
VariableOption = Annotated[
    list[str] | None,
    typer.Option("--var", metavar="NAME=VALUE", help="What expressions call $NAME; a text. $today and $now are there."),
]

# A comma ends a transformation if a name follows it: `trim,lower`, but not `replace:,:.`.
_BETWEEN = re.compile(r"(?<!\\),(?=[a-z][a-z_]{2,}(?:[:,]|$))")


@dataclass(frozen=True, kw_only=True, slots=True)
class MappingOptions:
    """The options, as they were given."""

    maps: Sequence[str] = ()
    sets: Sequence[str] = ()
    transforms: Sequence[str] = ()
    defaults: Sequence[str] = ()
    lookups: Sequence[str] = ()
    nulls: Sequence[str] = ()
    """Null words, for all columns (``NA``) or for one (``city=NA``)."""
    ignored: Sequence[str] = ()
    ignore_extra: bool = False
    filter: str = ""
    skip: int = 0
    limit: int = 0
    first_line: int = 0
    last_line: int = 0
    variables: Sequence[str] = field(default=())

    def applied(self, spec: ImportSpec) -> ImportSpec:
        """The spec with these options. Raises BadMapping."""
        columns: list[ColumnMapping] = []
        for text in self.maps:
            source, target = _pair(text, "--map", "SOURCE=TARGET", "'First Name=first_name'")
            columns.append(ColumnMapping(source=source, target=target))
        for text in self.sets:
            target, expression = _pair(text, "--set", "TARGET=EXPRESSION", '"name=upper(last_name)"', first=True)
            columns.append(ColumnMapping(target=target, expression=expression))
        for text in self.transforms:
            column, names = _pair(text, "--transform", "COLUMN=NAME", "name=trim,lower", first=True)
            place = _place(columns, column)
            steps = (*columns[place].transformations, *_BETWEEN.split(names))
            columns[place] = replace(columns[place], transformations=steps)
        for text in self.defaults:
            column, value = _pair(text, "--default", "COLUMN=VALUE", "country=DE", first=True)
            place = _place(columns, column)
            columns[place] = replace(columns[place], default_value=value)
        enumerations = {}
        for text in self.lookups:
            column, values = _pair(text, "--lookup", "COLUMN=LABEL:VALUE", "'gender=Male:1,Female:2,*:0'", first=True)
            place = _place(columns, column)
            columns[place] = replace(columns[place], lookup=column)
            enumerations[column] = _enumeration(text, values)
        words = []
        for text in self.nulls:
            column, equals, word = text.rpartition("=")
            if not equals or not column or not word:
                words.append(text)
                continue
            place = _place(columns, column)
            columns[place] = replace(columns[place], null_words=(*columns[place].null_words, word))
        return replace(
            spec,
            columns=tuple(columns),
            ignored_columns=tuple(self.ignored),
            ignore_extra=self.ignore_extra,
            filter=self.filter,
            skip=self.skip,
            limit=self.limit,
            first_line=self.first_line,
            last_line=self.last_line,
            variables=dict(_pair(text, "--var", "NAME=VALUE", "day=2026-01-31", first=True) for text in self.variables),
            enumerations=enumerations,
            null_words=tuple(words),
        )


def _pair(text: str, option: str, form: str, example: str, *, first: bool = False) -> tuple[str, str]:
    """What stands before and behind the last equals sign, or behind the ``first`` one."""
    left, equals, right = text.partition("=") if first else text.rpartition("=")
    if not equals or not left or not right:
        raise BadMapping(f"{option} {text}: write {form}, as in {option} {example}")
    return left, right


def _place(columns: list[ColumnMapping], name: str) -> int:
    """The place of the entry for a column, by its name in the file or in the table; it is made if there is none."""
    for place, column in enumerate(columns):
        if name in (column.source, column.target):
            return place
    columns.append(ColumnMapping(source=name))
    return len(columns) - 1


def _enumeration(text: str, given: str) -> Enumeration:
    values: dict[str, str] = {}
    for entry in re.split(r"(?<!\\),", given):
        label, colon, value = entry.partition(":")
        if not colon or not label:
            raise BadMapping(f"--lookup {text}: write LABEL:VALUE, as in --lookup 'gender=Male:1,Female:2,*:0'")
        values[label.replace("\\,", ",")] = value.replace("\\,", ",")
    return Enumeration(default_value=values.pop("*", None), values=values)
