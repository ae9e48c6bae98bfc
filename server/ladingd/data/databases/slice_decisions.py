"""What the options of a merge make of the staged records of a slice, in databases that quote names by the standard.

``s`` is the staging, ``t`` is the table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ladingd.core.errors import TargetRefused
from ladingd.core.plan import Merge
from ladingd.core.spec import Doubles, Duplicates, Operation
from ladingd.data.databases.merge_keys import Key, given, quoted
from ladingd.data.databases.slice_rejects import FOUND_OUTSIDE, OUTSIDE, SliceRejects, all_rejected
from ladingd.data.databases.staging import PLACE

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMN = f"s.{quoted(PLACE)}"
"""The column of the places."""

# Whether a key occurs twice among the staged records.
_HAS_DOUBLES = "SELECT EXISTS (SELECT 1 FROM {stage} AS s WHERE {present} GROUP BY {key} HAVING count(*) > 1)"
# The records that the table has already.
_FOUND = "{place} IN (SELECT {place} FROM {stage} AS s JOIN {table} AS t ON {match} WHERE {complete})"
# The records whose key a row has that is not replaced.
_FOUND_OUTSIDE = """
{place} IN (SELECT {place} FROM {stage} AS s JOIN {table} AS t ON {match} WHERE ({part}) IS NOT TRUE)
"""
# The records whose second key is that of a row, or of an earlier record, with another first key.
_CONTRADICTIONS = """
SELECT {place}, {shown} FROM {stage} AS s JOIN {table} AS t ON {match}
WHERE {complete} AND ({same}) IS NOT TRUE ORDER BY 1
"""
_SHARED = """
SELECT {place}, {shown} FROM {stage} AS s JOIN {stage} AS t ON {match}
WHERE {complete} AND {complete_other} AND t.{name} < {place} ORDER BY 1
"""


@dataclass(frozen=True, kw_only=True)
class SliceDecisions(ABC):
    """Rejects or ignores records of a slice, which then leave the staging, and counts them."""

    doubled: ClassVar[str]
    """The condition for the records whose key another one has that is kept, or for all records with such a key."""
    missing: ClassVar[str]
    """The condition for the records that the table lacks."""
    stage: str
    merge: Merge
    rejects: SliceRejects
    numbers: Counter[str] = field(default_factory=Counter)

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the table."""

    @property
    @abstractmethod
    def table(self) -> str:
        """The table in SQL."""

    @abstractmethod
    def rows(self, query: str) -> Sequence[Sequence[Any]]:
        """The rows of a query."""

    @abstractmethod
    def shown(self, alias: str, column: str) -> str:
        """A column as text, in SQL."""

    @abstractmethod
    def remove(self, condition: str) -> int:
        """Remove the records that meet a condition. Returns their number."""

    @abstractmethod
    def remove_places(self, places: Sequence[int]) -> None:
        """Remove the records at these places."""

    @abstractmethod
    def reject(self, condition: str, key: Key, code: str, message: str) -> int:
        """Reject the records that meet a condition. Returns their number. The message follows the key, if there is
        one."""

    def reject_outside(self, key: Key) -> None:
        """Reject the records that do not belong to the part of the table that is replaced."""
        merge = self.merge
        if not merge.records:
            return
        none = replace(key, columns=())
        self.reject(f"({merge.records}) IS NOT TRUE", none, "OUTSIDE_PART", OUTSIDE.format(name=self.name))
        if key.columns:
            found = self._filled(_FOUND_OUTSIDE, key, part=merge.rows)
            self.reject(found, key, "OUTSIDE_PART", FOUND_OUTSIDE.format(name=self.name))

    def check_replaced(self) -> bool:
        """Check that a replacement has records. Returns whether some were rejected. Raises TargetRefused."""
        faults = self.rejects.faults
        if len(faults) and not self.numbers["inserted"] + self.numbers["updated"] + self.numbers["unchanged"]:
            raise TargetRefused(all_rejected(self.name, faults))
        return bool(len(faults))

    def remove_doubles(self, key: Key) -> None:
        """Remove the records whose key occurs several times, but for those that count."""
        if not key.columns or not self.rows(self._filled(_HAS_DOUBLES, key, key=key.of("s")))[0][0]:
            return
        doubles = self.merge.doubles
        order = f" ORDER BY {COLUMN}{' DESC' if doubles is Doubles.UPDATE else ''}"
        rank = f"row_number() OVER (PARTITION BY {key.of('s')}{order})"
        if doubles is Doubles.REJECT_ALL:
            rank = f"count(*) OVER (PARTITION BY {key.of('s')})"
        condition = self._filled(self.doubled, key, rank=rank)
        if doubles in (Doubles.UPDATE, Doubles.IGNORE):
            number = self.remove(condition)
            self.numbers["ignored_doubles"] += number
        else:
            which = "only the first one counts" if doubles is Doubles.REJECT else "none of them counts"
            number = self.reject(condition, key, "DOUBLE", f"occurs several times in the source, and {which}")
        self.numbers["doubles"] += number

    def remove_settled(self, key: Key) -> None:
        """Remove the records that are not written because of what the table has."""
        merge = self.merge
        if merge.second_key and key.columns == merge.key:
            self._reject_contradictions(key)
        if merge.duplicates is Duplicates.REJECT:
            number = self.reject(self._filled(_FOUND, key), key, "DUPLICATE", f"is in table {self.name} already")
            self.numbers["duplicates"] += number
        elif merge.duplicates is Duplicates.IGNORE:
            number = self.remove(self._filled(_FOUND, key))
            self.numbers["duplicates"] += number
            self.numbers["unchanged"] += number
        if merge.operation in (Operation.UPDATE, Operation.RECONCILE_ONLY):
            missing = self._filled(self.missing, key, mark=key.mark)
            self.reject(missing, key, "NOT_FOUND", f"is not in table {self.name}")

    def count(self, total: int, *, inserted: int, updated: int, deleted: int) -> None:
        """Count so many records, of which some have changed rows of the table."""
        deletes = self.merge.operation is Operation.DELETE
        self.numbers.update(
            inserted=inserted,
            updated=updated,
            deleted=deleted,
            unchanged=total - inserted - updated - deleted,
            duplicates=deleted if deletes else total - inserted,
        )

    def _reject_contradictions(self, key: Key) -> None:
        """Reject the records with both keys that belong to different rows."""
        second = Key(columns=self.merge.second_key)
        parts = {
            "place": COLUMN,
            "name": quoted(PLACE),
            "stage": self.stage,
            "table": self.table,
            "shown": ", ".join((key.shown("s", self.shown), second.shown("s", self.shown), key.shown("t", self.shown))),
            "match": second.equal(),
            "complete": f"{key.complete} AND {given(second.columns, 's')}",
            "complete_other": given(key.columns, "t"),
            "same": key.equal(),
        }
        size, both = len(key.columns), len(key.columns) + len(second.columns)
        for where, query in {"in the table": _CONTRADICTIONS, "in an earlier record": _SHARED}.items():
            told: dict[int, str] = {}
            for place, *values in self.rows(query.format(**parts)):
                own, shared, other = values[:size], values[size:both], values[both:]
                told.setdefault(
                    place,
                    f"{key.said(own)} and {second.said(shared)} do not belong together: {where}, the latter belongs to "
                    f"{key.said(other)}",
                )
            if told:
                self.rejects.add(list(told), "KEYS_DISAGREE", list(told.values()))
                self.remove_places(list(told))

    def _filled(self, text: str, by: Key, /, **words: str) -> str:
        return text.format(
            place=COLUMN,
            stage=self.stage,
            table=self.table,
            match=by.equal(),
            complete=by.complete,
            present=by.present,
            **words,
        )
