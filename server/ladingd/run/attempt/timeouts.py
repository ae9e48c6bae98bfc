"""How long a job waits for what may never come."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """All in seconds. The graces are those of what is in flight when a job is to stop, ``target`` is that with a
    target that cannot be reached; 0 means not to try again."""

    pause_grace: float
    cancel_grace: float
    target: float
