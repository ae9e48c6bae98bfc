"""Checks a store for damage: the file, the database, and the consistency of jobs. Only reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ladingd.core.bill import NUMBERS
from ladingd.core.errors import StoreUnusable
from ladingd.core.state import State
from ladingd.store import documents
from ladingd.store.migration import HEAD
from ladingd.store.sqlite.backup import opened, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pydantic import TypeAdapter

MOST = 20
"""The most problems that one check reports."""

_STATES = ", ".join(f"'{state.value}'" for state in State)
_SUMS = ", ".join(f"coalesce(sum(json_extract(chunks.counts, '$.{name}')), 0)" for name in NUMBERS)

_STRANGE_STATES = f"SELECT 'jobs/' || id || ' is ' || state FROM jobs WHERE state NOT IN ({_STATES})"  # noqa: S608
"""Jobs in unknown states."""

_FUTURE = """
SELECT 'jobs/' || jobs.id || ' has revision ' || jobs.revision || ', and the last one given out is ' || history.revision
FROM jobs, history WHERE jobs.revision > history.revision OR state_revision > jobs.revision
"""
"""Jobs whose revision is higher than the last one given out."""

_SHARED = """
SELECT 'revision ' || revision || ' was given out to ' || count(*) || ' jobs'
FROM jobs GROUP BY revision HAVING count(*) > 1
"""
"""Revisions that several jobs share."""

_GAPS = """
SELECT count(*) || ' changes are kept, from ' || coalesce(min(changes.revision), 'none') || ' to '
    || coalesce(max(changes.revision), 'none') || '; they should be those from ' || (history.compacted + 1) || ' to '
    || history.revision
FROM history LEFT JOIN changes GROUP BY history.id
HAVING count(changes.revision) != history.revision - history.compacted
    OR (count(changes.revision) > 0
        AND (min(changes.revision) != history.compacted + 1 OR max(changes.revision) != history.revision))
"""
"""Gaps in the changes that should be kept."""

_LATEST = """
SELECT 'jobs/' || jobs.id || ' is ' || jobs.state || ', its last change says ' || coalesce(changes.to_state, 'deleted')
FROM jobs JOIN changes ON changes.revision = jobs.revision
WHERE changes.job_id != jobs.id OR changes.to_state IS NOT jobs.state
"""
"""Jobs that differ from their last change."""

_MISSING_CHUNKS = """
SELECT 'jobs/' || job_id || ' has ' || count(*) || ' chunks, of which the last is number ' || max(ordinal)
FROM chunks GROUP BY job_id HAVING count(*) != max(ordinal) + 1
"""
"""Gaps in the chunks that were cut."""

_COUNTS = f"""
SELECT jobs.id, jobs.counts, jobs.state, {_SUMS}
FROM jobs LEFT JOIN chunks ON chunks.job_id = jobs.id GROUP BY jobs.id
"""  # noqa: S608
"""The counts of jobs, and the sums of the counts of their chunks."""

_DOCUMENTS: Mapping[str, TypeAdapter[Any]] = {
    "spec": documents.SPEC,
    "plan": documents.PLAN,
    "counts": documents.COUNTS,
    "progress": documents.PROGRESS,
    "failure": documents.FAILURE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A problem, and the check that found it."""

    check: str
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """The result. ``pending`` is the number of deleted jobs with leftovers, ``held`` that of jobs waiting for space."""

    schema: str
    size: int
    jobs: Mapping[str, int]
    pending: int
    held: int
    checks: tuple[str, ...]
    problems: tuple[Problem, ...]


def inspect(path: Path) -> Inspection:
    """Check one snapshot of a store. Raises StoreUnusable if it cannot be read at all."""
    try:
        with closing(opened(path)) as connection:
            connection.execute("BEGIN")
            return _inspect(connection, path)
    except sqlite3.Error as error:
        raise StoreUnusable(path, str(error)) from error


def _inspect(connection: sqlite3.Connection, path: Path) -> Inspection:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "alembic_version" not in tables:
        raise StoreUnusable(path, "it is not a store of Lading")
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if row is None:
        raise StoreUnusable(path, "its schema is not recorded")
    (schema,) = row
    if schema > HEAD:
        raise StoreUnusable(path, f"its schema {schema} is newer than {HEAD}, the newest that this program knows")
    done, problems = [], []
    for name, check in _CHECKS.items():
        done.append(name)
        for number, problem in enumerate(check(connection)):
            if number == MOST:
                problems.append(Problem(check=name, problem="and more"))
                break
            problems.append(Problem(check=name, problem=problem))
    return Inspection(
        schema=schema,
        size=size_of(path),
        jobs=dict(connection.execute("SELECT state, count(*) FROM jobs GROUP BY state ORDER BY state").fetchall()),
        pending=_number_in("discards", tables, connection),
        held=_number_in("holds", tables, connection),
        checks=tuple(done),
        problems=tuple(problems),
    )


def _number_in(table: str, tables: set[str], connection: sqlite3.Connection) -> int:
    if table not in tables:
        return 0  # The store has an older schema.
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


def _integrity(connection: sqlite3.Connection) -> Iterator[str]:
    for (said,) in connection.execute("PRAGMA integrity_check"):
        if said != "ok":
            yield said


def _references(connection: sqlite3.Connection) -> Iterator[str]:
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"row {row} of {table} has no parent in {parent}"


def _rows(query: str) -> Callable[[sqlite3.Connection], Iterator[str]]:
    """A check by a query: each row of its result is a problem."""
    return lambda connection: (said for (said,) in connection.execute(query))


def _unreadable(connection: sqlite3.Connection) -> Iterator[str]:
    for job_id, *texts in connection.execute(f"SELECT id, {', '.join(_DOCUMENTS)} FROM jobs"):  # noqa: S608
        for (name, adapter), text in zip(_DOCUMENTS.items(), texts, strict=True):
            try:
                if text is not None:
                    documents.read(adapter, text)
            except ValidationError as error:
                yield f"the {name} of jobs/{job_id} cannot be read: {error.errors()[0]['msg']}"


def _miscounted(connection: sqlite3.Connection) -> Iterator[str]:
    for job_id, text, state, *sums in connection.execute(_COUNTS):
        try:
            counts = documents.read(documents.COUNTS, text)
        except ValidationError:
            continue  # The check "documents" reports it.
        for name, summed in zip(NUMBERS, sums, strict=True):
            if getattr(counts, name) != summed:
                yield f"jobs/{job_id} has {name} {getattr(counts, name)}, its chunks have {summed}"
        if state == State.FINISHED and not counts.balances:
            yield f"jobs/{job_id} is FINISHED, but its bill does not balance"


_CHECKS: Mapping[str, Callable[[sqlite3.Connection], Iterator[str]]] = {
    "structure": _integrity,
    "references": _references,
    "documents": _unreadable,
    "states": _rows(_STRANGE_STATES),
    "revisions": lambda connection: (
        said for query in (_FUTURE, _SHARED, _GAPS, _LATEST) for (said,) in connection.execute(query)
    ),
    "chunks": _rows(_MISSING_CHUNKS),
    "counts": _miscounted,
}
