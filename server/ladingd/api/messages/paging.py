"""Pages of a list: as many items as a message can hold, and the journal's page tokens."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, TypeVar

from ladingd.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message

    M = TypeVar("M", bound=Message)

MAX_MESSAGE_BYTES = 4 << 20
"""What a gRPC client takes unless it is told otherwise."""
MAX_REJECT_BYTES = 64 << 20
"""A reject is whole: a record of 16 MiB, of which each byte may have become the three of U+FFFD, and some."""

_SEQUENCES = range(1 << 63)


async def fitting(read: Callable[[int], Awaitable[M]], size: int) -> M:
    """The page that ``read`` makes of at most so many items, of fewer where it would not fit into one message."""
    page = await read(size)
    while size > 1 and page.ByteSize() > MAX_MESSAGE_BYTES:
        # Half of what would fit if all items were alike, since they are not.
        size = max(1, size * MAX_MESSAGE_BYTES // (2 * page.ByteSize()))
        page = await read(size)
    return page


def journal_token(job_id: str, sequence: int) -> str:
    """Where the journal of a job goes on: after this sequence number."""
    return base64.urlsafe_b64encode(f"{job_id}/{sequence}".encode()).decode()


def sequence_in(token: str, job_id: str) -> int:
    """The sequence number that a token of this job's journal stands for; 0 for none. Raises InvalidRequest."""
    if not token:
        return 0
    try:
        owner, _, digits = base64.b64decode(token, altchars=b"-_", validate=True).decode("ascii").partition("/")
        sequence = int(digits)
    except (binascii.Error, ValueError) as error:
        raise _foreign() from error
    if owner != job_id or sequence not in _SEQUENCES:
        raise _foreign()
    return sequence


def _foreign() -> InvalidRequest:
    return InvalidRequest("page_token", "was not issued by this list; leave it out to start from the beginning")
