"""Who calls, and whom a caller trusts: tokens and TLS."""

from __future__ import annotations

import os
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from lading_client.errors import BadCredentials


@dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """PEM files. ``ca`` is the authority that signs the daemon's certificate; default: the well-known authorities.

    ``certificate`` and ``key`` are the client's own, if the daemon asks for a certificate. ``server_name`` is the name
    in the daemon's certificate, if it differs from the address.
    """

    ca: str | PathLike[str] | None = None
    certificate: str | PathLike[str] | None = None
    key: str | PathLike[str] | None = None
    server_name: str | None = None


def pem(path: str | PathLike[str] | None, setting: str) -> bytes | None:
    """The content of the PEM file that a field of `Tls` names. Raises BadCredentials."""
    if path is None:
        return None
    content = _content(path, setting)
    if b"-----BEGIN " not in content:
        raise BadCredentials(f"{os.fspath(path)} is not a PEM file", setting=setting)
    return content


def check(tls: Tls) -> None:
    """Check the certificates, and that the key belongs to its certificate. Raises BadCredentials."""
    # Slow to import, and needed only for files.
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca is not None:
        try:
            context.load_verify_locations(tls.ca)
        except ssl.SSLError as error:
            raise BadCredentials(f"{os.fspath(tls.ca)} holds no certificate", setting="ca") from error
    if tls.certificate is None or tls.key is None:
        return
    try:
        # Without a password argument, OpenSSL would ask for one at the terminal.
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except ssl.SSLError as error:
        key, certificate = os.fspath(tls.key), os.fspath(tls.certificate)
        if error.reason == "KEY_VALUES_MISMATCH":
            raise BadCredentials(f"the key {key} does not belong to the certificate {certificate}") from error
        if b"ENCRYPTED" in _content(tls.key, "key"):
            raise BadCredentials(f"the key {key} has a passphrase: use a key without one", setting="key") from error
        raise BadCredentials(f"{certificate} and {key} are not a certificate and its key") from error


def token_in(path: str | PathLike[str]) -> str:
    """The token in a file. Raises BadCredentials."""
    text = _content(path, "token").decode(errors="replace")
    if not text.strip():
        raise BadCredentials(f"the token file {os.fspath(path)} is empty", setting="token")
    try:
        return checked_token(text)
    except BadCredentials as error:
        raise BadCredentials(
            f"the token file {os.fspath(path)} must hold one token and nothing else", setting="token"
        ) from error


def _content(path: str | PathLike[str], setting: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadCredentials(f"{os.fspath(path)} cannot be read: {error.strerror}", setting=setting) from error


def checked_token(text: str) -> str:
    """The token without a trailing line end. Raises BadCredentials, whose message never shows the text."""
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise BadCredentials("the token is empty or has characters that are not allowed in a token", setting="token")
    return token
