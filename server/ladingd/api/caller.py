"""Who makes the call that is being handled."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ladingd.core.access import Principal

caller: ContextVar[Principal] = ContextVar("caller")
"""Set by the doorkeeper for all that is behind it."""
