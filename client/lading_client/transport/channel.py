"""The connection to a daemon: encrypted over TCP, plain on a Unix socket, with the token on every call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from lading_client.errors import BadCredentials
from lading_client.transport.address import is_socket, target_of
from lading_client.transport.credentials import Tls, check, checked_token, pem

if TYPE_CHECKING:
    from collections.abc import Sequence

OPTIONS: Sequence[tuple[str, Any]] = (
    # The daemon allows a ping every 30 s; more often it would hang up.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # In spite of its name: how long one attempt may take. Three ways across an ocean and back are 0.5 s.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A page of rejects holds whole records.
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.absolute_max_metadata_size", 64 << 10),
    ("grpc.max_metadata_size", 64 << 10),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


def open_channel(address: str, *, token: str | None, tls: Tls | None) -> grpc.aio.Channel:
    """A channel that connects when it is first used. Raises BadAddress and BadCredentials."""
    target = target_of(address)
    options = list(OPTIONS)
    if is_socket(address):
        if tls is not None:
            raise BadCredentials(f"{address} is a Unix socket: there is no TLS on it")
        if token is None:
            return grpc.aio.insecure_channel(target, options=options)
        # Nobody else can listen: gRPC gives a token to such a connection.
        connection = grpc.local_channel_credentials(grpc.LocalConnectionType.UDS)
    else:
        connection = _encrypted(tls or Tls())
        if tls is not None and tls.server_name:
            options.append(("grpc.ssl_target_name_override", tls.server_name))
    if token is not None:
        caller = grpc.access_token_call_credentials(checked_token(token))
        connection = grpc.composite_channel_credentials(connection, caller)
    return grpc.aio.secure_channel(target, connection, options=options)


def _encrypted(tls: Tls) -> grpc.ChannelCredentials:
    if (tls.certificate is None) is not (tls.key is None):
        given, lacking = ("certificate", "key") if tls.key is None else ("key", "certificate")
        raise BadCredentials(f"there is a {given} without a {lacking}: a certificate needs its key", setting=lacking)
    files = {
        "root_certificates": pem(tls.ca, "ca"),
        "private_key": pem(tls.key, "key"),
        "certificate_chain": pem(tls.certificate, "certificate"),
    }
    if any(files.values()):
        check(tls)
    return grpc.ssl_channel_credentials(**files)
