"""Selects and orders jobs."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ladingd.core.job import Job


class Field(StrEnum):
    """The fields of a job to filter and sort by. The values are words of the API."""

    STATE = "state"
    TYPE = "type"
    LABEL = "label"
    OWNER = "owner"
    SHARED = "shared"
    CREATE_TIME = "create_time"
    UPDATE_TIME = "update_time"
    START_TIME = "start_time"
    END_TIME = "end_time"


class Comparison(StrEnum):
    """The comparison of a job's value with the given one. The values are signs of the API."""

    IS = "="
    IS_NOT = "!="
    BEFORE = "<"
    NOT_AFTER = "<="
    AFTER = ">"
    NOT_BEFORE = ">="


TIMES = frozenset({Field.CREATE_TIME, Field.UPDATE_TIME, Field.START_TIME, Field.END_TIME})

_HOLDS: Mapping[Comparison, Callable[[Any, Any], bool]] = MappingProxyType(
    {
        Comparison.BEFORE: operator.lt,
        Comparison.NOT_AFTER: operator.le,
        Comparison.AFTER: operator.gt,
        Comparison.NOT_BEFORE: operator.ge,
    }
)

Value = str | bool | datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """The job's value must be (IS) or must not be (IS_NOT) one of ``values``. A time is compared with a single value.
    ``prefix``: the label must begin with the value."""

    field: Field
    comparison: Comparison
    values: tuple[Value, ...]
    prefix: bool = False

    def holds(self, job: Job) -> bool:
        """Whether the condition holds for a job; False if the job lacks this time."""
        value = value_of(job, self.field)
        if self.field in TIMES:
            return value is not None and _HOLDS[self.comparison](value, self.values[0])
        among = any(str(value).startswith(str(each)) if self.prefix else value == each for each in self.values)
        return among is (self.comparison is Comparison.IS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The jobs for which every condition holds."""

    conditions: tuple[Condition, ...] = ()
    visible_to: str | None = None
    """Only jobs that this principal owns, and shared jobs. None: the jobs of all owners."""

    def holds(self, job: Job) -> bool:
        """Whether the job is selected."""
        if self.visible_to is not None and not job.shared and job.owner != (self.visible_to or None):
            return False
        return all(condition.holds(job) for condition in self.conditions)

    def without(self, *fields: Field) -> Selection:
        """The same selection without the conditions on these fields."""
        return replace(self, conditions=tuple(each for each in self.conditions if each.field not in fields))


EVERY = Selection()


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """The order by a field. Jobs without a value come last. Among equal jobs the newest comes first."""

    field: Field = Field.CREATE_TIME
    descending: bool = True


NEWEST_FIRST = Order()
OLDEST_FIRST = Order(descending=False)
LAST_CHANGED_FIRST = Order(field=Field.UPDATE_TIME)


def value_of(job: Job, field: Field) -> Value | None:
    """The value of a job's field."""
    if field is Field.TYPE:
        return job.spec.kind
    value: Value | None = getattr(job, field.value)
    return value
