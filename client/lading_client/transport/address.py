"""The address of a daemon: `unix:/path`, or `host:port` for TLS."""

from __future__ import annotations

import os

from lading_client.errors import BadAddress

_LONGEST_SOCKET_PATH = 107
"""Bytes, on Linux. macOS allows four fewer and reports the error itself."""


def is_socket(address: str) -> bool:
    """Whether it is the address of a Unix socket of this machine."""
    return address.startswith("unix:")


def target_of(address: str) -> str:
    """The address in gRPC's notation. Raises BadAddress."""
    if is_socket(address):
        return f"unix:{_socket_path(address)}"
    host, colon, port = address.rpartition(":")
    if not colon or not host:
        raise BadAddress(address, "write unix:/path/to/socket or host:port")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadAddress(address, "the port is a number from 1 to 65535")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise BadAddress(address, "write an IPv6 address in brackets: [::1]:50051")
    return f"dns:///{address}"


def _socket_path(address: str) -> str:
    path = address.removeprefix("unix:")
    if path.startswith("//"):
        path = path.removeprefix("//")
    if not path.startswith("/"):
        raise BadAddress(address, "the path of a Unix socket is absolute")
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise BadAddress(address, f"the path of a Unix socket has at most {_LONGEST_SOCKET_PATH} bytes")
    return path
