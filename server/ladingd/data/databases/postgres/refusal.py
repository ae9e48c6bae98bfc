"""The server's reasons for refusing a record."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ladingd.core.job import Connector
from ladingd.data.rejects.fault import Fault, Faults
from ladingd.data.values.casting import VALUE_CAP, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg

    from ladingd.data.mapping.batch import Batch

_CODES = {
    "23502": "NOT_NULL",
    "23503": "FOREIGN_KEY",
    "23505": "UNIQUE",
    "23514": "CHECK",
    "23P01": "EXCLUSION",
    "22001": "TOO_LONG",
    "22003": "OUT_OF_RANGE",
    "22008": "OUT_OF_RANGE",
    "22P05": "NOT_IN_ENCODING",
    "42501": "POLICY",
    "P0001": "TRIGGER",
    "54000": "TOO_LONG",
    "IGNORED": "IGNORED_BY_TRIGGER",
}
IGNORED = "IGNORED"
"""Our state of a record that a trigger skipped silently. The server has no SQLSTATE for it."""
POLICY = "42501"
"""The state of a record that a policy refuses. The server also uses it for a missing privilege."""
# Data and integrity errors, checks of views, errors raised by triggers, and values that are too long for an index.
BLAMED = ("22", "23", "44", "P0", "54000")


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why a row of a batch is refused. ``columns`` are the target's columns that caused it; empty for the whole
    record."""

    row: int
    state: str
    message: str
    columns: tuple[str, ...] = ()
    constraint: str = ""

    def fault(self, batch: Batch, places: Mapping[str, int]) -> Fault:
        """The fault of the row. ``places`` are the positions of columns in the batch."""
        known = [places[name] for name in self.columns if name in places]
        values = [_shown(batch.records.column(place)[self.row]) for place in known]
        columns = [batch.plan.columns[place] for place in known]
        message = self.message
        if self.constraint and len(known) > 1:
            names = ", ".join(column.target for column in columns)
            message = f"{message}: ({names}) = ({', '.join(values)})"
        alone = len(self.columns) == 1 == len(known)
        return Fault(
            index=int(batch.indexes[self.row]),
            code=code(self.state),
            message=message,
            column=columns[0].source if alone else "",
            value=values[0] if alone else "",
            connector=Connector.DATABASE,
        )


def faults_of(refusals: Sequence[Refusal], batch: Batch, places: Mapping[str, int]) -> Faults:
    """The faults of refused rows. Refusals of whole records, which triggers may cause in masses, are converted
    together."""
    whole = [refusal for refusal in refusals if not refusal.columns]
    codes = {state: code(state) for state in {refusal.state for refusal in whole}}
    told = Faults.alike(
        batch.indexes[[refusal.row for refusal in whole]],
        code=pa.array([codes[refusal.state] for refusal in whole], pa.string()),
        message=pa.array([refusal.message for refusal in whole], pa.string()),
        connector=Connector.DATABASE,
    )
    return told + Faults.of([refusal.fault(batch, places) for refusal in refusals if refusal.columns])


def blames_record(error: psycopg.Error) -> bool:
    """Whether a record caused the error, rather than the table, the account or the server."""
    return (error.sqlstate or "").startswith(BLAMED)


def columns_of(state: str, detail: str, column: str) -> tuple[str, ...]:
    """The columns that caused an error, from the server's message."""
    if column:
        return (column,)
    told = re.search(r"\(([^()]+)\)=\(", detail)
    return tuple(told[1].split(", ")) if told and state in ("23505", "23503") else ()


def code(state: str) -> str:
    """The code of a reject for an SQLSTATE."""
    return _CODES.get(state) or ("INVALID_VALUE" if state.startswith("22") else "CONSTRAINT")


def _shown(value: pa.Scalar) -> str:
    plain: Any = value.as_py()
    match plain:
        case None:
            return ""
        case bool():
            return str(plain).lower()
        case bytes():
            return shorten(plain.hex().encode(), VALUE_CAP)
        case datetime():
            return plain.isoformat(" ")
        case date():
            return plain.isoformat()
        case _:
            return shorten(str(plain).encode(), VALUE_CAP)
