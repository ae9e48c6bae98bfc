"""Matches the columns of a file to those of a table, and checks that the table is still the planned one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec, SpecOutdated, TargetChanged
from ladingd.core.spec import ColumnMapping
from ladingd.data.databases.target import TargetColumn, TargetTable
from ladingd.data.mapping.narrowing import is_narrower
from ladingd.data.values.names import fold
from ladingd.data.values.types import TEXT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ladingd.core.plan import ImportPlan
    from ladingd.data.mapping.wishes import Wishes

FIELD = "target.table"


def no_table(name: str, kind: str) -> str:
    """Why something else than a table is no target."""
    advice = "; import into the table that it shows" if "view" in kind else ""
    return f"{name} is a {kind}; records go into tables only{advice}"


Fits = Callable[[int, "TargetColumn"], bool]
"""Whether a column of the table can hold the values of a column of the file, by its place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """What fills a column of the table."""

    source: int | None
    """The place of the column of the file. None: it is calculated."""
    wish: ColumnMapping
    target: TargetColumn | str
    """The column of the table; its name if the table will be created."""
    guessed: bool = False
    """The names differ by more than case."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Matched:
    """How the columns of a table are filled, in the order of the file."""

    assignments: Sequence[Assignment]
    extra: Sequence[str] = ()
    """The columns of the file that the table lacks."""


def match_new(names: Sequence[str], kept: Sequence[str], wishes: Wishes) -> Matched:
    """The columns of a table that will be created. ``kept``: the names in the table of columns that no wish names.
    Raises InvalidSpec."""
    if wishes.ignore_extra and not (wishes.by_source or wishes.calculated):
        raise InvalidSpec(
            "ignore_extra", "the table is missing, so no column is extra: name the columns to import with --map"
        )
    assignments: list[Assignment] = []
    extra = []
    for place, (name, new) in enumerate(zip(names, kept, strict=True)):
        if wishes.leaves_out(name):
            continue
        if name in wishes.by_source or not wishes.ignore_extra:
            found = wishes.by_source.get(name, (ColumnMapping(source=name),))
            assignments += [Assignment(source=place, wish=wish, target=wish.target or new) for wish in found]
        else:
            extra.append(name)
    assignments += [Assignment(source=None, wish=wish, target=wish.target) for wish in wishes.calculated]
    if not assignments:
        raise InvalidSpec("ignored_columns", "all columns are ignored, so nothing is left to import")
    _check_different(names, assignments, "the new table")
    return Matched(assignments=assignments, extra=extra)


def match_columns(
    names: Sequence[str],
    table: TargetTable,
    *,
    kept: Sequence[str],
    by_name: bool,
    wishes: Wishes,
    fits: Fits,
    addable: bool = False,
    inserts: bool = True,
) -> Matched:
    """The column of an existing table for each column of the file: the one that a wish names, else by name, or by
    position if the file has no header.

    An exact name wins over one that differs only in case, that over the shortened name that the database ``kept`` when
    it created the table for such a file, and that over one that differs in blanks, underscores, hyphens and accents.
    ``inserts``: records become rows, so each column that may not be empty needs a value.
    ``addable``: a column without a counterpart is added to the table, as text and under the name that the database
    keeps. Raises InvalidSpec if a column of the file has no counterpart, or if the table requires a column that nothing
    fills.
    """
    taken = {_wanted(wish.target, table).name for wish in _named(wishes)}
    guess = _Guess(table=table, fits=fits, taken=taken)
    positions = iter(() if by_name else [column for column in guess.settable if column.name not in taken])
    assignments: list[Assignment] = []
    extra = []
    for place, (name, short) in enumerate(zip(names, kept, strict=True)):
        if wishes.leaves_out(name):
            continue
        for wish in wishes.by_source.get(name, (ColumnMapping(source=name),)):
            if wish.target:
                assignments.append(Assignment(source=place, wish=wish, target=_wanted(wish.target, table)))
            elif not by_name and (column := next(positions, None)) is not None:
                assignments.append(Assignment(source=place, wish=wish, target=column))
            elif by_name and (found := guess.counterpart(place, name, short)) is not None:
                column, guessed = found
                assignments.append(Assignment(source=place, wish=wish, target=column, guessed=guessed))
            elif wishes.ignore_extra:
                extra.append(name)
            elif by_name and addable:
                assignments.append(Assignment(source=place, wish=wish, target=_added(short)))
            elif by_name:
                raise _unmatched(name, table, guess)
            else:
                settable = guess.settable
                raise InvalidSpec(
                    FIELD,
                    f"the file has {len(names)} columns, table {table.name} has {len(settable)}: {_listing(settable)}; "
                    f"use --ignore {_quoted(name)} or --ignore-extra",
                )
    assignments += [
        Assignment(source=None, wish=wish, target=_wanted(wish.target, table)) for wish in wishes.calculated
    ]
    if not assignments:
        raise InvalidSpec("ignored_columns", "all columns are ignored, so nothing is left to import")
    _check_different(names, assignments, f"table {table.name}")
    filled = {_name(each.target) for each in assignments}
    for column in guess.settable:
        if inserts and column.name not in filled and not column.optional:
            raise InvalidSpec(
                FIELD,
                f"column {column.name} of table {table.name} may not be empty, and the file has no such column; "
                f"use --map SOURCE={_quoted(column.name)} or --set {_quoted(column.name + '=EXPRESSION')}",
            )
    return Matched(assignments=assignments, extra=extra)


def guesses(names: Sequence[str], assignments: Sequence[Assignment]) -> tuple[str, ...]:
    """A sentence for each column whose target was guessed by more than its name."""
    return tuple(
        f"{names[each.source]!r} goes to {_name(each.target)}"
        for each in assignments
        if each.guessed and each.source is not None
    )


def _added(name: str) -> TargetColumn:
    """A column that the table will get."""
    return TargetColumn(name=name, declared="", type=TEXT, nullable=True, optional=True, generated=False)


def _named(wishes: Wishes) -> list[ColumnMapping]:
    """The wishes that name a target."""
    return [*(wish for every in wishes.by_source.values() for wish in every if wish.target), *wishes.calculated]


def _wanted(name: str, table: TargetTable) -> TargetColumn:
    """The column that a wish names."""
    found = [column for column in table.columns if column.name == name]
    found = found or [column for column in table.columns if fold(column.name) == fold(name)]
    settable = [column.name for column in table.columns if not column.generated]
    if not found:
        raise InvalidSpec("columns", f"table {table.name} has no column {name!r}{_closest(name, settable)}")
    return _settable(name, found, table)


def _settable(name: str, found: Sequence[TargetColumn], table: TargetTable) -> TargetColumn:
    if len(found) > 1:
        raise InvalidSpec(FIELD, f"table {table.name} has several columns for {name!r}: {_listing(found)}")
    if found[0].generated:
        raise InvalidSpec(
            FIELD,
            f"column {found[0].name} of table {table.name} is computed by the database; use --ignore {_quoted(name)}",
        )
    return found[0]


@dataclass(frozen=True, kw_only=True)
class _Guess:
    """Finds columns of a table by the names in a file."""

    table: TargetTable
    fits: Fits
    taken: set[str]
    """The columns that wishes name."""

    @cached_property
    def by_name(self) -> dict[str, TargetColumn]:
        return {column.name: column for column in self.table.columns}

    @cached_property
    def settable(self) -> list[TargetColumn]:
        return [column for column in self.table.columns if not column.generated]

    def counterpart(self, place: int, name: str, kept: str) -> tuple[TargetColumn, bool] | None:
        """The column for one of the file, and whether it is more than a guess by case."""
        if name in self.by_name and name not in self.taken:
            return _settable(name, [self.by_name[name]], self.table), False
        free = [column for column in self.table.columns if column.name not in self.taken]
        found = [column for column in free if fold(column.name) == fold(name)]
        found = found or [column for column in free if column.name == kept]
        if found:
            return _settable(name, found, self.table), False
        alike = [column for column in self.settable if bare(column.name) == bare(name)]
        if len(alike) == 1 and alike[0].name not in self.taken and self.fits(place, alike[0]):
            return alike[0], True
        return None


def bare(name: str) -> str:
    """A name in lower case without accents, and without what parts its words."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    return re.sub(r"[\W_]+", "", "".join(letter for letter in letters if not unicodedata.combining(letter))) or name


