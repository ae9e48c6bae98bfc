"""The chunks of jobs, and the counts that they add up to."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from sqlalchemy import Text, bindparam, insert, select, type_coerce, update
from sqlalchemy import delete as delete_from

from ladingd.core.bill import Counts, total
from ladingd.core.errors import BillImbalance
from ladingd.core.job import Job, Progress
from ladingd.core.plan import Chunk
from ladingd.core.ports import KeptChunk
from ladingd.store import documents, journal, rows
from ladingd.store.tables import chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from ladingd.core.plan import CommittedChunk, Plan

_LAST = (1 << 63) - 1

_FIELDS = tuple(field.name for field in fields(Chunk))

# Most chunks of a job have the same counts.
_counts_of: Callable[[str], Counts] = lru_cache(maxsize=1 << 12)(partial(documents.read, documents.COUNTS))
_text_of: Callable[[Counts], str] = lru_cache(maxsize=1 << 12)(partial(documents.write, documents.COUNTS))

_KEPT = (
    select(*(chunks.c[name] for name in _FIELDS), type_coerce(chunks.c.counts, Text).label("counts"))
    .where(
        chunks.c.job_id == bindparam("of_job"),
        chunks.c.ordinal.between(bindparam("lowest"), bindparam("highest")),
    )
    .order_by(chunks.c.ordinal)
)
"""The chunks of one job between two ordinals."""

_SOME_COUNTS = select(chunks.c.ordinal, chunks.c.counts).where(
    chunks.c.job_id == bindparam("of_job"), chunks.c.ordinal.in_(bindparam("these", expanding=True))
)
"""The counts of some chunks of one job."""

_NOTED = (
    select(chunks.c.ordinal, type_coerce(chunks.c.counts, Text).label("counts"))
    .where(chunks.c.job_id == bindparam("of_job"))
    .order_by(chunks.c.ordinal)
)
"""The chunks of one job with their counts as unparsed text: there may be very many."""

_SET_COUNTS = (
    update(chunks)
    .where(chunks.c.job_id == bindparam("of_job"), chunks.c.ordinal == bindparam("of_ordinal"))
    .values(counts=bindparam("new_counts"))
)
"""Note one chunk as committed, or as uncommitted if the counts are None."""


def read(connection: Connection, job_id: str, first: int = 0) -> tuple[KeptChunk, ...]:
    """The chunks of a job from an ordinal on, in order. Raises JobNotFound."""
    rows.require(connection, job_id)
    return _between(connection, job_id, first, _LAST)


def add(connection: Connection, job_id: str, cut: Sequence[Chunk]) -> None:
    """Store chunks. A chunk that is stored already changes nothing. Raises BillImbalance if it was cut differently."""
    rows.require(connection, job_id)
    ordinals = [chunk.ordinal for chunk in cut]
    around = _between(connection, job_id, min(ordinals, default=0), max(ordinals, default=-1))
    known = {kept.chunk.ordinal: kept.chunk for kept in around}
    fresh = []
    for chunk in cut:
        if chunk.ordinal not in known:
            known[chunk.ordinal] = chunk
            fresh.append({"job_id": job_id} | {name: getattr(chunk, name) for name in _FIELDS})
        elif known[chunk.ordinal] != chunk:
            raise BillImbalance(f"chunk {chunk.ordinal} of jobs/{job_id} was cut differently before")
    if fresh:
        connection.execute(insert(chunks), fresh)


def commit(connection: Connection, job_id: str, committed: Sequence[CommittedChunk], progress: Progress) -> Job:
    """Note chunks as committed, each once."""
    job = rows.load(connection, job_id)
    ordinals = [chunk.ordinal for chunk in committed]
    found = connection.execute(_SOME_COUNTS, {"of_job": job_id, "these": ordinals})
    noted: dict[int, Counts | None] = {row.ordinal: row.counts for row in found}
    _require_known(job_id, committed, noted)
    news: dict[int, Counts | None] = {}
    for chunk in committed:
        if noted[chunk.ordinal] is None:
            noted[chunk.ordinal] = news[chunk.ordinal] = chunk.counts
    _set_counts(connection, job_id, news)
    after = replace(job, counts=total([job.counts, *filter(None, news.values())]), progress=progress)
    rows.save(connection, job, after)
    return after


def settle(
    connection: Connection,
    job_id: str,
    committed: Sequence[CommittedChunk],
    uid: str,
    attempt: int,
    records: int | None,
    progress: Progress,
    settled: bool,
) -> Job:
    """Make the chunks and the job's counts what the ledger says."""
    job = rows.load(connection, job_id)
    if (job.uid, job.attempt) != (uid, attempt):
        return job
    noted = {row.ordinal: row.counts for row in connection.execute(_NOTED, {"of_job": job_id})}
    _require_known(job_id, committed, noted)
    ledger = {chunk.ordinal: chunk.counts for chunk in committed}
    wanted = {ordinal: _text_of(counts) for ordinal, counts in ledger.items()}
    news = {ordinal: ledger.get(ordinal) for ordinal, text in noted.items() if text != wanted.get(ordinal)}
    _set_counts(connection, job_id, news)
    after = replace(
        job,
        counts=total(ledger.values()),
        total=job.total if records is None else records,
        progress=progress,
        settled=settled,
    )
    rows.save(connection, job, after)
    return after


def replan(connection: Connection, job_id: str, plan: Plan, now: datetime) -> Job:
    """Replace the plan, and delete the chunks with their counts."""
    job = rows.load(connection, job_id)
    connection.execute(delete_from(chunks).where(chunks.c.job_id == job_id))
    after = replace(job, plan=plan, counts=Counts(), total=None, progress=Progress())
    rows.save(connection, job, after)
    journal.write_notes(connection, job_id, now, plan)
    return after


def _between(connection: Connection, job_id: str, lowest: int, highest: int) -> tuple[KeptChunk, ...]:
    found = connection.execute(_KEPT, {"of_job": job_id, "lowest": lowest, "highest": highest})
    return tuple(
        KeptChunk(
            chunk=Chunk(**dict(zip(_FIELDS, row, strict=False))),
            counts=None if row.counts is None else _counts_of(row.counts),
        )
        for row in found
    )


def _require_known(job_id: str, committed: Sequence[CommittedChunk], noted: Mapping[int, object]) -> None:
    unknown = sorted({chunk.ordinal for chunk in committed} - noted.keys())
    if unknown:
        raise BillImbalance(f"jobs/{job_id}: chunk {unknown[0]} is committed, but was never written down")


def _set_counts(connection: Connection, job_id: str, news: Mapping[int, Counts | None]) -> None:
    values = [
        {"of_job": job_id, "of_ordinal": ordinal, "new_counts": counts} for ordinal, counts in sorted(news.items())
    ]
    if values:
        connection.execute(_SET_COUNTS, values)
