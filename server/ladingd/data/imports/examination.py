"""Finds out how one file of an import is read, and whether it has the columns of the first file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import HEAD, UNKNOWN_END, ImportPlan, PlannedFile
from ladingd.data.files import fingerprint
from ladingd.data.files.content import ContentEnds, Look, look
from ladingd.data.formats.format import Format, Outline
from ladingd.data.formats.registry import contradiction, format_to_read
from ladingd.data.imports.survey import surveyed
from ladingd.data.mapping.matching import bare
from ladingd.data.values.names import fold

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ladingd.core.spec import File, ImportSpec
    from ladingd.data.databases.target import TargetTable
    from ladingd.data.files.roots import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """How a file is read, and a sample of its records."""

    file: PlannedFile
    form: Format
    outline: Outline
    """With a sample of the whole file."""
    notes: tuple[str, ...] = ()
    """What people should know about the file."""
    is_open: bool = False
    """Later files may have further columns, because the records of all files before name their fields."""

    def with_columns_of(self, later: Examination) -> Examination:
        """The same with the columns that only a later file has, for the files after it."""
        is_open, outline = self.is_open and later.form.sparse, self.outline
        if is_open and not later.form.has_columns_of(later.outline, outline):
            outline = replace(outline, names=[*dict.fromkeys((*outline.names, *later.outline.names))])
        return replace(self, outline=outline, is_open=is_open)


def examine(
    source: Source,
    location: File,
    member: str,
    spec: ImportSpec,
    draft: ImportPlan,
    *,
    column_limit: int,
    share: int,
    first: Examination | None,
    table: TargetTable | None,
) -> Examination:
    """Look at a file. ``draft``: the plan without files and columns.

    ``share``: the number of files, which share the time of a plan. ``first``: the files before, whose columns this one
    must have. ``table``: the existing table. Raises InvalidSpec.
    """
    state, size = source.state, source.size
    found = look(source, spec, member, share)
    form = format_to_read(found.source, spec, found.name, found.packed)
    form.check(spec)
    found = found.checked(source, is_text=form.is_text)
    name = f"{source.path}/{member}" if member else source.path
    look_at = _Look(form=form, found=found, column_limit=column_limit, known=_known_names(spec, table))
    outline, order = _outline_like(first, look_at, spec, name, member)
    found = found.fit_for(outline.layout)
    outline = replace(outline, detected={**outline.detected, **found.detected})
    spooled = found.content.spooled
    file = PlannedFile(
        location=location,
        name=name,
        fingerprint=fingerprint.take(source, size, HEAD if spooled else max(HEAD, outline.start), state),
        layout=outline.layout,
        content=found.content,
        start=found.place(outline.start),
        end=found.end(outline.end),
        first_line=outline.first_line,
        order=order,
    )
    learn = partial(_learn, form, name, column_limit, first, _learnable(spec, table))
    outline = _surveyed(form, found, replace(draft, files=(file,)), outline, share, learn)
    file = replace(file, layout=outline.layout)
    notes = (
        *(() if spec.file_format else contradiction(found.name, form)),
        *outline.notes,
        *([f"{found.damage}; the records before are imported, then the job fails"] if found.damage else []),
    )
    if source.state != state:
        raise InvalidSpec("files[0].path", f"{source.path} is being written: create the job when it is complete")
    return Examination(file=file, form=form, outline=outline, notes=notes, is_open=form.sparse)


def _outline_like(
    first: Examination | None, look_at: _Look, spec: ImportSpec, name: str, member: str
) -> tuple[Outline, tuple[int, ...]]:
    """The outline of a file and the order of its columns. A file is read like the first one if it can be: a short file
    tells less about its layout."""
    form = look_at.form
    if first is None:
        return look_at.outline(spec), ()
    if form is first.form and first.outline.names:
        outline = look_at.outline(form.like(spec, first.outline))
        if (order := _order(first, outline, form)) is not None:
            return outline, order
    outline = look_at.outline(spec)
    if (order := _order(first, outline, form)) is None:
        raise InvalidSpec(
            "member" if member else "files[0].path",
            f"{name} has other columns than {first.file.name}, so one job cannot import both: "
            f"{_difference(first.outline.names, outline.names)}",
        )
    return outline, order


def _order(first: Examination, outline: Outline, form: Format) -> tuple[int, ...] | None:
    """The place in the first file of each column of another file; empty: they have the same order. None: the columns
    are other ones."""
    known, names = first.outline.names, outline.names
    if not names or not known:
        return ()
    if not (first.outline.named and outline.named):
        return () if len(names) == len(known) else None
    if form.sparse:
        return () if first.is_open or form.has_columns_of(outline, first.outline) else None
    places = {fold(name): place for place, name in enumerate(known)}
    found = [places.get(fold(name)) for name in names]
    order = tuple(place for place in found if place is not None)
    if len(order) < len(names) or len(set(order)) < len(order):
        return None
    if len(order) < len(known):
        return None
    return () if order == tuple(range(len(known))) else order


def _difference(known: Sequence[str], names: Sequence[str]) -> str:
    """What the names of two files do not share."""
    lacking = [name for name in known if fold(name) not in set(map(fold, names))]
    beside = [name for name in names if fold(name) not in set(map(fold, known))]
    parts = [
        f"{verb} {', '.join(map(repr, some[:_LISTED]))}{' …' if len(some) > _LISTED else ''}"
        for verb, some in (("it lacks", lacking), ("it has", beside))
        if some
    ]
    return " and ".join(parts) or f"it has {len(names):,} and not {len(known):,} columns"


_LISTED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """A look at one file for its outline."""

    form: Format
    found: Look
    column_limit: int
    known: frozenset[str]
    """The bare names of columns that the file may have; empty: nobody knows."""

    def outline(self, spec: ImportSpec) -> Outline:
        """A first record that consists of known names is a header, whatever they look like. Raises InvalidSpec."""
        outline = self._outline(spec)
        if outline.named or not outline.names or not self.known or (wanted := self.form.with_header(spec)) is None:
            return outline
        named = self._outline(wanted)
        made_up = map(bare, outline.names)  # Empty fields have such names: a table may have been made of them.
        known = self.known.difference(made_up)
        is_header = len(named.names) == len(outline.names) and known.issuperset(map(bare, named.names))
        return named if is_header else outline

    def _outline(self, spec: ImportSpec) -> Outline:
        source = self.found.source
        try:
            return self.form.outline(source, source.size, spec, self.column_limit)
        except ContentEnds:  # Now the size is known.
            return self.form.outline(source, source.size, spec, self.column_limit)


def _surveyed(
    form: Format,
    found: Look,
    part: ImportPlan,
    outline: Outline,
    share: int,
    learn: Callable[[Outline, Sequence[bytes]], Outline | None],
) -> Outline:
    """The outline with a sample of the whole file, or of what is known of a stream."""
    source, end = found.sample
    if part.file.end != UNKNOWN_END:
        return surveyed(form, source, part, outline, share, learn)
    return replace(surveyed(form, source, part.ending(end), outline, share, learn), whole=False)


def _learn(
    form: Format,
    path: str,
    column_limit: int,
    first: Examination | None,
    wanted: frozenset[str] | None,
    outline: Outline,
    records: Sequence[bytes],
) -> Outline | None:
    """The outline with what further records tell; None: nothing, or columns that the import cannot have. ``wanted``:
    the bare names of those that it can; None: all."""
    try:
        wider = form.learn(outline, records, path, column_limit)
    except InvalidSpec:
        return None
    new = set(wider.names) - set(outline.names)
    if (wider.names, wider.types, wider.layout) == (outline.names, outline.types, outline.layout):
        return None
    if first is not None and _order(first, wider, form) is None:
        return None
    return wider if wanted is None or all(bare(name) in wanted for name in new) else None


def _learnable(spec: ImportSpec, table: TargetTable | None) -> frozenset[str] | None:
    """The bare names of the columns that an import can have: those of the table, and those that the spec names. None:
    it can have all."""
    return None if table is None or spec.ignore_extra or spec.add_columns else _known_names(spec, table)


def _known_names(spec: ImportSpec, table: TargetTable | None) -> frozenset[str]:
    """The bare names of the columns of the table, and of those that the spec names."""
    columns = () if table is None else table.columns
    named = (*(wish.source for wish in spec.columns), *spec.ignored_columns)
    return frozenset(map(bare, filter(None, (*(column.name for column in columns), *named))))