def _unmatched(name: str, table: TargetTable, guess: _Guess) -> InvalidSpec:
    names = [column.name for column in guess.settable]
    for other in names:
        if other in guess.taken and bare(other) == bare(name):
            return InvalidSpec(
                FIELD,
                f"another column goes to column {other} of table {table.name}, so {name!r} needs a target of its own; "
                f"use --map {_quoted(f'{name}=COLUMN')} or --ignore {_quoted(name)}",
            )
    close = _close(name, names)
    example = close[0] if close else "COLUMN"
    return InvalidSpec(
        FIELD,
        f"table {table.name} has no column {name!r}{_closest(name, names)}; use --map {_quoted(f'{name}={example}')}, "
        f"--ignore {_quoted(name)}, --ignore-extra for all columns that the table lacks, or --add-columns to add them",
    )


def _close(name: str, names: Sequence[str]) -> list[str]:
    by_bare = {bare(each): each for each in names}
    return [by_bare[each] for each in get_close_matches(bare(name), by_bare, 3)]


def _closest(name: str, names: Sequence[str]) -> str:
    close = _close(name, names)
    return f"; the closest: {', '.join(close)}" if close else f"; it has {', '.join(map(repr, names))}"


def _quoted(text: str) -> str:
    """An argument as a shell takes it."""
    return text if re.fullmatch(r"[\w.=-]+", text, re.ASCII) else "'" + text.replace("'", "'\\''") + "'"


