"""What an import would do, shown without a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ladingd.core.job import Reject
from ladingd.core.plan import ImportPlan

RECORDS = 20
"""How many records a preview shows if the caller does not say."""
MOST_RECORDS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewedRecord:
    """A record as the import would read it."""

    line: int
    """The line it starts on; 0 if the format has no lines."""
    values: Sequence[str | None]
    """The values as text, in the order of the plan's columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """A plan, and the first records of the file as the plan reads them. The table is not asked about the records."""

    plan: ImportPlan
    records: Sequence[PreviewedRecord] = ()
    rejects: Sequence[Reject] = ()
    """The first records that would be rejected, and warnings about others."""
    read: int = 0
    """How many records were looked at."""
    rejected: int = 0
    """How many of them would be rejected."""
    filtered: int = 0
    """How many of them would be left out on purpose."""
    whole: bool = False
    """The file has no other records."""
    unused_fields: Sequence[str] = ()
    """The columns of the file that fill no column and are in no expression."""
    unused_columns: Sequence[str] = ()
    """The columns of the existing table that nothing fills."""
