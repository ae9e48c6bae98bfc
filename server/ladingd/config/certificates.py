"""Checks the files of TLS: they exist, belong together, and are valid today."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ladingd.config.finding import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ladingd.config.settings import TlsSettings

SOON = timedelta(days=21)
"""How long before its expiry a certificate gets a warning."""

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY_VALUES_MISMATCH = "KEY_VALUES_MISMATCH"
_VERSION, _UTC_TIME = 0xA0, 0x17


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is wrong with one of the files. ``key`` is its key in the table."""

    severity: Severity
    key: str
    message: str


def faults(tls: TlsSettings, now: datetime) -> Iterator[Fault]:
    """All faults. A file that cannot be read is not checked further."""
    unreadable = False
    for key in ("certificate", "key", "client_ca"):
        path: Path | None = getattr(tls, key)
        if path is None:
            continue
        try:
            content = path.read_bytes()
        except OSError as error:
            unreadable = True
            message = f"{path} cannot be read: {error.strerror}; let the daemon's user read it"
            yield Fault(severity=Severity.ERROR, key=key, message=message)
            continue
        if key != "key":
            yield from _of_certificates(key, path, content, now)
        elif path.stat().st_mode & 0o007:
            message = f"everybody on this machine may use {path}; to change that: chmod 640 {path}"
            yield Fault(severity=Severity.WARNING, key=key, message=message)
    if not unreadable:
        yield from _of_pair(tls.certificate, tls.key)


def _of_certificates(key: str, path: Path, content: bytes, now: datetime) -> Iterator[Fault]:
    found = _PEM.findall(content.decode("ascii", "replace"))
    if not found:
        message = f"{path} holds no PEM certificate: it has no BEGIN CERTIFICATE"
        yield Fault(severity=Severity.ERROR, key=key, message=message)
    for pem in found:
        try:
            begin, end = validity(ssl.PEM_cert_to_DER_cert(pem))
        except (ValueError, IndexError):
            yield Fault(severity=Severity.ERROR, key=key, message=f"{path} holds a damaged certificate")
            continue
        if now >= end:
            message = (
                f"the certificate in {path} expired on {end:%Y-%m-%d %H:%M} UTC, so clients refuse to connect:"
                " replace it"
            )
        elif now < begin:
            message = (
                f"the certificate in {path} is not valid before {begin:%Y-%m-%d %H:%M} UTC, and it is now "
                f"{now:%Y-%m-%d %H:%M} UTC: is the clock right?"
            )
        elif now >= end - SOON:
            message = f"the certificate in {path} expires on {end:%Y-%m-%d %H:%M} UTC: replace it before then"
        else:
            continue
        # Not an error: the Unix socket and the jobs need no certificate, and the daemon reads a new one by itself.
        yield Fault(severity=Severity.WARNING, key=key, message=message)


def _of_pair(certificate: Path, key: Path) -> Iterator[Fault]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password argument, OpenSSL would ask for one at the terminal.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:
        reason = getattr(error, "reason", None)
        if reason == _KEY_VALUES_MISMATCH:
            message = f"{key} is not the key of {certificate}: replace both with a matching pair"
        else:
            message = (
                f"{certificate} and {key} are not a certificate and its unencrypted key in PEM "
                f"({reason or error.strerror or 'unreadable'})"
            )
        yield Fault(severity=Severity.ERROR, key="key", message=message)


def validity(certificate: bytes) -> tuple[datetime, datetime]:
    """The period in which a DER certificate is valid (RFC 5280, 4.1). Raises ValueError or IndexError if it is damaged.

    The standard library gives the period only for a certificate that a connection has verified.
    """
    ((_, whole),) = list(_elements(certificate))
    _, signed = next(_elements(whole))
    fields = [element for element in _elements(signed) if element[0] != _VERSION]
    # Serial number, algorithm, issuer, validity.
    begin, end = (_time(tag, content) for tag, content in _elements(fields[3][1]))
    return begin, end


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The consecutive elements: tag and content."""
    position = 0
    while position < len(content):
        tag, length = content[position], content[position + 1]
        position += 2
        if length & 0x80:  # The other bits give the number of bytes that hold the length.
            more = length & 0x7F
            length = int.from_bytes(content[position : position + more])
            position += more
        if position + length > len(content):
            raise ValueError("an element is longer than its container")
        yield tag, content[position : position + length]
        position += length


def _time(tag: int, content: bytes) -> datetime:
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(content.decode("ascii"), form).replace(tzinfo=UTC)
