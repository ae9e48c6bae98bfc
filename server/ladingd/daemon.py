"""The life of a daemon: starts, serves, handles signals, and shuts down."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import TYPE_CHECKING

from ladingd.composition import compose
from ladingd.config.change import change
from ladingd.config.reload import NotReloaded, read_anew
from ladingd.core.deadline import answering_within
from ladingd.core.errors import DiskFull, StoreBusy, StoreUnusable
from ladingd.host.instance_lock import CannotStart, Status, locked_instance
from ladingd.host.open_files import allow_many
from ladingd.host.sd_notify import SdNotify
from ladingd.host.supervision import awaited_start
from ladingd.run.recovery import interrupt, recover
from ladingd.run.workers.forkserver import FORKSERVER
from ladingd.run.workers.idle_reaper import IdleReaper
from ladingd.telemetry import logs
from ladingd.telemetry.log_events import LogEvent, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from ladingd.composition import Parts
    from ladingd.config import Settings
    from ladingd.config.reload import Configuration
    from ladingd.host.instance_lock import InstanceLock

log = logging.getLogger(__name__)

START_TIMEOUT = 60.0
"""Seconds that another process may lock the store while the daemon starts."""
CALLS_GRACE = 2.0
"""Seconds that calls have to end once no job runs. The call of a client that does not read never ends by itself."""
REFUSAL_SECONDS = 0.2
"""The most seconds by which a health watcher that does not read can delay the interruption of the jobs."""


class Broken(CannotStart):
    """An error has stopped the running daemon."""


def _first(group: BaseExceptionGroup[StoreUnusable | DiskFull | StoreBusy]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def run(configure: Callable[[], Configuration], config: Path, *, own: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT. ``configure`` reads the configuration from the file ``config``, now and at each
    SIGHUP.

    ``own`` is the user's state directory if this is a user's own daemon. Raises ConfigError, CannotStart.
    """
    settings, warnings = configure()
    logs.set_up(logs.choose(settings.log_format), settings.log_level)
    # The watchdog kills a hanging daemon by SIGABRT. With faulthandler the log shows where it hung.
    faulthandler.enable()
    allow_many()
    tell(LogEvent.DAEMON_STARTING, "starting, version %s, process %d", version("lading"), os.getpid())
    for warning in warnings:
        log.warning("%s", warning)
    try:
        asyncio.run(Daemon(settings, configure, config, own=own).serve())
    except* (StoreUnusable, DiskFull, StoreBusy) as broken:
        # The next start finds the jobs that were running.
        log.critical("stopping: %s", _first(broken))
        raise Broken(str(_first(broken))) from broken


