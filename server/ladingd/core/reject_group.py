"""Groups of rejects: those with one column, one code and one form of the value are one problem."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ladingd.core.job import Connector, Reject, RejectType

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOWN = 3
"""How many places and values a group shows."""
OTHERS = "…"
"""The pattern of values whose own patterns are too many to tell apart."""
_ID_LENGTH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a record is: the file, and the line it starts on."""

    file: str
    line: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectGroup:
    """Rejects that are one problem. The ``pattern`` is the value with ``9`` for digits and ``a`` for letters."""

    type: RejectType
    connector: Connector
    column: str
    code: str
    pattern: str
    count: int
    places: tuple[Place, ...]
    """The first ones, at most SHOWN."""
    values: tuple[str, ...]
    """Different values, at most SHOWN."""
    message: str
    """That of the first one."""

    @property
    def id(self) -> str:
        """The name of the group: the same in every chunk, and in every job with this problem."""
        facts = "\0".join((self.type, self.column, self.code, self.pattern))
        return hashlib.sha256(facts.encode()).hexdigest()[:_ID_LENGTH]


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectFilter:
    """Which rejects are wanted. An empty field does not matter."""

    group: str = ""
    column: str = ""
    code: str = ""

    @property
    def is_open(self) -> bool:
        """Whether all rejects are wanted."""
        return not (self.group or self.column or self.code)

    def takes(self, found: Reject | RejectGroup) -> bool:
        """Whether a reject, or the rejects of a group, are wanted."""
        group = found.id if isinstance(found, RejectGroup) else found.group
        pairs = ((self.group, group), (self.column, found.column), (self.code, found.code))
        return all(wanted in ("", there) for wanted, there in pairs)


ALL_REJECTS = RejectFilter()


def joined(groups: Iterable[RejectGroup]) -> tuple[RejectGroup, ...]:
    """The groups of several chunks, in the order of the source, as those of all of them: the greatest first."""
    found: dict[str, RejectGroup] = {}
    for group in groups:
        earlier = found.get(group.id)
        found[group.id] = group if earlier is None else _sum(earlier, group)
    return tuple(sorted(found.values(), key=lambda group: -group.count))


def _sum(earlier: RejectGroup, later: RejectGroup) -> RejectGroup:
    return replace(
        earlier,
        count=earlier.count + later.count,
        places=(earlier.places + later.places)[:SHOWN],
        values=tuple(dict.fromkeys(earlier.values + later.values))[:SHOWN],
    )
