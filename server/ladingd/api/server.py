"""The gRPC server: listens on a Unix socket and optionally with TLS. Its services run behind the interceptors."""

from __future__ import annotations

import asyncio
import errno
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from lading.v1 import audit_service_pb2, file_service_pb2, job_service_pb2, table_service_pb2
from lading.v1.audit_service_pb2_grpc import add_AuditServiceServicer_to_server
from lading.v1.file_service_pb2_grpc import add_FileServiceServicer_to_server
from lading.v1.job_service_pb2_grpc import add_JobServiceServicer_to_server
from lading.v1.table_service_pb2_grpc import add_TableServiceServicer_to_server
from ladingd.api.interceptors.access import Access
from ladingd.api.interceptors.guard import Guard
from ladingd.api.interceptors.limits import Limits
from ladingd.api.messages.paging import MAX_MESSAGE_BYTES, MAX_REJECT_BYTES
from ladingd.api.permits import Permits
from ladingd.api.services.audit import AuditServicer
from ladingd.api.services.files import FileServicer
from ladingd.api.services.jobs import JobServicer
from ladingd.api.services.tables import TableServicer
from ladingd.api.trail import Trail
from ladingd.core.clock import utc_now
from ladingd.host.unix_socket import fits_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from ladingd.api.interceptors.guard import Begun
    from ladingd.api.listener import Listener
    from ladingd.core.access import CallClass, Principal
    from ladingd.core.files import FileSender, InUse, UploadStore
    from ladingd.core.ports import AuditStore, ChunkStore, JobStore, JournalStore, RejectReader, TokenStore
    from ladingd.run.control import Control
    from ladingd.run.watch.watch import Watch

JOB_SERVICE: str = job_service_pb2.DESCRIPTOR.services_by_name["JobService"].full_name
AUDIT_SERVICE: str = audit_service_pb2.DESCRIPTOR.services_by_name["AuditService"].full_name
FILE_SERVICE: str = file_service_pb2.DESCRIPTOR.services_by_name["FileService"].full_name
TABLE_SERVICE: str = table_service_pb2.DESCRIPTOR.services_by_name["TableService"].full_name
HEALTH_SERVICE: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
REFLECTION_SERVICE: str = reflection.SERVICE_NAME

SERVICES = (JOB_SERVICE, FILE_SERVICE, TABLE_SERVICE, AUDIT_SERVICE, HEALTH_SERVICE, REFLECTION_SERVICE)
"""All services of the server, as reflection lists them."""

SOCKET_MODE = 0o660
_TIMEOUT = 0.5
"""Seconds that the watchers of health have to take the message NOT_SERVING."""
_MAX_METADATA_BYTES = 16 << 10
_MAX_WAITING_CALLS = 10_000