class Daemon:
    """One daemon's life."""

    def __init__(
        self,
        settings: Settings,
        configure: Callable[[], Configuration],
        config: Path,
        *,
        own: Path | None = None,
    ) -> None:
        self._settings = settings
        self._config = config
        self._configure = configure
        self._own = own
        self._sd_notify = SdNotify.from_environment()
        self._starting: asyncio.Task[None] | None = None
        self._hangup = asyncio.Event()
        self._stop = asyncio.Event()
        self._signalled = False
        self._recovered = False
        self._unwritten = ""

    async def serve(self) -> None:
        """Start, serve until told to stop, and leave nothing running. A signal during the start ends the start."""
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

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            instance = stack.enter_context(
                locked_instance(self._settings.state_dir, self._settings.socket, own=self._own)
            )
            stack.push_async_callback(asyncio.to_thread, FORKSERVER.end)
            with answering_within(START_TIMEOUT):
                parts = await compose(self._settings, self._config, self._sd_notify, stack, socket=instance.socket)
            await self._start(parts, stack)
            self._starting = None
            async with asyncio.TaskGroup() as tasks:
                jobs = tasks.create_task(self._run_jobs(parts), name="scheduler")
                feeding = tasks.create_task(parts.change_feed.run(), name="change_feed")
                helpers = [tasks.create_task(work, name=name) for name, work in self._helpers(parts)]
                self._say_ready(parts, instance)
                await self._stop.wait()
                instance.say(Status.STOPPING)
                await self._shut_down(parts, jobs, helpers, tasks)
                feeding.cancel()
        if self._unwritten:
            raise Broken(self._unwritten)
        tell(LogEvent.DAEMON_STOPPED, "stopped")

    async def _start(self, parts: Parts, stack: AsyncExitStack) -> None:
        """Recover the jobs of a dead daemon, then serve. Raises CannotStart."""
        await parts.change_feed.begin()
        # Runs when no change can follow any more.
        stack.push_async_callback(parts.change_feed.catch_up)
        await self._recover(parts)
        await parts.disk_space.begin()
        if parts.metrics_server is not None:
            stack.push_async_callback(parts.metrics_server.stop)
            try:
                log.info("metrics at %s", await parts.metrics_server.start())
            except OSError as error:
                raise CannotStart(f"cannot serve metrics on {parts.metrics_server}: {error}") from error
        stack.push_async_callback(parts.server.stop, CALLS_GRACE)
        try:
            await parts.server.start()
        except OSError as error:
            raise CannotStart(f"cannot serve on {error.filename}: {error.strerror}") from error

    async def _recover(self, parts: Parts) -> None:
        """Recover the jobs of a dead daemon if the store can be written. Raises CannotStart."""
        try:
            async with awaited_start(self._sd_notify, lambda: parts.database.trouble):
                with answering_within(START_TIMEOUT):
                    await recover(parts.store)
            self._recovered = True
        except DiskFull as full:
            log.critical(
                "%s; reads are served, and the jobs that were running are taken over when there is space",
                full.message,
            )
        except StoreBusy as busy:
            raise CannotStart(str(busy)) from busy

    async def _run_jobs(self, parts: Parts) -> None:
        if not self._recovered:
            try:
                await recover(parts.records)
            except (DiskFull, StoreBusy):
                return  # It gives up only at shutdown. The next start recovers the jobs.
            parts.notifier.notify_all()
        await parts.scheduler.run()

    def _helpers(self, parts: Parts) -> Iterator[tuple[str, Coroutine[object, object, None]]]:
        """The tasks that run beside the jobs until the daemon shuts down, with their names."""
        yield "store", parts.database.check()
        yield "warm-up of planners", parts.planners.warm(1)
        yield "warm-up of workers", parts.workers.warm()
        yield "settlement", parts.settlement.run()
        yield "disk space", parts.disk_space.run()
        yield "cleanup", parts.cleanup.run()
        yield "retention", parts.retention.run()
        yield "recheck of tokens", parts.server.recheck()
        yield "upload sweeper", parts.upload_sweeper.run()
        pools = (parts.workers, parts.planners, parts.upkeep_workers)
        yield "idle reaper", IdleReaper(*pools, after=self._settings.workers_idle_exit).run()
        yield "signs of life", parts.supervision.live()
        yield "status", parts.supervision.tell()
        yield "reload", self._heed_hangups(parts)
        yield "idleness", self._watch_idleness(parts)
        if parts.metrics is not None:
            yield "lag", parts.metrics.measure_lag()

    def _say_ready(self, parts: Parts, instance: InstanceLock) -> None:
        instance.say(Status.READY)
        settings = self._settings
        places = ", ".join([str(instance.socket), *(f"port {port} (TLS)" for port in parts.server.ports)])
        pattern = "ready on %s, state in %s, process %d"
        tell(LogEvent.DAEMON_READY, pattern, places, settings.state_dir, os.getpid())
        self._sd_notify.ready("ready")

    async def _shut_down(
        self, parts: Parts, jobs: asyncio.Task[None], helpers: list[asyncio.Task[None]], tasks: asyncio.TaskGroup
    ) -> None:
        """Interrupt every active job and show it to watchers, then let the chunks in flight finish."""
        tell(LogEvent.DAEMON_STOPPING, "shutting down")
        parts.control.close()
        grace = self._settings.shutdown_grace
        parts.database.hurry(grace)
        parts.watch.still()
        refusal = tasks.create_task(parts.server.refuse(), name="refusal")
        await asyncio.wait([refusal], timeout=REFUSAL_SECONDS)
        for helper in helpers:
            helper.cancel()
        draining = tasks.create_task(parts.supervision.drain(), name="draining")
        # This comes first, so that no job becomes RUNNING after the running jobs were interrupted.
        await parts.scheduler.close()
        try:
            await interrupt(parts.store, parts.notifier)
        except (DiskFull, StoreBusy) as error:
            self._unwritten = f"cannot mark the running jobs as interrupted, the next start will do it: {error.message}"
            log.critical("%s", self._unwritten)
        parts.workers.drain()
        _, late = await asyncio.wait([jobs], timeout=grace)
        if late:
            log.warning("chunks in flight took longer than %g s and are killed", grace)
        await parts.workers.close()
        await jobs
        parts.watch.close()
        draining.cancel()

    async def _heed_hangups(self, parts: Parts) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            self._sd_notify.reloading()
            tell(LogEvent.DAEMON_RELOADING, "reading the configuration again")
            try:
                message, well = await self._reload(parts), True
            except NotReloaded as error:
                message, well = str(error), False
            parts.supervision.reloaded(message, well=well)
            self._sd_notify.ready(message)

    async def _reload(self, parts: Parts) -> str:
        """Apply the settings that can change while the daemon runs. Returns a message. Raises NotReloaded if nothing
        has changed."""
        wanted, warnings = await read_anew(self._configure)
        for warning in warnings:
            log.warning("%s", warning)
        made = change(self._settings, wanted)
        self._settings = made.settings
        parts.adjust(made.settings)
        log.log(logging.WARNING if made.pending else logging.INFO, "reloaded; %s", made)
        return f"reloaded; {made}"

    async def _watch_idleness(self, parts: Parts) -> None:
        limit = self._settings.idle_exit
        while limit is not None:
            busy = parts.scheduler.busy or parts.disk_space.busy
            idle = 0.0 if busy else parts.server.idle_seconds()
            if idle >= limit:
                log.info("idle for %g s", limit)
                self._end()
                return
            await asyncio.sleep(limit - idle)

    def _heed_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        # Handled also while the daemon starts or stops: by default SIGHUP would kill it.
        loop.add_signal_handler(signal.SIGHUP, self._hangup.set)

    def _forget_signals(self) -> None:
        """Everything is done: from now on a signal ends the process at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN if number is signal.SIGHUP else lambda *_: os._exit(0))

    def _on_signal(self) -> None:
        if self._signalled:
            # This is safe at any moment: the ledger decides what is committed, and workers die with the daemon.
            log.warning("second signal: leaving at once")
            os._exit(1)
        self._signalled = True
        self._end()

    def _end(self) -> None:
        """Begin the shutdown, or cancel the start."""
        self._sd_notify.stopping("shutting down")
        self._stop.set()
        if self._starting is not None:
            self._starting.cancel()
