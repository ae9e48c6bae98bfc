"""The connections of the settings, and whether their databases can be reached."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ladingd.core.errors import LadingError, TargetUnavailable
from ladingd.data.connection import Connection
from ladingd.data.databases import try_out
from ladingd.run.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ladingd.config import Settings
    from ladingd.data.trial import Answer

PATIENCE = 15.0
"""Seconds that a database has to answer: those of a connection that cannot be made, and some."""
SIDE_BY_SIDE = 8


def connections_of(settings: Settings) -> dict[str, Connection]:
    """The databases that jobs may name."""
    return {name: Connection(name=name, **connection.model_dump()) for name, connection in settings.connections.items()}


def try_all(settings: Settings) -> Mapping[str, Answer | LadingError]:
    """Reach each database, in processes of their own: drivers hang, and the daemon never loads them."""
    connections = connections_of(settings)
    return asyncio.run(_try_all(connections)) if connections else {}


async def _try_all(connections: Mapping[str, Connection]) -> Mapping[str, Answer | LadingError]:
    workers = Workers(min(len(connections), SIDE_BY_SIDE))
    slots = asyncio.Semaphore(workers.size)
    try:
        answers = await asyncio.gather(*(_try(workers, slots, connection) for connection in connections.values()))
    finally:
        await workers.close()
    return dict(zip(connections, answers, strict=True))


async def _try(workers: Workers, slots: asyncio.Semaphore, connection: Connection) -> Answer | LadingError:
    async with slots:  # The seconds begin when there is a process for it.
        try:
            async with asyncio.timeout(PATIENCE):
                return await workers.call(try_out, connection)
        except TimeoutError:
            return TargetUnavailable(f"no answer within {PATIENCE:g} s")
        except LadingError as error:
            return error
