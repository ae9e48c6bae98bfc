"""The composition root: builds everything, starts it in order and ends it in order.

The only module that names concrete classes.
"""

from __future__ import annotations

import asyncio
import faulthandler
import fcntl
import logging
import os
import signal
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from ladingd import logs
from ladingd.api.limits import CallClass
from ladingd.api.listener import Listener
from ladingd.api.server import ApiServer
from ladingd.core.access import Principal, Role
from ladingd.core.errors import DiskFull
from ladingd.core.files import UPLOADS
from ladingd.data.connection import Connection
from ladingd.data.downloads import RootFiles
from ladingd.data.job_files import WorkplaceFiles
from ladingd.data.rejects import RejectFiles
from ladingd.data.transfer import PRELOAD, BulkTransfer
from ladingd.data.upload_room import UploadRoom
from ladingd.data.uploads import UploadFiles
from ladingd.notify import Notifier
from ladingd.occasions import Occasion, tell, tell_change
from ladingd.run.announcer import Announcer
from ladingd.run.chronicle import Chronicle
from ladingd.run.control import Control
from ladingd.run.discards import Discards
from ladingd.run.forkserver import FORKSERVER
from ladingd.run.patience import Patience
from ladingd.run.recovery import interrupt, recover
from ladingd.run.repose import Repose
from ladingd.run.retention import Retention, Rules
from ladingd.run.room import Room
from ladingd.run.scheduler import Scheduler
from ladingd.run.settlement import Settlement
from ladingd.run.sweep import Sweep
from ladingd.run.watch import Watch
from ladingd.run.workers import Workers
from ladingd.scrape import ScrapeServer
from ladingd.store.audit import SqlAuditStore
from ladingd.store.database import STORE, Database
from ladingd.store.discards import SqlDiscardStore
from ladingd.store.errors import StoreUnusable
from ladingd.store.holds import SqlHoldStore
from ladingd.store.jobs import SqlJobStore
from ladingd.store.retention import SqlRetentionStore
from ladingd.store.tokens import SqlTokenStore
from ladingd.supervision import Supervision
from ladingd.traces import configured

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ladingd.config import MetricsSettings, Settings
    from ladingd.metrics import Metrics

log = logging.getLogger(__name__)


PLANNERS = 3
"""Specs that are checked side by side: one source or target that is slow to answer keeps nobody else waiting."""
CALLS_GRACE = 2.0
"""Seconds that calls have to come to their end once nothing runs any more: clients that do not read never do."""
REFUSAL_SECONDS = 0.2
"""A watcher of health that does not read keeps the jobs no longer from being interrupted."""


class CannotStart(Exception):
    """The daemon cannot start; the text says why and what to do."""


class Broken(CannotStart):
    """The daemon had to stop in the middle of its work."""


class AlreadyRuns(CannotStart):
    """Another daemon holds the state directory or the socket."""


