"""TCP with TLS, and certificates that are read anew when their files change."""

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
    """An address and what it proves itself with. ``client_ca``: only clients with a certificate of this authority may
    connect. gRPC cannot ask for certificates and do without: hence two addresses where both kinds of clients come.
    """

    address: str
    certificate: Path
    key: Path
    client_ca: Path | None = None

    def open(self, server: grpc.aio.Server) -> int:
        """Listen; the port. Raises OSError, also where the files are of no use."""
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
        """What is in the files. Raises OSError."""
        self._seen = self._signature()
        listener = self._listener
        # First, as an error of these names the file.
        key, chain = listener.key.read_bytes(), listener.certificate.read_bytes()
        authority = listener.client_ca.read_bytes() if listener.client_ca else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # An empty password: otherwise it would be asked for at the terminal.
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
        """What is in the files where it is another than before; None goes on with what there was.

        gRPC asks before each connection, in threads of its own.
        """
        try:
            if self._signature() == self._seen:
                return None
            read = self.read()
        except OSError as error:
            # Said once for each change; the next change is looked at again.
            _log.error("the certificate stays unchanged: %s", error)
            return None
        _log.info("new certificate from %s", self._listener.certificate)
        return read

    def _signature(self) -> _Signature:
        # The time of the inode: a file that could not be read is looked at again once its rights are others.
        stats = [path.stat() for path in self._paths]
        return tuple((stat.st_ctime_ns, stat.st_size, stat.st_ino) for stat in stats)
