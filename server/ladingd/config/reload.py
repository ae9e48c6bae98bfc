"""Reads the configuration of a daemon that runs: whatever is wrong with it must not end the daemon."""

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
"""Seconds that the files of a configuration have to be read."""

log = logging.getLogger(__name__)


class NotReloaded(Exception):
    """There is nothing to put into force; the text says so, and the log why."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"nothing is reloaded: {problem}")


async def read_anew(configure: Callable[[], Configuration]) -> Configuration:
    """The settings that are wanted now, and warnings. Raises NotReloaded."""
    try:
        return await _apart(configure)
    except ConfigError as error:
        # A line each: they are many, and a line of the log shows no line breaks.
        for finding in error.findings:
            log.error("%s", finding)
        problem = f"the configuration has errors: {len(error.findings)}; the log has them"
    except TimeoutError:
        problem = f"the configuration, or a file that it names, cannot be read within {READING:g} s"
    except Exception:
        # A defect. The daemon has a configuration that it runs with, and jobs.
        log.exception("the configuration cannot be looked at")
        problem = "the configuration cannot be looked at; the log says why"
    log.error("nothing is reloaded: %s", problem)
    raise NotReloaded(problem)


async def _apart(configure: Callable[[], Configuration]) -> Configuration:
    """Read the configuration in a thread that nobody waits for at the end: what is on a file system that is gone may
    never answer. Raises TimeoutError, and what reading raises."""
    answer: concurrent.futures.Future[Configuration] = concurrent.futures.Future()

    def read() -> None:
        try:
            answer.set_result(configure())
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=read, daemon=True, name="configuration").start()
    async with asyncio.timeout(READING):
        return await asyncio.shield(asyncio.wrap_future(answer))
