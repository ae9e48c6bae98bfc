"""Lets all chunks of an export see the table at one moment, if the database can do that."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from ladingd.core.errors import SourceUnreadable, StartsOver
from ladingd.data.databases.row_source import FIRST_KEY, LAST_KEY, MomentLost
from ladingd.data.exports.rows import write_rows

if TYPE_CHECKING:
    from ladingd.core.plan import Chunk, ExportPlan
    from ladingd.data.databases.row_source import Moment, RowSource
    from ladingd.data.exports.ledger import Ledger

_TRIES = 3
"""How often a chunk tries to begin its read before its moment is lost."""


def write_at_one_moment(
    source: RowSource, ledger: Ledger, attempt: int, plan: ExportPlan, chunk: Chunk, file: BinaryIO
) -> tuple[int, int]:
    """Write the rows of a chunk at the moment that the other chunks see. Returns the number of rows, and the number of
    the moment or 0 if it is unknown. Raises StartsOver if the moment is lost and the export must show a single
    moment."""
    if chunk.start == FIRST_KEY and chunk.end == LAST_KEY:
        return write_rows(source, plan, chunk, file), 0  # This is the only chunk.
    lost = 0
    for _ in range(_TRIES):
        number, moment = _moment(source, ledger, attempt, plan, lost)
        if moment is None:
            break
        try:
            return write_rows(source.at(moment), plan, chunk, file), number
        except MomentLost:
            lost = number
    if plan.consistent and source.keeps_moments:
        raise SourceUnreadable("the database does not keep a snapshot for several sessions: export without consistent")
    return write_rows(source, plan, chunk, file), 0


def _moment(source: RowSource, ledger: Ledger, attempt: int, plan: ExportPlan, lost: int) -> tuple[int, Moment | None]:
    """The latest moment of an attempt and its number. If that moment is lost or there is none, hold a new one."""
    known = ledger.moments(attempt)
    if known and max(known) > lost:
        return max(known), known[max(known)]
    with ledger.entering(attempt, 0):
        known = ledger.moments(attempt)
        if known and max(known) > lost:
            return max(known), known[max(known)]
        if known and plan.consistent and source.keeps_moments:
            raise StartsOver("the database has lost the snapshot that all chunks were to see; start the job again")
        moment = source.hold_moment(plan)
        if moment is None:
            return 0, None
        ledger.add_moment(attempt, moment)
        return max(ledger.moments()), moment


def moments_seen(ledger: Ledger) -> str:
    """A message for users about the moments that the chunks have seen."""
    entries, moments = ledger.entries().values(), ledger.moments()
    seen = [moments[number] for number in sorted({entry.moment for entry in entries} & moments.keys())]
    names = {moment.name: moment for moment in reversed(seen)}
    if len(entries) == 1 or (len(names) == 1 and all(entry.moment for entry in entries)):
        when = f" ({seen[0].time:%Y-%m-%d %H:%M:%S} UTC)" if seen else ""
        return f"all chunks see the table at one moment{when}"
    if not all(entry.moment for entry in entries):
        return "each chunk sees the table as it was when the chunk was read: the database cannot show one moment"
    times = ", ".join(f"{moment.time:%H:%M:%S} UTC" for moment in sorted(names.values(), key=lambda each: each.time))
    return (
        f"the chunks see the table at {len(names)} moments ({times}): the export was interrupted, or the database was "
        "written to and keeps no snapshot; for one moment: --consistent"
    )