_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_REJECT_BYTES),
    ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", _MAX_METADATA_BYTES),
    # By default gRPC drops calls at random, as CANCELLED, once 1,000 are waiting.
    ("grpc.server.max_pending_requests", _MAX_WAITING_CALLS),
    ("grpc.server.max_pending_requests_hard_limit", _MAX_WAITING_CALLS),
    # Clients may ping every 30 seconds, with or without calls. The limit is lower, because pings are not punctual.
    ("grpc.http2.min_ping_interval_without_data_ms", 25_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


class ApiServer:
    """Answers calls from ``start`` to ``stop``, once.

    ``local`` is the principal of calls on the socket without a token; None: they need a token. ``clients`` are the
    principals of certificates, by common name.

    The caller creates the socket's directory and makes sure that no other server uses the path: gRPC silently takes
    over a socket that is in use.
    """

    def __init__(
        self,
        *,
        socket: Path,
        jobs: JobStore,
        chunks: ChunkStore,
        journal: JournalStore,
        rejects: RejectReader,
        control: Control,
        watch: Watch,
        uploads: UploadStore,
        sender: FileSender,
        in_use: InUse,
        tokens: TokenStore,
        audit: AuditStore,
        local: Principal | None,
        clients: Mapping[str, Principal] = MappingProxyType({}),
        listeners: Sequence[Listener] = (),
        clock: Callable[[], datetime] = utc_now,
        observers: Sequence[Begun] = (),
    ) -> None:
        """For ``observers`` see ``Guard``."""
        self._socket = socket.absolute()
        self._listeners = listeners
        self._ports: list[int] = []
        self._guard = Guard(observers)
        self._limits = Limits()
        self._trail = Trail(audit)
        permits = Permits(uploads)
        self._access = Access(
            tokens=tokens, permits=permits, trail=self._trail, local=local, clients=clients, clock=clock
        )
        self._health = health.HealthServicer()
        self._server = grpc.aio.server(interceptors=(self._guard, self._access, self._limits), options=_OPTIONS)
        servicer = JobServicer(jobs, chunks, journal, rejects, control, watch, permits, clock=clock)
        add_JobServiceServicer_to_server(servicer, self._server)  # type: ignore[no-untyped-call]
        add_FileServiceServicer_to_server(FileServicer(uploads, sender, in_use), self._server)  # type: ignore[no-untyped-call]
        add_AuditServiceServicer_to_server(AuditServicer(audit), self._server)  # type: ignore[no-untyped-call]
        add_TableServiceServicer_to_server(TableServicer(control), self._server)  # type: ignore[no-untyped-call]
        add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(SERVICES, self._server)

    async def start(self) -> None:
        """Listen, then report SERVING. Raises OSError if the socket cannot be created, or an address or certificate is
        unusable."""
        if not fits_socket(self._socket):
            raise OSError(errno.ENAMETOOLONG, "the path is too long for a socket", str(self._socket))
        # The socket comes last: clients can connect from here on, and expect a daemon that has started.
        self._ports = [listener.open(self._server) for listener in self._listeners]
        try:
            # gRPC parses the path as a URI.
            self._server.add_insecure_port(f"unix:{quote(str(self._socket))}")
        except RuntimeError as error:
            raise OSError(errno.EADDRNOTAVAIL, "cannot listen on the socket", str(self._socket)) from error
        self._socket.chmod(SOCKET_MODE)
        await self._health.set(JOB_SERVICE, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    @property
    def ports(self) -> Sequence[int]:
        """The ports of the listeners, from ``start`` on."""
        return tuple(self._ports)

    @property
    def running(self) -> Mapping[CallClass, int]:
        """How many calls of each class run now."""
        return self._limits.running

    def admit(self, *, local: Principal | None, clients: Mapping[str, Principal]) -> None:
        """Replace the principals of the socket and of certificates, from the next call on."""
        self._access.admit(local=local, clients=clients)

    def idle_seconds(self) -> float:
        """How many seconds no call has been running."""
        return self._guard.idle_seconds()

    async def recheck(self, every: float = 5.0) -> None:
        """Check every ``every`` seconds, until cancelled, and end streams whose caller has lost the right to them."""
        while True:
            await asyncio.sleep(every)
            await self._access.recheck()

    async def refuse(self) -> None:
        """Report NOT_SERVING, for good. Calls are still answered."""
        for service in ("", JOB_SERVICE):
            try:
                async with asyncio.timeout(_TIMEOUT):
                    await self._health.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
            except TimeoutError:
                # A watcher that does not read blocks the other watchers and the shutdown.
                self._guard.end(HEALTH_SERVICE)
                await self._health.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)

    async def stop(self, grace: float = 5.0) -> bool:
        """Take no more calls. Give running calls ``grace`` seconds, then cancel them and wait as long again for their
        end.

        Returns False if a handler has not ended. ``run`` ends the watches of jobs and journals before.
        """
        await self.refuse()
        # These never end by themselves and would use up the grace period.
        self._guard.end(HEALTH_SERVICE)
        self._guard.end(FILE_SERVICE)
        self._guard.end(REFLECTION_SERVICE)
        await self._server.stop(grace)
        drained = await self._guard.drained(grace)
        await self._trail.close()
        return drained
