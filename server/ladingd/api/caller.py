"""The caller of the current call, and what the call does with jobs."""

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
    """Who calls, and which acts the call performs on jobs."""

    principal: Principal
    acts: Set[Act]

    def check(self, job: Job) -> None:
        """Raises JobNotFound or PermissionDenied if the caller may not do this with the job."""
        if not self.acts:
            raise RuntimeError("the table of methods has no act for a method that deals with jobs")
        for act in sorted(self.acts):
            self.principal.require_act(act, job)


caller: ContextVar[Caller] = ContextVar("caller")
"""The access interceptor sets it for every handler."""
