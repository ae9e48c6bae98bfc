"""Who calls, and whom a caller trusts: tokens and TLS."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from lading_client.errors import BadCredentials


@dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """Files in PEM. ``ca`` signs the daemon's certificate; without it, the well-known authorities count.

    ``certificate`` and ``key`` are the client's own, where the daemon asks for one. ``server_name`` is the name in
    the daemon's certificate, where it is not the one of the address.
    """

    ca: str | PathLike[str] | None = None
    certificate: str | PathLike[str] | None = None
    key: str | PathLike[str] | None = None
    server_name: str | None = None


def pem(path: str | PathLike[str] | None) -> bytes | None:
    """What the file holds. Raises BadCredentials."""
    if path is None:
        return None
    content = _content(path)
    if b"-----BEGIN " not in content:
        raise BadCredentials(f"{path} is no file in PEM")
    return content


def token_in(path: str | PathLike[str]) -> str:
    """The token that the file holds. Raises BadCredentials."""
    return checked_token(_content(path).decode(errors="replace"))


def _content(path: str | PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadCredentials(f"{path} cannot be read: {error.strerror}") from error


def checked_token(text: str) -> str:
    """The token without the line end that files have. Raises BadCredentials, and never shows what was given."""
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise BadCredentials("the token is empty, or has characters that no token has")
    return token
