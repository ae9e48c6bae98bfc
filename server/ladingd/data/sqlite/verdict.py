"""What a table has said of the records that are not in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ladingd.core.job import Connector
from ladingd.data.batch import Batch, Fault
from ladingd.data.cast import VALUE_CAP, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Why a record of a batch is not in its table.

    ``message`` is SQLite's own sentence unless there is a ``code``. ``holder`` is the row of the batch that has the
    same key, where that is known.
    """

    row: int
    message: str
    code: str = ""
    holder: int | None = None


def faults(batch: Batch, table: str, verdicts: Sequence[Verdict]) -> list[Fault]:
    """The same in the words of rejects. The file is read once for all of them."""
    sentences = {verdict.message for verdict in verdicts}
    blamed: dict[str, tuple[str, dict[int, str]]] = {}
    for place, column in enumerate(batch.plan.columns):
        for kind in ("UNIQUE", "NOT NULL"):
            sentence = f"{kind} constraint failed: {table}.{column.target}"
            if sentence in sentences:
                rows = [verdict.row for verdict in verdicts if verdict.message == sentence]
                texts = [shorten(text.encode(), VALUE_CAP) for text in batch.texts(rows, place)]
                blamed[sentence] = column.source, dict(zip(rows, texts, strict=True))
    holders = sorted({verdict.holder for verdict in verdicts if verdict.holder is not None})
    lines = dict(zip(holders, batch.lines(holders), strict=True)) if holders else {}
    found = []
    for verdict in verdicts:
        source, values = blamed.get(verdict.message, ("", {}))
        held = "" if verdict.holder is None else f" (line {lines[verdict.holder]} of the file has the same key)"
        found.append(
            Fault(
                index=int(batch.indexes[verdict.row]),
                code=verdict.code or ("NOT_NULL" if verdict.message.startswith("NOT NULL") else "CONSTRAINT"),
                message=verdict.message + held,
                column=source,
                value=values.get(verdict.row, ""),
                connector=Connector.DATABASE,
            )
        )
    return found
