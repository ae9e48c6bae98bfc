"""The composition root: creates the parts of a daemon and connects them.

The only module that names concrete classes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.api.listener import Listener
from ladingd.api.server import ApiServer
from ladingd.config.own_files import own_files
from ladingd.core.access import SOCKET, CallClass, Principal, Role
from ladingd.core.errors import DiskFull, StoreBusy, StoreUnusable
from ladingd.core.files import UPLOADS
from ladingd.core.reloadable import Reloadable
from ladingd.data.databases.connection import Connection, connections_of
from ladingd.data.files.downloads import RootFiles
from ladingd.data.files.uploads.quota import UploadRoom
from ladingd.data.files.uploads.store import UploadFiles
from ladingd.data.rejects.files import RejectFiles
from ladingd.data.storage.job_files import WorkDirFiles
from ladingd.data.storage.work_dir import WorkDir
from ladingd.data.transfer import PRELOAD, BulkTransfer
from ladingd.host.instance_lock import CannotStart
from ladingd.host.supervision import Supervision, awaited_start
from ladingd.run.attempt.timeouts import Timeouts
from ladingd.run.control import Control
from ladingd.run.disk_space import DiskSpace
from ladingd.run.scheduler import Scheduler
from ladingd.run.upkeep.cleanup import Cleanup
from ladingd.run.upkeep.retention import Retention, Rules
from ladingd.run.upkeep.settlement import Settlement
from ladingd.run.upkeep.upload_sweeper import UploadSweeper
from ladingd.run.watch.change_feed import ChangeFeed
from ladingd.run.watch.notifier import Notifier
from ladingd.run.watch.watch import Watch
from ladingd.run.workers.pool import Workers
from ladingd.store.audit import SqlAuditStore
from ladingd.store.discards import SqlDiscardStore
from ladingd.store.holds import SqlHoldStore
from ladingd.store.jobs import SqlJobStore
from ladingd.store.retention import SqlRetentionStore
from ladingd.store.sqlite.database import STORE, Database
from ladingd.store.tokens import SqlTokenStore
from ladingd.telemetry import logs
from ladingd.telemetry.log_events import tell_change, tell_wait
from ladingd.telemetry.metrics_server import MetricsServer
from ladingd.telemetry.traces import configured

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AsyncExitStack

    from ladingd.config import Settings
    from ladingd.host.sd_notify import SdNotify
    from ladingd.telemetry.metrics import Metrics  # noqa: TC004 - nobody evaluates it, and it is slow to load

PLANNERS = 3
"""The number of specs that are planned at the same time, so that a slow source or target does not block other
callers."""
UPKEEP_WORKERS = 3
"""The number of ledger queries and discards that run at the same time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The parts of a daemon that run, or that a reload adjusts."""

    workers: Workers
    planners: Workers
    upkeep_workers: Workers
    database: Database
    store: SqlJobStore
    records: SqlJobStore
    notifier: Notifier
    change_feed: ChangeFeed
    disk_space: DiskSpace
    watch: Watch
    connections: Reloadable[Connection]
    roots: Reloadable[Path]
    config: Path
    socket: Path
    own_files: Reloadable[Path]
    upload_room: UploadRoom
    uploads: UploadFiles
    upload_sweeper: UploadSweeper
    control: Control
    cleanup: Cleanup
    retention: Retention
    scheduler: Scheduler
    settlement: Settlement
    server: ApiServer
    supervision: Supervision
    metrics: Metrics | None
    metrics_server: MetricsServer | None

    def adjust(self, settings: Settings) -> None:
        """Apply all settings of ``config.change.LIVE`` except ``shutdown_grace``, which the shutdown reads."""
        # This comes first: the files of a new connection must be protected before a job can name it.
        self.own_files.replace(_own_files(settings, self.config, self.socket))
        self.connections.replace(connections_of(settings.connections))
        self.roots.replace({**settings.roots, UPLOADS: self.uploads.root})
        self.uploads.file_limit = settings.upload_limit
        self.upload_room.limit = settings.uploads_limit
        self.disk_space.reserve = settings.disk_reserve
        self.retention.rules = _rules(settings)
        self.scheduler.adjust(slots=settings.slots, timeouts=_timeouts(settings))
        self.server.admit(local=_local(settings), clients=_clients(settings))
        logging.getLogger().setLevel(settings.log_level)


async def compose(
    settings: Settings, config: Path, sd_notify: SdNotify, stack: AsyncExitStack, *, socket: Path
) -> Parts:
    """Create all parts and open the store, but start nothing. The stack closes the parts. ``config`` is the settings
    file.

    Raises CannotStart.
    """
    metrics, traces = _metrics(settings), configured()
    if traces is not None:
        stack.push_async_callback(traces.close)
    meters = [one for one in (metrics, traces) if one]
    pool = partial(Workers, preload=PRELOAD, prepare=partial(logs.set_up, logs.choose(settings.log_format)))
    workers = pool(settings.workers, observers=[meter.worked for meter in meters])
    stack.push_async_callback(workers.close)
    planners = pool(PLANNERS, observers=[traces.worked] if traces else (), successor=workers)
    stack.push_async_callback(planners.close)
    upkeep_workers = pool(UPKEEP_WORKERS)
    stack.push_async_callback(upkeep_workers.close)
    database = Database(
        settings.state_dir / STORE, observe_commit=metrics and metrics.committed, observe_wait=tell_wait
    )
    try:
        async with awaited_start(sd_notify, lambda: database.trouble):
            await database.open()
    except (StoreUnusable, DiskFull, StoreBusy) as error:
        raise CannotStart(str(error)) from error
    stack.push_async_callback(database.close)
    store = SqlJobStore(database)
    # For runs: their results must be stored, however long the disk is full.
    records = SqlJobStore(database, patient=True)
    notifier = Notifier()
    change_feed = ChangeFeed(store, notifier, [tell_change, *(meter.changed for meter in meters)])
    work_dir = WorkDir(directory=settings.state_dir)
    files = WorkDirFiles(work_dir)
    disk_space = DiskSpace(
        SqlHoldStore(database),
        notifier,
        directory=settings.state_dir,
        reserve=settings.disk_reserve,
        refill=database.ballast.restore,
    )
    rejects = RejectFiles(work_dir)
    watch = Watch(jobs=store, changes=store, chunks=store, journal=store, rejects=rejects, notifier=notifier)
    upload_room = UploadRoom(directory=settings.state_dir, limit=settings.uploads_limit)
    uploads = UploadFiles(upload_room, file_limit=settings.upload_limit)
    upload_sweeper = UploadSweeper(store, uploads)
    connections = Reloadable(connections_of(settings.connections))
    roots = Reloadable({**settings.roots, UPLOADS: uploads.root})
    own = Reloadable(_own_files(settings, config, socket))
    transfer = BulkTransfer(
        connections=connections, roots=roots, work_dir=work_dir, own_files=own, upload_room=upload_room
    )
    cleanup = Cleanup(
        SqlDiscardStore(database),
        files,
        journal=records,
        transfer=transfer,
        workers=upkeep_workers,
        notifier=notifier,
    )
    control = Control(
        jobs=store, transfer=transfer, workers=planners, notifier=notifier, cleanup=cleanup, disk_space=disk_space
    )
    retention = Retention(
        _rules(settings), jobs=records, changes=records, old=SqlRetentionStore(database), files=files, deleter=control
    )
    scheduler = Scheduler(
        slots=settings.slots,
        timeouts=_timeouts(settings),
        jobs=records,
        chunks=records,
        journal=records,
        transfer=transfer,
        workers=workers,
        notifier=notifier,
        watch=watch,
        disk_space=disk_space,
        rested=cleanup.wake,
        observe=metrics and metrics.counted,
    )
    server = ApiServer(
        socket=socket,
        jobs=store,
        chunks=store,
        journal=store,
        rejects=rejects,
        control=control,
        watch=watch,
        uploads=uploads,
        sender=RootFiles(roots, own),
        in_use=upload_sweeper.in_use,
        tokens=SqlTokenStore(database),
        audit=SqlAuditStore(database),
        local=_local(settings),
        clients=_clients(settings),
        listeners=tuple(_listeners(settings)),
        observers=[meter.begun for meter in meters],
    )
    if metrics is not None:
        metrics.look_at(
            jobs=store.numbers, calls=lambda: server.running, workers=workers, waits=lambda: database.trouble
        )
    return Parts(
        workers=workers,
        planners=planners,
        upkeep_workers=upkeep_workers,
        database=database,
        store=store,
        records=records,
        notifier=notifier,
        change_feed=change_feed,
        disk_space=disk_space,
        watch=watch,
        connections=connections,
        roots=roots,
        config=config,
        socket=socket,
        own_files=own,
        upload_room=upload_room,
        uploads=uploads,
        upload_sweeper=upload_sweeper,
        control=control,
        cleanup=cleanup,
        retention=retention,
        scheduler=scheduler,
        settlement=Settlement(
            jobs=records, chunks=records, journal=records, transfer=transfer, workers=upkeep_workers, notifier=notifier
        ),
        server=server,
        supervision=Supervision(
            sd_notify,
            jobs=store,
            listen=notifier.listen,
            watchers=lambda: server.running[CallClass.WATCHES],
            waits=lambda: database.trouble,
        ),
        metrics=metrics,
        metrics_server=_metrics_server(settings, metrics),
    )


def _metrics(settings: Settings) -> Metrics | None:
    if settings.metrics is None:
        return None
    # Imported here: it takes 20 ms, which a daemon without metrics saves.
    from ladingd.telemetry.metrics import Metrics

    return Metrics()


def _metrics_server(settings: Settings, metrics: Metrics | None) -> MetricsServer | None:
    if settings.metrics is None or metrics is None:
        return None
    return MetricsServer(metrics.render, listen=settings.metrics.listen, socket=settings.metrics.socket)


def _own_files(settings: Settings, config: Path, socket: Path) -> dict[str, Path]:
    files = own_files(settings, config)
    # If the configured path is too long for a socket, the socket is elsewhere.
    files["the daemon's socket"] = socket
    files["the lock of the daemon's socket"] = socket.with_name(f"{socket.name}.lock")
    # Descriptors 1 and 2 are the log, in workers too.
    files |= {"the daemon's log": Path("/proc/self/fd/2"), "the daemon's output": Path("/proc/self/fd/1")}
    return {**files, "the file system of processes": Path("/proc")}


def _timeouts(settings: Settings) -> Timeouts:
    return Timeouts(
        pause_grace=settings.pause_grace, cancel_grace=settings.cancel_grace, target=settings.target_patience
    )


def _rules(settings: Settings) -> Rules:
    return Rules(**settings.retention.model_dump())


def _local(settings: Settings) -> Principal | None:
    return None if settings.socket_role == "none" else Principal(name=SOCKET, role=Role(settings.socket_role))


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
