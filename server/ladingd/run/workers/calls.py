"""Errors that nobody foresaw."""

from __future__ import annotations

import logging
import secrets

from ladingd.core.errors import LadingError

log = logging.getLogger(__name__)


def internal_error(job_id: str, error: BaseException) -> LadingError:
    """Write it to the log whole, and give it an id to tell people: its text may hold secrets."""
    error_id = secrets.token_hex(4)
    log.error(
        "jobs/%s met with a defect, id %s", job_id, error_id, exc_info=error, extra={"fields": {"error_id": error_id}}
    )
    return LadingError(f"internal error, id {error_id}: the daemon's log says more")
