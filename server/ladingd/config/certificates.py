"""Whether the files of TLS can be used: they are there, belong together, and hold today."""

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
"""So long before its end a certificate is worth a warning."""

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
    """All that is wrong. What cannot be read is not looked at further."""
    unreadable = False
    for key in ("certificate", "key", "client_ca"):
        path: Path | None = getattr(tls, key)
        if path is None:
            continue
        try:
            content = path.read_bytes()
        except OSError as error:
            unreadable = True
            message = f"{path} cannot be read: {error.strerror}; the daemon's user has to be able to read it"
            yield Fault(severity=Severity.ERROR, key=key, message=message)
            continue
        if key != "key":
            yield from _of_certificates(key, path, content, now)
        elif path.stat().st_mode & 0o007:
            message = f"everybody on this machine may use {path}: chmod 640 it"
            yield Fault(severity=Severity.WARNING, key=key, message=message)
    if not unreadable:
        yield from _of_pair(tls.certificate, tls.key)


def _of_certificates(key: str, path: Path, content: bytes, now: datetime) -> Iterator[Fault]:
    found = _PEM.findall(content.decode("ascii", "replace"))
    if not found:
        message = f"{path} holds no certificate in PEM: it has no BEGIN CERTIFICATE"
        yield Fault(severity=Severity.ERROR, key=key, message=message)
    for pem in found:
        try:
            begin, end = validity(ssl.PEM_cert_to_DER_cert(pem))
        except (ValueError, IndexError):
            yield Fault(severity=Severity.ERROR, key=key, message=f"{path} holds a certificate that is damaged")
            continue
        if now >= end:
            message = (
                f"the certificate in {path} has expired on {end:%Y-%m-%d %H:%M} UTC, so clients refuse to connect:"
                " put a new one there"
            )
        elif now < begin:
            message = (
                f"the certificate in {path} holds only from {begin:%Y-%m-%d %H:%M} UTC on, and now it is "
                f"{now:%Y-%m-%d %H:%M} UTC: is the clock right?"
            )
        elif now >= end - SOON:
            message = f"the certificate in {path} expires on {end:%Y-%m-%d %H:%M} UTC: put a new one there before"
        else:
            continue
        # No error: the Unix socket and the jobs need no certificate, and a new one is taken when it is there.
        yield Fault(severity=Severity.WARNING, key=key, message=message)


def _of_pair(certificate: Path, key: Path) -> Iterator[Fault]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # An empty password: otherwise it would be asked for at the terminal.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:
        reason = getattr(error, "reason", None)
        if reason == _KEY_VALUES_MISMATCH:
            message = f"{key} is not the key of {certificate}: put both there again, from one order"
        else:
            message = (
                f"{certificate} and {key} are no certificate with its key, unencrypted, in PEM "
                f"({reason or error.strerror or 'unreadable'})"
            )
        yield Fault(severity=Severity.ERROR, key="key", message=message)


def validity(certificate: bytes) -> tuple[datetime, datetime]:
    """From when to when a certificate in DER holds (RFC 5280, 4.1). Raises ValueError or IndexError for what is none.

    The standard library tells it only of certificates that came over a connection and were found good.
    """
    ((_, whole),) = list(_elements(certificate))
    _, signed = next(_elements(whole))
    fields = [element for element in _elements(signed) if element[0] != _VERSION]
    # Serial number, algorithm, issuer, validity.
    begin, end = (_time(tag, content) for tag, content in _elements(fields[3][1]))
    return begin, end


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements that stand one after the other: tag and content."""
    position = 0
    while position < len(content):
        tag, length = content[position], content[position + 1]
        position += 2
        if length & 0x80:  # The length has so many bytes of its own.
            more = length & 0x7F
            length = int.from_bytes(content[position : position + more])
            position += more
        if position + length > len(content):
            raise ValueError("an element is longer than what holds it")
        yield tag, content[position : position + length]
        position += length


def _time(tag: int, content: bytes) -> datetime:
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(content.decode("ascii"), form).replace(tzinfo=UTC)
