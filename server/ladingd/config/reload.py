"""Reads the configuration again while the daemon runs. An error in it must not end the daemon."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from typing import TYPE_CHECKING

from ladingd.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ladingd.config import Settings
    from ladingd.config.finding import Finding

    Configuration = tuple[Settings, tuple[Finding, ...]]

READING = 30.0
"""Seconds that reading the files of a configuration may take."""

log = logging.getLogger(__name__)


class NotReloaded(Exception):
    """The reload has changed nothing. The text says so, and the log says why."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"not reloaded: {problem}")


async def read_anew(configure: Callable[[], Configuration]) -> Configuration:
    """The new settings, and warnings. Raises NotReloaded."""
    try:
        return await _apart(configure)
    except ConfigError as error:
        # One line for each finding: a log line shows no line breaks.
        for finding in error.findings:
            log.error("%s", finding)
        problem = f"the configuration has errors: {len(error.findings)}; the log lists them"
    except TimeoutError:
        problem = f"the configuration, or a file that it names, cannot be read within {READING:g} s"
    except Exception:
        # A defect. The daemon keeps its present configuration and its jobs.
        log.exception("the configuration cannot be checked")
        problem = "the configuration cannot be checked; the log says why"
    log.error("not reloaded: %s", problem)
    raise NotReloaded(problem)


async def _apart(configure: Callable[[], Configuration]) -> Configuration:
    """Read the configuration in a thread that the daemon does not wait for at its end: a lost file system may never
    answer. Raises TimeoutError, and what reading raises."""
    answer: concurrent.futures.Future[Configuration] = concurrent.futures.Future()

    def read() -> None:
        try:
            answer.set_result(configure())
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=read, daemon=True, name="configuration").start()
    async with asyncio.timeout(READING):
        return await asyncio.shield(asyncio.wrap_future(answer))
