"""The composition root: builds everything, starts it in order and ends it in order.

The only module that names concrete classes.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack, contextmanager
from importlib import metadata
from typing import TYPE_CHECKING

from ladingd.api.listener import Listener
from ladingd.api.server import ApiServer
from ladingd.config import ConfigError
from ladingd.config.change import change
from ladingd.connections import connections_of
from ladingd.core.access import Principal, Role
from ladingd.core.files import UPLOADS
from ladingd.core.live import Live
from ladingd.data.downloads import RootFiles
from ladingd.data.rejects import RejectFiles
from ladingd.data.transfer import PRELOAD, BulkTransfer
from ladingd.data.uploads import UploadFiles
from ladingd.run.announcer import Announcer
from ladingd.run.compaction import Compaction
from ladingd.run.control import Control
from ladingd.run.patience import Patience
from ladingd.run.recovery import interrupt, recover
from ladingd.run.scheduler import Scheduler
from ladingd.run.settlement import Settlement
from ladingd.run.sweep import Sweep
from ladingd.run.watch import Watch
from ladingd.run.workers import Workers
from ladingd.store.audit import SqlAuditStore
from ladingd.store.database import STORE, Database
from ladingd.store.errors import StoreUnusable
from ladingd.store.jobs import SqlJobStore
from ladingd.store.tokens import SqlTokenStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ladingd.config import Settings
    from ladingd.config.finding import Finding

    Configuration = tuple[Settings, tuple[Finding, ...]]

log = logging.getLogger(__name__)


PLANNERS = 3
"""Specs that are checked side by side: one source or target that is slow to answer keeps nobody else waiting."""


class CannotStart(Exception):
    """The daemon cannot start; the text says why and what to do."""


class Broken(CannotStart):
    """The daemon had to stop in the middle of its work."""


class AlreadyRuns(CannotStart):
    """Another daemon holds the state directory or the socket."""


def _first(group: BaseExceptionGroup[StoreUnusable]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def run(configure: Callable[[], Configuration]) -> None:
    """Serve until SIGTERM or SIGINT; ``configure`` reads the configuration, now and at each SIGHUP.

    Raises ConfigError, CannotStart.
    """
    settings, warnings = configure()
    logging.basicConfig(
        level=settings.log_level,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for warning in warnings:
        log.warning("%s", warning)
    try:
        asyncio.run(Daemon(settings, configure).serve())
    except* StoreUnusable as broken:
        # A full disk, most of the time. What was running is found by the next start.
        log.critical("stopping: %s", _first(broken))
        raise Broken(str(_first(broken))) from broken


class Daemon:
    """One daemon's life."""

    def __init__(self, settings: Settings, configure: Callable[[], Configuration] | None = None) -> None:
        """Without ``configure`` there is nothing to reload from."""
        self._settings = settings
        self._configure = configure
        self._reload_wanted = asyncio.Event()
        self._apply: Callable[[Settings], None]
        self._stop = asyncio.Event()
        self._signalled = False

    async def serve(self) -> None:
        """Start, serve until told to stop, and leave nothing running."""
        self._heed_signals()
        settings = self._settings
        async with AsyncExitStack() as stack:
            stack.enter_context(_claimed(settings.state_dir, settings.socket))
            workers = Workers(settings.workers, preload=PRELOAD)
            stack.push_async_callback(workers.close)
            planners = Workers(PLANNERS, preload=PRELOAD)
            stack.push_async_callback(planners.close)
            settlers = Workers(1, preload=PRELOAD)
            stack.push_async_callback(settlers.close)
            database = Database(settings.state_dir / STORE)
            try:
                await database.open()
            except StoreUnusable as error:
                raise CannotStart(str(error)) from error
            stack.push_async_callback(database.close)
            store = SqlJobStore(database)
            await recover(store)
            announcer = Announcer()
            rejects = RejectFiles(settings.state_dir)
            watch = Watch(store, announcer, rejects)
            uploads = UploadFiles(
                settings.state_dir, file_limit=settings.upload_limit, total_limit=settings.uploads_limit
            )
            sweep = Sweep(store, uploads)
            connections = Live(connections_of(settings))
            roots = Live({**settings.roots, UPLOADS: uploads.root})
            transfer = BulkTransfer(connections=connections, roots=roots, work_dir=settings.state_dir)
            control = Control(store=store, transfer=transfer, workers=planners, announcer=announcer)
            scheduler = Scheduler(
                slots=settings.slots,
                patience=_patience(settings),
                store=store,
                transfer=transfer,
                workers=workers,
                announcer=announcer,
                watch=watch,
            )
            settlement = Settlement(store=store, transfer=transfer, workers=settlers, announcer=announcer)
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
            )
            stack.push_async_callback(server.stop)

            def apply(changed: Settings) -> None:
                """All of ``config.change.LIVE`` but ``shutdown_grace``, which is looked up when it is needed."""
                connections.replace(connections_of(changed))
                roots.replace({**changed.roots, UPLOADS: uploads.root})
                uploads.limit(file_limit=changed.upload_limit, total_limit=changed.uploads_limit)
                scheduler.adjust(slots=changed.slots, patience=_patience(changed))
                server.admit(local=_local(changed), clients=_clients(changed))
                logging.getLogger().setLevel(changed.log_level)

            self._apply = apply
            try:
                await server.start()
            except OSError as error:
                raise CannotStart(f"cannot serve on {error.filename}: {error.strerror}") from error
            async with asyncio.TaskGroup() as tasks:
                jobs = tasks.create_task(scheduler.run(), name="scheduler")
                places = ", ".join([str(settings.socket), *(f"port {port} (TLS)" for port in server.ports)])
                log.info("ready on %s, state in %s, process %d", places, settings.state_dir, os.getpid())
                helpers = [
                    tasks.create_task(planners.warm(1), name="warm-up of planners"),
                    tasks.create_task(workers.warm(), name="warm-up of workers"),
                    tasks.create_task(settlement.run(), name="settlement"),
                    tasks.create_task(Compaction(store).run(), name="compaction"),
                    tasks.create_task(server.recheck(), name="recheck of tokens"),
                    tasks.create_task(sweep.run(), name="sweep of uploads"),
                    tasks.create_task(self._watch_idleness(server, scheduler), name="idleness"),
                    tasks.create_task(self._heed_reloads(), name="reload"),
                ]
                await self._stop.wait()
                log.info("shutting down")
                control.close()
                await server.refuse()
                # In this order: no job becomes RUNNING after all that run were interrupted.
                await scheduler.close()
                await interrupt(store, announcer)
                for helper in helpers:
                    helper.cancel()
                _, late = await asyncio.wait([jobs], timeout=self._settings.shutdown_grace)
                if late:
                    log.warning("chunks in flight took longer than %g s and are killed", self._settings.shutdown_grace)
                await workers.close()
                await jobs
                watch.close()
        log.info("stopped")

    def _heed_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        # Also one that comes while the daemon starts or stops: else it would end it.
        loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)

    def _on_signal(self) -> None:
        if self._signalled:
            # Safe at any moment: the ledger decides what is committed, and workers die with the daemon.
            log.warning("second signal: leaving at once")
            os._exit(1)
        self._signalled = True
        self._stop.set()

    async def _heed_reloads(self) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            await self.reload()

    async def reload(self) -> str:
        """Read the configuration anew and put into force what can be while the daemon runs; what to say of it.

        One that is not right changes nothing.
        """
        if self._configure is None:
            return "there is nothing to reload from"
        try:
            wanted, warnings = await asyncio.to_thread(self._configure)
        except ConfigError as error:
            log.error("nothing is reloaded: %s", error)
            return f"nothing is reloaded, the configuration has errors: {len(error.findings)}; the log has them"
        for warning in warnings:
            log.warning("%s", warning)
        made = change(self._settings, wanted)
        self._settings = made.settings
        self._apply(made.settings)
        log.log(logging.WARNING if made.pending else logging.INFO, "reloaded; %s", made)
        return f"reloaded; {made}"

    async def _watch_idleness(self, server: ApiServer, scheduler: Scheduler) -> None:
        limit = self._settings.idle_exit
        while limit is not None:
            idle = 0.0 if scheduler.busy else server.idle_seconds()
            if idle >= limit:
                log.info("idle for %g s", limit)
                self._stop.set()
                return
            await asyncio.sleep(limit - idle)


def _patience(settings: Settings) -> Patience:
    return Patience(
        pause_grace=settings.pause_grace, cancel_grace=settings.cancel_grace, target=settings.target_patience
    )


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
        file = path.open("a")
    except OSError as error:
        raise CannotStart(f"{path} cannot be opened: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRuns(f"another daemon holds {what}") from None
        # Which program it is that runs here: another may be installed meanwhile.
        file.truncate(0)
        file.write(metadata.version("lading"))
        file.flush()
        yield
