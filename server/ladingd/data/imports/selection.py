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

MOST_FILES = 1_000
"""Every change of a job is stored with its plan, which names all files."""


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
    """The files that a spec means. A file that is named twice is imported once. Raises InvalidSpec."""
    files: dict[tuple[File, str], Selected] = {}
    notes = []
    for number, named in enumerate(spec.files):
        with named_in_spec(number):
            for location in _matching(roots, named):
                with open_source(roots, own_files, location) as source:
                    shown, names = source.path, members(source, spec.member)
                found = [Selected(number=number, location=location, member=name) for name in names]
                if (location, names[0]) in files:
                    notes.append(f"{shown} is named twice; it is imported once")
                for each in found:
                    files.setdefault((location, each.member), each)
                if len(files) > MOST_FILES:
                    raise InvalidSpec(
                        "files[0].path", f"one job imports at most {MOST_FILES:,} files: use several jobs"
                    )
    return Selection(files=[*files.values()], notes=tuple(notes))


@contextmanager
def named_in_spec(number: int) -> Iterator[None]:
    """Turn the field of an InvalidSpec about the first file into that of another one."""
    try:
        yield
    except InvalidSpec as error:
        if not error.field.startswith("files[0]") or not number:
            raise
        raise InvalidSpec(error.field.replace("[0]", f"[{number}]", 1), error.problem) from error


def _matching(roots: Mapping[str, Path], file: File) -> list[File]:
    try:
        return matching(roots, file)
    except PathRefused as error:
        raise InvalidSpec(f"files[0].{error.field}", error.problem) from error
