"""`--max-rejects`: how many records may be rejected."""

from __future__ import annotations

import re

from lading_client.cli.arguments.formats import BadOption
from lading_client.spec import RejectLimit

_LIMIT = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<percent>%?)", re.ASCII)


def reject_limit(text: str) -> RejectLimit:
    """``20`` or ``2.5%``. Raises BadOption."""
    if not text:
        return RejectLimit()
    found = _LIMIT.fullmatch(text.strip())
    if found and found["percent"]:
        return RejectLimit(percent=float(found["number"]))
    if found and found["number"].isdigit():
        return RejectLimit(records=int(found["number"]))
    raise BadOption(f"--max-rejects {text}: write a number of records, as in 100, or a part of them, as in 2.5%")
