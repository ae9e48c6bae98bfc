"""The rejected records of a slice, in columns: all of its records may be rejected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ladingd.core.job import Connector
from ladingd.core.plan import Column
from ladingd.data.rejects.fault import Faults
from ladingd.data.rejects.lines import shortened
from ladingd.data.values.casting import VALUE_CAP

OUTSIDE = "does not belong to the part of table {name} that is replaced"
FOUND_OUTSIDE = "is in table {name} already, outside of the part that is replaced"


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceRejects:
    """Collects the rejects of a slice. Their indexes are places, see `staging.places`."""

    columns: Sequence[Column]
    """The columns of the plan."""
    _parts: list[Faults] = field(default_factory=list)

    def add(
        self,
        places: Sequence[int],
        code: str,
        messages: Sequence[str],
        column: str = "",
        values: Sequence[str | None] = (),
    ) -> None:
        """Reject the records at these places. ``column`` is the column of the table that caused it, if it is one, and
        ``values`` are its fields as text."""
        source = next((each.source for each in self.columns if each.target == column), "")
        told = shortened(pa.array([value or "" for value in values], pa.string()), VALUE_CAP) if source else ""
        self._parts.append(
            Faults.alike(
                np.array(places, np.int64),
                code=code,
                message=pa.array(messages, pa.string()),
                column=source,
                value=told,
                connector=Connector.DATABASE,
            )
        )

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @contextmanager
    def undone(self, *errors: type[BaseException]) -> Iterator[None]:
        """Forget what is added within the block if one of these errors ends it, and raise it."""
        before = len(self._parts)
        try:
            yield
        except errors:
            del self._parts[before:]
            raise

    @property
    def faults(self) -> Faults:
        """All of them."""
        return Faults.joined(self._parts)


def all_rejected(table: str, faults: Faults) -> str:
    """The message of a replacement whose records were all rejected."""
    return (
        f"all {len(faults):,} records were rejected, so table {table} was left as it is; the first one: "
        f"{faults.field('message')[0]}"
    )


def undeletable(table: str, reason: object) -> str:
    """The message of a replacement that cannot delete the rows without a record."""
    return f"rows of table {table} that no record replaces cannot be deleted, so it was left as it is: {reason}"


def changes_keys(table: str) -> str:
    """The message of a replacement whose new rows cannot be told from those that are replaced."""
    return (
        f"a trigger of table {table} changes the key of new rows, so those that no record replaces cannot be found, "
        f"and it was left as it is; drop the trigger, or write the key in the file as the trigger does"
    )
