"""The transport over gRPC: encrypted over TCP, plain on a Unix socket, with the token on every call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.rpc import status_pb2

from lading.v1 import audit_service_pb2_grpc, file_service_pb2_grpc, job_service_pb2_grpc, table_service_pb2_grpc
from lading_client.errors import BadCredentials, Internal, Unavailable
from lading_client.transport.address import is_socket, target_of
from lading_client.transport.credentials import Tls, check, checked_token, pem
from lading_client.transport.error_mapping import error_from
from lading_client.transport.transport import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from google.protobuf.message import Message

_DETAILS = "grpc-status-details-bin"

OPTIONS: Sequence[tuple[str, Any]] = (
    # The daemon allows a ping every 30 s and closes the connection if pings come more often.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Despite its name, this limits one connection attempt. Three round trips across an ocean take 0.5 s.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A page of rejects contains whole records.
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.absolute_max_metadata_size", 64 << 10),
    ("grpc.max_metadata_size", 64 << 10),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


class GrpcTransport(Transport):
    """The `Transport` of programs. It connects with the first call, and connects again when the connection breaks.

    Raises BadAddress.
    """

    def __init__(self, address: str, *, token: str | None = None, tls: Tls | None = None) -> None:
        target_of(address)
        self._address = address
        self._token = token
        self._tls = tls
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, Any] = {}

    def open(self) -> None:
        self._channel = channel = _open_channel(self._address, token=self._token, tls=self._tls)
        stubs: tuple[Any, ...] = (
            job_service_pb2_grpc.JobServiceStub(channel),  # type: ignore[no-untyped-call]
            file_service_pb2_grpc.FileServiceStub(channel),  # type: ignore[no-untyped-call]
            audit_service_pb2_grpc.AuditServiceStub(channel),  # type: ignore[no-untyped-call]
            table_service_pb2_grpc.TableServiceStub(channel),  # type: ignore[no-untyped-call]
        )
        self._methods = {name: call for stub in stubs for name, call in vars(stub).items()}

    async def close(self) -> None:
        if self._channel is not None:
            channel, self._channel, self._methods = self._channel, None, {}
            await channel.close(grace=None)

    async def unary(self, method: str, request: Message, *, deadline: float, wait_for_ready: bool = False) -> Any:
        try:
            return await self._methods[method](request, timeout=deadline, wait_for_ready=wait_for_ready)
        except grpc.aio.AioRpcError as error:
            raise error_from(status_of(error)) from error

    async def server_stream(self, method: str, request: Message) -> AsyncGenerator[Any, None]:
        call = self._methods[method](request)
        try:
            while (answer := await call.read()) is not grpc.aio.EOF:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise error_from(status_of(error)) from error
        finally:
            call.cancel()

    async def client_stream(self, method: str, requests: AsyncGenerator[Message, None]) -> Any:
        call = self._methods[method]()
        try:
            await call.write(await anext(requests))
            # The daemon sends its headers when it accepts the first request.
            await call.initial_metadata()
            if not call.done():
                await _send(call, requests)
            return await call
        except grpc.aio.AioRpcError as error:
            meant = error_from(status_of(error))
            if isinstance(meant, Internal) and not meant.reason:
                # gRPC itself reports this if the daemon answers while a request is being sent.
                raise Unavailable("the connection broke while sending", code="UNAVAILABLE") from error
            raise meant from error
        finally:
            call.cancel()


async def _send(call: Any, requests: AsyncGenerator[Message, None]) -> None:
    async for request in requests:
        try:
            await call.write(request)
        except asyncio.InvalidStateError:
            # The daemon has ended the call. Its answer says why.
            return
    try:
        await call.done_writing()
    except asyncio.InvalidStateError:
        return


def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The status of a failed call, with the details from its trailing metadata."""
    status = status_pb2.Status(code=error.code().value[0], message=error.details() or "")
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            status.details.extend(status_pb2.Status.FromString(value).details)
    return status


def _open_channel(address: str, *, token: str | None, tls: Tls | None) -> grpc.aio.Channel:
    """A channel that connects when it is first used. Raises BadAddress and BadCredentials."""
    target = target_of(address)
    options = list(OPTIONS)
    if is_socket(address):
        if tls is not None:
            raise BadCredentials(f"{address} is a Unix socket, which does not use TLS")
        if token is None:
            return grpc.aio.insecure_channel(target, options=options)
        # gRPC considers a local connection secure enough to carry a token.
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
