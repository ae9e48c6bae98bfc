"""The files of an import: those that its spec names, and the members of archives among them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import File
from ladingd.data.files.content import members
from ladingd.data.files.patterns import matching
from ladingd.data.files.roots import PathRefused, open_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ladingd.core.spec import ImportSpec
    from ladingd.data.files.patterns import Match

MOST_FILES = 1_000
"""Every change of a job is stored with its plan, which names all files."""

_LISTED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Selected:
    """A file to import."""

    number: int
    """The file of the spec that it comes from, counted from 0."""
    location: File
    member: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The files to import, in order."""

    files: Sequence[Selected]
    notes: tuple[str, ...] = ()


def select(spec: ImportSpec, roots: Mapping[str, Path], own_files: Mapping[str, Path]) -> Selection:
    """The files that a spec means. A file that it names twice, by whatever name, is imported once. Raises
    InvalidSpec."""
    files: list[Selected] = []
    known: dict[tuple[int, int], str] = {}
    notes = []
    for number, named in enumerate(spec.files):
        with named_in_spec(number):
            match = _matching(roots, named)
            notes += _passed_over(match.others)
            for location in match.files:
                with open_source(roots, own_files, location) as source:
                    shown, identity, inside = source.path, source.identity, members(source, spec.member)
                before = known.get(identity)
                if before is None:
                    known[identity] = shown
                    files += [Selected(number=number, location=location, member=name) for name in inside]
                else:
                    why = "is named twice" if before == shown else f"is the same file as {before}"
                    notes.append(f"{shown} {why}; it is imported once")
                if len(files) > MOST_FILES:
                    raise InvalidSpec(
                        "files[0].path", f"one job imports at most {MOST_FILES:,} files: use several jobs"
                    )
    return Selection(files=files, notes=tuple(notes))


def _passed_over(others: Sequence[str]) -> list[str]:
    """The note about what a path means besides files."""
    if not others:
        return []
    listing = ", ".join(others[:_LISTED]) + (f" and {len(others) - _LISTED:,} more" if len(others) > _LISTED else "")
    return [f"{listing} {'is no file and was' if len(others) == 1 else 'are no files and were'} not imported"]


@contextmanager
def named_in_spec(number: int) -> Iterator[None]:
    """Turn the field of an InvalidSpec about the first file into that of another one."""
    try:
        yield
    except InvalidSpec as error:
        if not error.field.startswith("files[0]") or not number:
            raise
        raise InvalidSpec(error.field.replace("[0]", f"[{number}]", 1), error.problem) from error


def _matching(roots: Mapping[str, Path], file: File) -> Match:
    try:
        return matching(roots, file)
    except PathRefused as error:
        raise InvalidSpec(f"files[0].{error.field}", error.problem) from error
