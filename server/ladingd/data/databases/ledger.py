"""The common code of all ledgers: the encoding of counts, and the check of the attempt."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from ladingd.core.bill import Counts
from ladingd.core.errors import AttemptSuperseded

if TYPE_CHECKING:
    from collections.abc import Sequence


FORGOTTEN = "the job was discarded, or the connection leads to another database"
"""Why a ledger may not know a job."""


def encode_counts(counts: Counts) -> str:
    """Counts as a JSON object without the zeros."""
    return json.dumps({name: number for name, number in asdict(counts).items() if number})


def decode_counts(text: str) -> Counts:
    """Counts from a JSON object."""
    return Counts(**json.loads(text))


def compare_attempt(found: Sequence[tuple[int]], attempt: int) -> None:
    """Raise AttemptSuperseded unless the ledger's row for the job holds this attempt."""
    if not found or found[0][0] != attempt:
        current = f"attempt {found[0][0]} has begun" if found else FORGOTTEN
        raise AttemptSuperseded(f"attempt {attempt} must not write any more: {current}")
