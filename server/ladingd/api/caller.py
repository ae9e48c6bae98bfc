"""Who makes the call that is being handled, and what the call does with jobs."""

from __future__ import annotations

from collections.abc import Set
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ladingd.core.access import Act, Principal

if TYPE_CHECKING:
    from ladingd.core.job import Job


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who calls, and the acts that the call comes to."""

    principal: Principal
    acts: Set[Act]

    def check(self, job: Job) -> None:
        """Raises JobNotFound and PermissionDenied where the caller may not do this with a job."""
        if not self.acts:
            raise RuntimeError("the table of methods has no act for a method that deals with jobs")
        for act in sorted(self.acts):
            self.principal.require_act(act, job)


caller: ContextVar[Caller] = ContextVar("caller")
"""Set by the doorkeeper for all that is behind it."""
