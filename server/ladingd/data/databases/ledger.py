"""How counts are kept in a ledger: a JSON object without the zeros."""

from __future__ import annotations

import json
from dataclasses import asdict

from ladingd.core.bill import Counts


def encode_counts(counts: Counts) -> str:
    """Counts as they are kept."""
    return json.dumps({name: number for name, number in asdict(counts).items() if number})


def decode_counts(text: str) -> Counts:
    """Counts as they were kept."""
    return Counts(**json.loads(text))
