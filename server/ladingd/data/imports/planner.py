"""Checks an import against its file and its table before anything runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import HEAD, UNKNOWN_END, Column, ImportPlan
from ladingd.data.files import fingerprint
from ladingd.data.files.content import ContentEnds, look
from ladingd.data.formats.registry import contradiction, format_to_read
from ladingd.data.imports.column_types import (
    doubts,
    known_types,
    look_at_sample,
    new_types,
    storable_types,
    wanted_types,
)
from ladingd.data.imports.finding import describe
from ladingd.data.imports.survey import surveyed
from ladingd.data.mapping.column_names import kept_names, renamed
from ladingd.data.mapping.matching import match_columns
from ladingd.data.values.null_words import wanted

if TYPE_CHECKING:
    from ladingd.core.spec import ImportSpec
    from ladingd.data.databases.target import Target, TargetTable
    from ladingd.data.files.content import Look
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.format import Format, Outline

CHUNK_LIMIT = 64 << 20
"""A worker holds a chunk in memory several times over: as text, as columns, as values."""


def plan_import(spec: ImportSpec, source: Source, target: Target) -> ImportPlan:
    """Make the plan. Raises InvalidSpec; changes nothing."""
    if not 1 <= spec.chunk_bytes <= CHUNK_LIMIT:
        raise InvalidSpec("chunk_bytes", f"must be from 1 to {CHUNK_LIMIT:,}")
    state, size = source.state, source.size
    found = look(source, spec)
    form = format_to_read(found.source, spec, found.name)
    form.check(spec)
    found = found.checked(form.title, is_text=form.unit == "bytes")
    words, typed_words = wanted(spec.null_words)
    table = target.table(spec.target)
    outline = _outline(form, found, spec, target.column_limit)
    found = found.fit_for(outline.layout)
    outline = replace(outline, detected={**outline.detected, **found.detected})
    content = found.content
    names = list(outline.names)
    planned = ImportPlan(
        file=spec.file,
        fingerprint=fingerprint.take(source, size, HEAD if content.spooled else max(HEAD, outline.start), state),
        layout=outline.layout,
        columns=(),
        target=spec.target,
        create_table=table is None,
        start=found.place(outline.start),
        end=found.end(outline.end),
        first_line=outline.first_line,
        chunk_bytes=spec.chunk_bytes,
        notes=(
            *(() if spec.file_format else contradiction(found.name, form)),
            *outline.notes,
            *([f"{found.damage}; the records before are imported, then the job fails"] if found.damage else []),
        ),
        content=content,
        null_words=words,
        typed_null_words=typed_words,
    )
    types = wanted_types(spec, names, source.path, target)
    outline = _surveyed(form, found, planned, outline)
    if not names:
        empty = f"{source.path} is empty: no columns" + (", so no table was made" if table is None else "")
        return replace(planned, notes=(*planned.notes, empty))
    kept = kept_names(names, target)
    if table is not None:
        kinds = {name: found.type for name, found in types.items()}
        columns = match_columns(names, table, kept=kept, by_name=outline.named, types=kinds)
        findings = known_types(replace(planned, columns=columns), outline, types)
        columns = tuple(
            replace(column, notation=found.notation) for column, found in zip(columns, findings, strict=True)
        )
        renamings: tuple[str, ...] = ()
    else:
        outline = replace(outline, types=storable_types(outline, target))
        findings = new_types(planned, outline, types)
        columns = tuple(
            Column(
                source=name,
                target=new,
                type=str(found.type),
                notation=found.notation,
                inferred=name not in types and name not in outline.types,
            )
            for name, new, found in zip(names, kept, findings, strict=True)
        )
        renamings = renamed(names, kept, target)
    planned = replace(planned, columns=columns)
    sampled = look_at_sample(planned, target.readings(planned), outline)
    notes = (*planned.notes, *renamings, *_warnings(columns, table), *doubts(columns, findings), *sampled.notes)
    return replace(planned, detected=describe(planned, outline, tuple(sampled.null_words)), notes=notes)


def _surveyed(form: Format, found: Look, planned: ImportPlan, outline: Outline) -> Outline:
    """The outline with a sample of the whole file, or of what is known of a stream."""
    source, end = found.sample
    if planned.end != UNKNOWN_END:
        return surveyed(form, source, planned, outline)
    return replace(surveyed(form, source, replace(planned, end=end), outline), whole=False)


def _outline(form: Format, found: Look, spec: ImportSpec, column_limit: int) -> Outline:
    try:
        return form.outline(found.source, found.source.size, spec, column_limit)
    except ContentEnds:  # Now the size is known.
        return form.outline(found.source, found.source.size, spec, column_limit)


def _warnings(columns: tuple[Column, ...], table: TargetTable | None) -> tuple[str, ...]:
    """The notes of the table and of the columns that the import fills."""
    filled = {column.target for column in columns}
    if table is None:
        return ()
    return (*table.notes, *(column.note for column in table.columns if column.note and column.name in filled))
