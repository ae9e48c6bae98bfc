"""TCP with TLS. Certificates are read again when their files change."""

from __future__ import annotations

import errno
import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

_log = logging.getLogger(__name__)

_Signature = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """An address and its certificate. ``client_ca``: only clients with a certificate of this authority may connect. In
    gRPC a client certificate cannot be optional: clients with and without one need two addresses."""

    address: str
    certificate: Path
    key: Path
    client_ca: Path | None = None

    def open(self, server: grpc.aio.Server) -> int:
        """Listen, and return the port. Raises OSError, also if the files are unusable."""
        files = _Files(self)
        credentials = grpc.dynamic_ssl_server_credentials(
            files.read(),
            files.changed,  # type: ignore[arg-type]
            require_client_authentication=self.client_ca is not None,
        )
        try:
            port: int = server.add_secure_port(self.address, credentials)
        except RuntimeError as error:
            raise OSError(errno.EADDRNOTAVAIL, "cannot listen on this address", self.address) from error
        return port


class _Files:
    """The certificates of a listener."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._paths = [listener.certificate, listener.key, *([listener.client_ca] if listener.client_ca else [])]
        self._seen: _Signature | None = None

    def read(self) -> grpc.ServerCertificateConfiguration:
        """The configuration from the files. Raises OSError."""
        self._seen = self._signature()
        listener = self._listener
        # Read the files first: an error names the file.
        key, chain = listener.key.read_bytes(), listener.certificate.read_bytes()
        authority = listener.client_ca.read_bytes() if listener.client_ca else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # Without this empty password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(listener.certificate, listener.key, password="")
            if listener.client_ca is not None:
                context.load_verify_locations(listener.client_ca)
        except ssl.SSLError as error:
            problem = f"not a certificate with its unencrypted key in PEM ({error.reason})"
            raise OSError(errno.EINVAL, problem, str(listener.certificate)) from error
        if self._signature() != self._seen:
            raise OSError(errno.EAGAIN, "is being changed right now", str(listener.certificate))
        return grpc.ssl_server_certificate_configuration([(key, chain)], authority)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration if the files have changed; None keeps the old one.

        gRPC calls this before each connection, in its own threads.
        """
        try:
            if self._signature() == self._seen:
                return None
            read = self.read()
        except OSError as error:
            # Logged once for each change: the files are read again only after the next change.
            _log.error("the certificate stays unchanged: %s", error)
            return None
        _log.info("new certificate from %s", self._listener.certificate)
        return read

    def _signature(self) -> _Signature:
        # The ctime changes with the permissions too: a file that was unreadable is read again.
        stats = [path.stat() for path in self._paths]
        return tuple((stat.st_ctime_ns, stat.st_size, stat.st_ino) for stat in stats)
