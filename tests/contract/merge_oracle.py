"""What a merge must make of a table, computed record by record in plain Python."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ladingd.core.spec import Doubles, Duplicates, Operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.plan import Merge

Row = dict[str, "int | str | None"]


@dataclass
class Outcome:
    """The table after a merge, its counts, and the rejected records by their ordinal from 1."""

    rows: list[Row]
    counts: Counter[str] = field(default_factory=Counter)
    rejected: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """A record of the file."""

    ordinal: int
    fields: Row

    def key(self, columns: Sequence[str]) -> tuple[int | str | None, ...]:
        return tuple(self.fields[name] for name in columns)

    def has(self, columns: Sequence[str]) -> bool:
        return bool(columns) and all(self.fields[name] is not None for name in columns)


def expected(rows: Sequence[Row], records: Sequence[Row], merge: Merge) -> Outcome:
    """Carry out a merge of some records into a table with these rows."""
    outcome = Outcome([dict(row) for row in rows])
    waiting = [Record(ordinal, fields) for ordinal, fields in enumerate(records, 1)]
    groups: dict[tuple[str, ...], list[Record]] = {merge.key: [], merge.second_key: []}
    for record in waiting:
        if record.has(merge.key):
            groups[merge.key].append(record)
        elif record.has(merge.second_key):
            groups[merge.second_key].append(record)
        else:
            outcome.rejected[record.ordinal] = "NO_KEY"
    for key, group in groups.items():
        if key:
            _merge(outcome, group, key, merge)
    outcome.counts["rejected"] = len(outcome.rejected)
    return replace(outcome, counts=+outcome.counts)


def _merge(outcome: Outcome, group: list[Record], key: tuple[str, ...], merge: Merge) -> None:
    kept = _without_doubles(outcome, group, key, merge)
    if merge.second_key and key == merge.key:
        kept = _without_contradictions(outcome, kept, merge)
    before = [dict(row) for row in outcome.rows]
    for record in kept:
        places = [place for place, row in enumerate(before) if tuple(row[name] for name in key) == record.key(key)]
        assert len(places) <= 1
        if places:
            _found(outcome, record, places[0], merge)
        else:
            _missing(outcome, record, merge)
    outcome.rows = [row for row in outcome.rows if row]


def _without_doubles(outcome: Outcome, group: list[Record], key: tuple[str, ...], merge: Merge) -> list[Record]:
    kept = []
    for record in group:
        alike = [other.ordinal for other in group if other.key(key) == record.key(key)]
        first, last = record.ordinal == alike[0], record.ordinal == alike[-1]
        if len(alike) == 1:
            kept.append(record)
            continue
        stays = {Doubles.UPDATE: last, Doubles.IGNORE: first, Doubles.REJECT: first, Doubles.REJECT_ALL: False}
        if stays[merge.doubles]:
            kept.append(record)
            continue
        outcome.counts["doubles"] += 1
        if merge.doubles in (Doubles.UPDATE, Doubles.IGNORE):
            outcome.counts["ignored_doubles"] += 1
        else:
            outcome.rejected[record.ordinal] = "DOUBLE"
    return kept


def _without_contradictions(outcome: Outcome, group: list[Record], merge: Merge) -> list[Record]:
    """Without the records whose second key belongs to another row, then without those of an earlier record."""
    belonging = []
    for record in group:
        second = record.key(merge.second_key)
        others = [
            row
            for row in outcome.rows
            if tuple(row[name] for name in merge.second_key) == second
            and tuple(row[name] for name in merge.key) != record.key(merge.key)
        ]
        if record.has(merge.second_key) and others:
            outcome.rejected[record.ordinal] = "KEYS_DISAGREE"
        else:
            belonging.append(record)
    kept = []
    for place, record in enumerate(belonging):
        second = record.key(merge.second_key)
        if record.has(merge.second_key) and any(second == other.key(merge.second_key) for other in belonging[:place]):
            outcome.rejected[record.ordinal] = "KEYS_DISAGREE"
        else:
            kept.append(record)
    return kept


def _found(outcome: Outcome, record: Record, place: int, merge: Merge) -> None:
    outcome.counts["duplicates"] += 1
    if merge.duplicates is Duplicates.REJECT:
        outcome.rejected[record.ordinal] = "DUPLICATE"
        return
    if merge.duplicates is Duplicates.IGNORE or merge.operation is Operation.RECONCILE_ONLY:
        outcome.counts["unchanged"] += 1
        return
    if merge.operation is Operation.DELETE:
        outcome.rows[place] = {}
        outcome.counts["deleted"] += 1
        return
    old = outcome.rows[place]
    new = {name: _value(name, old[name], value, merge) for name, value in record.fields.items()}
    outcome.counts["unchanged" if new == old else "updated"] += 1
    outcome.rows[place] = new


def _value(name: str, old: int | str | None, new: int | str | None, merge: Merge) -> int | str | None:
    if name in merge.key or name in merge.on_insert_only:
        return old
    if name in merge.keep_if_source_empty and new is None:
        return old
    if name in merge.only_if_target_empty and old not in (None, ""):
        return old
    return new


def _missing(outcome: Outcome, record: Record, merge: Merge) -> None:
    if merge.operation is Operation.DELETE:
        outcome.counts["unchanged"] += 1
    elif merge.operation in (Operation.INSERT, Operation.UPDATE_OR_INSERT):
        outcome.counts["inserted"] += 1
        outcome.rows.append(dict(record.fields))
    else:
        outcome.rejected[record.ordinal] = "NOT_FOUND"
