"""The connections of the settings, and whether their databases can be reached."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from ladingd.config.settings import missing
from ladingd.core.errors import LadingError, TargetUnavailable
from ladingd.data.databases.connection import connections_of
from ladingd.data.databases.provider import Answer
from ladingd.data.databases.registry import check, provider_of
from ladingd.run.workers.pool import Workers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ladingd.config import Settings
    from ladingd.data.databases.connection import Connection

TIMEOUT = 15.0
"""Seconds that a check of a database may take. A driver gives up connecting sooner."""
SIDE_BY_SIDE = 8


def try_all(settings: Settings) -> Mapping[str, Answer | LadingError]:
    """Connect to each database from a worker process: drivers can hang, and the daemon never loads them."""
    connections = connections_of(settings.connections)
    answers: dict[str, Answer | LadingError] = {}
    if "CREDENTIALS_DIRECTORY" not in os.environ:
        units = [name for name, connection in connections.items() if connection.password_credential]
        reservation = "its password is a credential of the systemd unit, which is not visible here"
        answers |= dict.fromkeys(units, Answer(server="not checked", reservation=reservation))
    if missing(settings.state_dir):
        for name, connection in connections.items():
            provider = provider_of(connection.url)
            file = provider.database_file(connection.url)
            if file is not None and file.is_relative_to(settings.state_dir):
                server = f"{provider.name}, no file yet: the daemon creates it at its first start"
                answers[name] = Answer(server=server)
    rest = {name: connection for name, connection in connections.items() if name not in answers}
    return answers | (asyncio.run(_try_all(rest)) if rest else {})


async def _try_all(connections: Mapping[str, Connection]) -> dict[str, Answer | LadingError]:
    workers = Workers(min(len(connections), SIDE_BY_SIDE))
    slots = asyncio.Semaphore(workers.size)
    try:
        answers = await asyncio.gather(*(_try(workers, slots, connection) for connection in connections.values()))
    finally:
        await workers.close()
    return dict(zip(connections, answers, strict=True))


async def _try(workers: Workers, slots: asyncio.Semaphore, connection: Connection) -> Answer | LadingError:
    async with slots:  # The timeout begins when a process is free.
        try:
            async with asyncio.timeout(TIMEOUT):
                return await workers.call(check, connection)
        except TimeoutError:
            return TargetUnavailable.no_answer(TIMEOUT)
        except LadingError as error:
            return error