def _first(group: BaseExceptionGroup[StoreUnusable | DiskFull]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises CannotStart."""
    logs.set_up(logs.choose(settings.log_format), settings.log_level)
    # The watchdog ends a daemon that hangs by SIGABRT; this way the log says where it hung.
    faulthandler.enable()
    tell(Occasion.DAEMON_STARTING, "starting, version %s, process %d", version("lading"), os.getpid())
    try:
        asyncio.run(Daemon(settings).serve())
    except* (StoreUnusable, DiskFull) as broken:
        # What was running is found by the next start.
        log.critical("stopping: %s", _first(broken))
        raise Broken(str(_first(broken))) from broken


class Daemon:
    """One daemon's life."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._notifier = Notifier.from_environment()
        self._starting: asyncio.Task[None] | None = None
        self._hangup = asyncio.Event()
        self._stop = asyncio.Event()
        self._signalled = False

    async def serve(self) -> None:
        """Start, serve until told to stop, and leave nothing running. Told before it serves, it does not begin to."""
        self._heed_signals()
        self._starting = asyncio.current_task()
        try:
            await self._serve()
        except asyncio.CancelledError:
            if not self._stop.is_set():
                raise
            log.info("stopped before it was ready")
        finally:
            self._forget_signals()

    async def reload(self) -> None:
        """Read again what can be changed while the daemon serves. Certificates are read whenever their files change."""

    async def _serve(self) -> None:
        settings = self._settings
        async with AsyncExitStack() as stack:
            stack.enter_context(_claimed(settings.state_dir, settings.socket))
            stack.push_async_callback(asyncio.to_thread, FORKSERVER.end)
            metrics, traces = _metrics(settings), configured()
            if traces is not None:
                stack.push_async_callback(traces.close)
            prepare = partial(logs.set_up, logs.choose(settings.log_format))
            workers = Workers(
                settings.workers, PRELOAD, prepare=prepare, observers=[one.worked for one in (metrics, traces) if one]
            )
            stack.push_async_callback(workers.close)
            planners = Workers(PLANNERS, PRELOAD, prepare=prepare, observers=[traces.worked] if traces else ())
            stack.push_async_callback(planners.close)
            settlers = Workers(1, PRELOAD, prepare=prepare)
            stack.push_async_callback(settlers.close)
            database = Database(settings.state_dir / STORE, observe_commit=metrics and metrics.committed)
            try:
                await database.open()
            except (StoreUnusable, DiskFull) as error:
                raise CannotStart(str(error)) from error
            stack.push_async_callback(database.close)
            store = SqlJobStore(database)
            # Of runs: what they have done must be written down, however long the disk is full.
            records = SqlJobStore(database, patient=True)
            announcer = Announcer()
            chronicle = Chronicle(store, announcer, [tell_change, *(one.changed for one in (metrics, traces) if one)])
            await chronicle.begin()
            # When nothing can change any more.
            stack.push_async_callback(chronicle.catch_up)
            await recover(store)
            files = WorkplaceFiles(settings.state_dir)
            room = Room(
                SqlHoldStore(database),
                announcer,
                directory=settings.state_dir,
                reserve=settings.disk_reserve,
                refill=database.ballast.restore,
            )
            await room.look()
            rejects = RejectFiles(settings.state_dir)
            watch = Watch(store, announcer, rejects)
            upload_room = UploadRoom(directory=settings.state_dir, limit=settings.uploads_limit)
            uploads = UploadFiles(upload_room, file_limit=settings.upload_limit)
            sweep = Sweep(store, uploads)
            roots = {**settings.roots, UPLOADS: uploads.root}
            transfer = BulkTransfer(
                connections={
                    name: Connection(name=name, **connection.model_dump())
                    for name, connection in settings.connections.items()
                },
                roots=roots,
                work_dir=settings.state_dir,
                upload_room=upload_room,
            )
            discards = Discards(SqlDiscardStore(database), files, transfer=transfer, workers=settlers)
            control = Control(
                store=store, transfer=transfer, workers=planners, announcer=announcer, discards=discards, room=room
            )
            retention = Retention(
                Rules(**settings.retention.model_dump()),
                jobs=records,
                old=SqlRetentionStore(database),
                files=files,
                control=control,
            )
            scheduler = Scheduler(
                slots=settings.slots,
                patience=Patience(
                    pause_grace=settings.pause_grace,
                    cancel_grace=settings.cancel_grace,
                    target=settings.target_patience,
                ),
                store=records,
                transfer=transfer,
                workers=workers,
                announcer=announcer,
                watch=watch,
                room=room,
                observe=metrics and metrics.counted,
            )
            settlement = Settlement(store=records, transfer=transfer, workers=settlers, announcer=announcer)
            server = ApiServer(
                socket=settings.socket,
                store=store,
                rejects=rejects,
                control=control,
                watch=watch,
                uploads=uploads,
                sender=RootFiles(roots),
                in_use=sweep.in_use,
                tokens=SqlTokenStore(database),
                audit=SqlAuditStore(database),
                local=_local(settings),
                clients=_clients(settings),
                listeners=tuple(_listeners(settings)),
                observers=[one.begun for one in (metrics, traces) if one],
            )
            stack.push_async_callback(server.stop, CALLS_GRACE)
            if metrics is not None and settings.metrics is not None:
                metrics.look_at(jobs=store.numbers, calls=lambda: server.running, workers=workers)
                await self._show(metrics, settings.metrics, stack)
            try:
                await server.start()
            except OSError as error:
                raise CannotStart(f"cannot serve on {error.filename}: {error.strerror}") from error
            supervision = Supervision(
                self._notifier, store=store, announcer=announcer, watchers=lambda: server.running[CallClass.WATCHES]
            )
            self._starting = None
            async with asyncio.TaskGroup() as tasks:
                jobs = tasks.create_task(scheduler.run(), name="scheduler")
                places = ", ".join([str(settings.socket), *(f"port {port} (TLS)" for port in server.ports)])
                tell(
                    Occasion.DAEMON_READY,
                    "ready on %s, state in %s, process %d",
                    places,
                    settings.state_dir,
                    os.getpid(),
                )
                chronicling = tasks.create_task(chronicle.run(), name="chronicle")
                self._notifier.ready("ready")
                helpers = [
                    tasks.create_task(planners.warm(1), name="warm-up of planners"),
                    tasks.create_task(workers.warm(), name="warm-up of workers"),
                    tasks.create_task(settlement.run(), name="settlement"),
                    tasks.create_task(room.run(), name="room"),
                    tasks.create_task(discards.run(), name="discards"),
                    tasks.create_task(retention.run(), name="retention"),
                    tasks.create_task(server.recheck(), name="recheck of tokens"),
                    tasks.create_task(sweep.run(), name="sweep of uploads"),
                    tasks.create_task(
                        Repose(workers, planners, settlers, after=settings.workers_idle_exit).run(), name="repose"
                    ),
                    tasks.create_task(supervision.live(), name="signs of life"),
                    tasks.create_task(supervision.tell(), name="status"),
                    tasks.create_task(self._heed_hangups(supervision), name="reload"),
                    tasks.create_task(self._watch_idleness(server, scheduler, room), name="idleness"),
                ]
                if metrics is not None:
                    helpers.append(tasks.create_task(metrics.measure_lag(), name="lag"))
                await self._stop.wait()
                tell(Occasion.DAEMON_STOPPING, "shutting down")
                control.close()
                database.hurry()
                watch.still()
                refusal = tasks.create_task(server.refuse(), name="refusal")
                await asyncio.wait([refusal], timeout=REFUSAL_SECONDS)
                # In this order: no job becomes RUNNING after all that run were interrupted.
                await scheduler.close()
                await interrupt(store, announcer)
                for helper in helpers:
                    helper.cancel()
                draining = tasks.create_task(supervision.drain(), name="draining")
                workers.drain()
                _, late = await asyncio.wait([jobs], timeout=settings.shutdown_grace)
                if late:
                    log.warning("chunks in flight took longer than %g s and are killed", settings.shutdown_grace)
                await workers.close()
                await jobs
                watch.close()
                draining.cancel()
                chronicling.cancel()
        tell(Occasion.DAEMON_STOPPED, "stopped")

    async def _show(self, metrics: Metrics, settings: MetricsSettings, stack: AsyncExitStack) -> None:
        scrapes = ScrapeServer(metrics.render, listen=settings.listen, socket=settings.socket)
        stack.push_async_callback(scrapes.stop)
        try:
            log.info("metrics at %s", await scrapes.start())
        except OSError as error:
            raise CannotStart(f"cannot serve metrics on {settings.listen or settings.socket}: {error}") from error

    def _heed_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        loop.add_signal_handler(signal.SIGHUP, self._hangup.set)

    def _forget_signals(self) -> None:
        """What comes from now on finds everything done."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN if number is signal.SIGHUP else lambda *_: os._exit(0))

    def _on_signal(self) -> None:
        if self._signalled:
            # Safe at any moment: the ledger decides what is committed, and workers die with the daemon.
            log.warning("second signal: leaving at once")
            os._exit(1)
        self._signalled = True
        self._end()

    def _end(self) -> None:
        """Begin to shut down, or break off the start."""
        self._notifier.stopping("shutting down")
        self._stop.set()
        if self._starting is not None:
            self._starting.cancel()

    async def _heed_hangups(self, supervision: Supervision) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            self._notifier.reloading()
            await self.reload()
            self._notifier.ready(await supervision.status())

    async def _watch_idleness(self, server: ApiServer, scheduler: Scheduler, room: Room) -> None:
        limit = self._settings.idle_exit
        while limit is not None:
            idle = 0.0 if scheduler.busy or room.busy else server.idle_seconds()
            if idle >= limit:
                log.info("idle for %g s", limit)
                self._end()
                return
            await asyncio.sleep(limit - idle)


def _metrics(settings: Settings) -> Metrics | None:
    if settings.metrics is None:
        return None
    # Here, and not above: it takes 20 ms that a daemon without metrics need not wait for.
    from ladingd.metrics import Metrics

    return Metrics()


def _local(settings: Settings) -> Principal | None:
    return None if settings.socket_role == "none" else Principal(name="socket", role=Role(settings.socket_role))


def _clients(settings: Settings) -> dict[str, Principal]:
    clients = settings.tls.clients if settings.tls else {}
    return {
        name: Principal(name=name, role=client.role, connections=client.connections, roots=client.roots)
        for name, client in clients.items()
    }


def _listeners(settings: Settings) -> Iterator[Listener]:
    tls = settings.tls
    if tls is not None and tls.listen:
        yield Listener(address=tls.listen, certificate=tls.certificate, key=tls.key)
    if tls is not None and tls.listen_mutual:
        yield Listener(address=tls.listen_mutual, certificate=tls.certificate, key=tls.key, client_ca=tls.client_ca)


@contextmanager
def _claimed(state_dir: Path, socket: Path) -> Iterator[None]:
    """Hold the state directory and the socket for this process alone, and say in a file which it is.

    gRPC would take over another daemon's socket without a word, hence the lock beside it.
    """
    pid_file = state_dir / "ladingd.pid"
    _make_directory(state_dir, 0o700, "state directory")
    _make_directory(socket.parent, 0o750, "socket's directory")
    with (
        _locked(state_dir / "lock", f"the state directory {state_dir}"),
        _locked(socket.with_name(socket.name + ".lock"), f"the socket {socket}"),
    ):
        pid_file.write_text(f"{os.getpid()}\n")
        try:
            yield
        finally:
            pid_file.unlink(missing_ok=True)
            socket.unlink(missing_ok=True)


def _make_directory(path: Path, mode: int, what: str) -> None:
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        owner = path.stat().st_uid
    except OSError as error:
        raise CannotStart(f"the {what} {path} cannot be made: {error.strerror}") from error
    if owner not in (os.getuid(), 0) or not os.access(path, os.W_OK | os.X_OK):
        raise CannotStart(f"the {what} {path} belongs to another user or cannot be written to")


@contextmanager
def _locked(path: Path, what: str) -> Iterator[None]:
    try:
        file = path.open("w")
    except OSError as error:
        raise CannotStart(f"{path} cannot be opened: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRuns(f"another daemon holds {what}") from None
        yield
