"""Makes certificates for tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc
import trustme

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A certificate with its chain, and its key; both in PEM."""

    chain: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write both to files atomically. Returns their paths."""
        paths = folder / f"{name}.pem", folder / f"{name}.key"
        for path, content in zip(paths, (self.chain, self.key), strict=True):
            fresh = path.with_suffix(".new")
            fresh.write_bytes(content)
            fresh.rename(path)
        return paths


class Authority:
    """Signs certificates, valid or expired."""

    def __init__(self) -> None:
        self._authority = trustme.CA()

    @property
    def certificate(self) -> bytes:
        """The certificate to trust."""
        return self._authority.cert_pem.bytes()

    @property
    def itself(self) -> Pair:
        """The authority's own, self-signed certificate."""
        return Pair(chain=self.certificate, key=self._authority.private_key_pem.bytes())

    def issue(self, *names: str, common_name: str | None = None, expired: bool = False, early: bool = False) -> Pair:
        """Issue a certificate for these hosts, or for a client with this common name. ``early``: valid from tomorrow
        on."""
        now = datetime.now(UTC)
        end = now - timedelta(minutes=5) if expired else now + timedelta(days=9) if early else None
        begin = now + timedelta(days=1) if early else None
        issued = self._authority.issue_cert(*names, common_name=common_name, not_before=begin, not_after=end)
        chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
        return Pair(chain=chain, key=issued.private_key_pem.bytes())


def secure_channel(
    address: str, *, trusted: Authority, client: Pair | None = None, server_name: str = ""
) -> grpc.aio.Channel:
    """A channel with TLS that trusts one authority. Each channel has its own connection."""
    credentials = grpc.ssl_channel_credentials(
        trusted.certificate, client.key if client else None, client.chain if client else None
    )
    options: list[tuple[str, object]] = [("grpc.use_local_subchannel_pool", 1)]
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    return grpc.aio.secure_channel(address, credentials, options=options)