def _name(target: TargetColumn | str) -> str:
    return target if isinstance(target, str) else target.name


def _check_different(names: Sequence[str], assignments: Sequence[Assignment], table: str) -> None:
    by_target: dict[str, Assignment] = {}
    # Wishes for a new table may differ from other names in case, which no database likes.
    same = fold if any(isinstance(each.target, str) and each.wish.target for each in assignments) else str
    for each in assignments:
        other = by_target.setdefault(same(_name(each.target)), each)
        if other is not each:
            both = " and ".join(
                "an expression" if one.source is None else repr(names[one.source]) for one in (other, each)
            )
            raise InvalidSpec(FIELD, f"{both} both go to column {_name(each.target)} of {table}")


def check_table(plan: ImportPlan, table: TargetTable | None, declarations: Sequence[str], *, used: bool) -> bool:
    """Check that a table is the planned one; return whether it still has to be created with these declared types.

    ``used``: the table holds records of the job. Raises TargetChanged, and SpecOutdated if a column accepts fewer
    values than planned.
    """
    if not plan.columns:  # the file is empty
        return False
    if table is None:
        if used or not plan.create_table:
            raise TargetChanged(f"table {plan.target.table} is gone")
        return True
    if plan.create_table and not used:
        wanted = [(column.target, kind) for column, kind in zip(plan.columns, declarations, strict=True)]
        if wanted != [(column.name, column.declared) for column in table.columns]:
            raise TargetChanged(f"table {table.name} is there now, with columns {_listing(table.columns)}")
    _check_columns(plan, table)
    if not used:
        _check_types(plan, table)
    return False


def missing_columns(plan: ImportPlan, table: TargetTable | None, declarations: Sequence[str]) -> list[tuple[str, str]]:
    """The columns that a plan adds and the table lacks, with their declared types. Raises TargetChanged if the table is
    gone, or has such a column of another type."""
    if table is None:
        raise TargetChanged(f"table {plan.target.table} is gone")
    there = {fold(column.name): column for column in table.columns}
    missing = []
    for column, declared in zip(plan.columns, declarations, strict=True):
        found = there.get(fold(column.target)) if column.added else None
        if column.added and found is None:
            missing.append((column.target, declared))
        elif found is not None and (found.name, found.declared, found.nullable) != (column.target, declared, True):
            raise TargetChanged(f"table {table.name} has a column {found.name!r} of type {found.declared} now")
    return missing


def _check_columns(plan: ImportPlan, table: TargetTable) -> None:
    there = {column.name: column for column in table.columns}
    planned = {column.target: column for column in plan.columns}
    for name, column in planned.items():
        if name not in there or there[name].generated:
            raise TargetChanged(f"table {table.name} has no column {name!r} to write into any more")
        # A key of a table that the job has created may be of a kind that the database fills, such as SQLite's rowid.
        if there[name].nullable != column.nullable and not (plan.create_table and there[name].nullable):
            raise TargetChanged(
                f"column {name!r} of table {table.name} was planned as one that {_emptiness(column.nullable)}"
            )
        if column.defaulted and not there[name].defaulted:
            raise TargetChanged(f"column {name!r} of table {table.name} has lost its default, and it may not be empty")
    for name in there.keys() - planned.keys() if plan.merge is None or plan.merge.inserts else ():
        if not (there[name].optional or there[name].generated):
            raise TargetChanged(f"table {table.name} has a new column {name!r} that may not be empty")


def _check_types(plan: ImportPlan, table: TargetTable) -> None:
    """Planning anew would only lead to rejects that nobody expects, so the job is refused."""
    there = {column.name: column.declared for column in table.columns}
    for column in plan.columns:
        now = there[column.target]
        if column.declared and is_narrower(now, column.declared):
            raise SpecOutdated(
                f"column {column.target!r} of table {table.name} was planned as {column.declared} and is {now} now: "
                f"give it that type again and start the job, or plan it anew: lading clone"
            )


def _emptiness(nullable: bool) -> str:
    return "may be empty" if nullable else "may not be empty"


def _listing(columns: Iterable[TargetColumn]) -> str:
    return ", ".join(repr(column.name) for column in columns)
