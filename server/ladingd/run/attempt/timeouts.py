"""How long a job waits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """All in seconds. The graces are for the calls in flight when a job must stop. ``target`` is how long a job tries
    to reach its target; 0: it does not try again."""

    pause_grace: float
    cancel_grace: float
    target: float
