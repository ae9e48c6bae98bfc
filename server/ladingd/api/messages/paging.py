"""Fits the pages of a list into messages. Makes and reads the journal's page tokens."""

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
"""The default limit of gRPC clients."""
MAX_REJECT_BYTES = 64 << 20
"""A reject carries its whole record: 16 MiB, each byte of which may have become the 3 bytes of U+FFFD, plus the
rest."""

_SEQUENCES = range(1 << 63)


async def fitting(read: Callable[[int], Awaitable[M]], size: int) -> M:
    """The page that ``read`` returns for ``size`` items, or for fewer if it would not fit into one message."""
    page = await read(size)
    while size > 1 and page.ByteSize() > MAX_MESSAGE_BYTES:
        # Items differ in size: take half of what would fit if all were equal.
        size = max(1, size * MAX_MESSAGE_BYTES // (2 * page.ByteSize()))
        page = await read(size)
    return page


def journal_token(job_id: str, sequence: int) -> str:
    """The token of the page that starts after this sequence number."""
    return base64.urlsafe_b64encode(f"{job_id}/{sequence}".encode()).decode()


def sequence_in(token: str, job_id: str) -> int:
    """The sequence number in a token of this job's journal; 0 for an empty token. Raises InvalidRequest."""
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


def name_token(name: tuple[str, str]) -> str:
    """The token of the page that starts after a schema and a table."""
    return base64.urlsafe_b64encode("\0".join(name).encode()).decode()


def name_in(token: str) -> tuple[str, str]:
    """The schema and the table in a token; those before all others for an empty token. Raises InvalidRequest."""
    if not token:
        return "", ""
    try:
        schema, _, name = base64.b64decode(token, altchars=b"-_", validate=True).decode().partition("\0")
    except (binascii.Error, ValueError) as error:
        raise _foreign() from error
    if not name:
        raise _foreign()
    return schema, name


def _foreign() -> InvalidRequest:
    return InvalidRequest("page_token", "was not issued by this list; leave it out to start from the beginning")
