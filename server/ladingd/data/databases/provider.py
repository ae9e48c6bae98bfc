"""Whether a database can be reached, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A database that was reached."""

    server: str
    """What it is and of which version."""
    ahead: float | None = None
    """So many seconds its clock is ahead of ours; None where it has none of its own."""
    reservation: str = ""
    """What will not go well with it all the same."""
