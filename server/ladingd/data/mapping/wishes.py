"""What a spec says about columns, checked against the columns of the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import ColumnMapping
from ladingd.data.mapping.lookups import Lookup
from ladingd.data.mapping.transformations import transformation
from ladingd.data.values.names import fold
from ladingd.data.values.null_words import check_words

if TYPE_CHECKING:
    from ladingd.core.spec import ImportSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """The wishes of a spec for the columns of files."""

    by_source: Mapping[str, Sequence[ColumnMapping]]
    """Those for each column of the files."""
    calculated: Sequence[ColumnMapping]
    ignored: frozenset[str]
    """The columns of the files that are not imported."""
    ignore_extra: bool

    def leaves_out(self, name: str) -> bool:
        """Whether a column of the files is not imported: it is ignored, or an expression takes its place."""
        if name in self.by_source:
            return False
        return name in self.ignored or any(fold(wish.target) == fold(name) for wish in self.calculated)


def wishes_of(spec: ImportSpec, names: Sequence[str], path: str) -> Wishes:
    """The wishes of a spec. ``names`` are the columns of the files. Raises InvalidSpec."""
    by_source: dict[str, list[ColumnMapping]] = {}
    calculated: list[ColumnMapping] = []
    targets: dict[str, int] = {}
    for number, wish in enumerate(spec.columns):
        where = f"columns[{number}]"
        _check(spec, wish, where)
        if wish.target and targets.setdefault(wish.target, number) != number:
            raise InvalidSpec(f"{where}.target", f"column {wish.target!r} is filled twice")
        if wish.expression:
            calculated.append(wish)
        else:
            name = find(wish.source, names, f"{where}.source", path)
            by_source.setdefault(name, []).append(wish)
    ignored = {find(name, names, f"ignored_columns[{place}]", path) for place, name in enumerate(spec.ignored_columns)}
    for name in ignored & by_source.keys():
        raise InvalidSpec("ignored_columns", f"column {name!r} is ignored and mapped: leave out one of both")
    return Wishes(
        by_source=by_source, calculated=calculated, ignored=frozenset(ignored), ignore_extra=spec.ignore_extra
    )


def find(name: str, names: Sequence[str], field: str, path: str) -> str:
    """The column of the files with this name; case does not matter if it tells no columns apart. Raises InvalidSpec."""
    if name in names:
        return name
    found = [each for each in names if fold(each) == fold(name)]
    if len(found) == 1:
        return found[0]
    raise InvalidSpec(field, f"{path} has no column {name!r}{closest(name, names)}")


def closest(name: str, names: Sequence[str]) -> str:
    """The end of a sentence about a name that is none of these: those that are most like it."""
    by_fold = {fold(each): each for each in names}
    close = get_close_matches(fold(name), by_fold, 3)
    if close:
        return f"; the closest: {', '.join(repr(by_fold[each]) for each in close)}"
    return f"; it has {', '.join(map(repr, names)) or 'none at all'}"


def _check(spec: ImportSpec, wish: ColumnMapping, where: str) -> None:
    if bool(wish.source) == bool(wish.expression):
        raise InvalidSpec(where, "names a source column or has an expression, one of both")
    if wish.expression and not wish.target:
        raise InvalidSpec(f"{where}.target", "is missing: an expression fills a column of the table")
    for place, spelled in enumerate(wish.transformations):
        try:
            transformation(spelled)
        except ValueError as error:
            raise InvalidSpec(f"{where}.transformations[{place}]", str(error)) from error
    check_words(f"{where}.null_words", wish.null_words)
    if wish.lookup and wish.lookup not in spec.enumerations:
        listing = ", ".join(map(repr, spec.enumerations)) or "none"
        raise InvalidSpec(f"{where}.lookup", f"there is no enumeration {wish.lookup!r}; there are: {listing}")
    if wish.lookup:
        try:
            Lookup.of(wish.lookup, spec.enumerations[wish.lookup])
        except ValueError as error:
            raise InvalidSpec(f"enumerations.{wish.lookup}", str(error)) from error
