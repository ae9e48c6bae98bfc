"""Errors that nobody foresaw: the log has all of it, callers learn only an id."""

from __future__ import annotations

import logging
import secrets

_log = logging.getLogger(__name__)


def record_internal_error(error: BaseException, where: str, **fields: str) -> str:
    """Log the error with its traceback and return its id. Its text may hold secrets, so show callers only the id."""
    error_id = secrets.token_hex(4)
    _log.error(
        "internal error, id %s, in %s",
        error_id,
        where,
        exc_info=error,
        extra={"fields": {"error_id": error_id, **fields}},
    )
    return error_id
