"""The connections of the settings, and whether their databases can be reached."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from ladingd.config.settings import missing
from ladingd.core.errors import LadingError, TargetUnavailable
from ladingd.data.databases.connection import Connection, database_path
from ladingd.data.databases.provider import Answer
from ladingd.data.databases.registry import try_out
from ladingd.run.workers.pool import Workers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ladingd.config import Settings

PATIENCE = 15.0
"""Seconds that a database has to answer: those of a connection that cannot be made, and some."""
SIDE_BY_SIDE = 8


def connections_of(settings: Settings) -> dict[str, Connection]:
    """The databases that jobs may name."""
    return {name: Connection(name=name, **connection.model_dump()) for name, connection in settings.connections.items()}


def try_all(settings: Settings) -> Mapping[str, Answer | LadingError]:
    """Reach each database, in processes of their own: drivers hang, and the daemon never loads them."""
    connections = connections_of(settings)
    answers: dict[str, Answer | LadingError] = {}
    if "CREDENTIALS_DIRECTORY" not in os.environ:
        units = [name for name, connection in connections.items() if connection.password_credential]
        reservation = "its password is a credential of the unit, which nobody else sees"
        answers |= dict.fromkeys(units, Answer(server="not tried", reservation=reservation))
    if missing(settings.state_dir):
        ours = [name for name, connection in connections.items() if _is_beneath(settings.state_dir, connection)]
        answers |= dict.fromkeys(ours, Answer(server="SQLite, no file yet: it comes with the daemon's first start"))
    rest = {name: connection for name, connection in connections.items() if name not in answers}
    return answers | (asyncio.run(_try_all(rest)) if rest else {})


def _is_beneath(directory: Path, connection: Connection) -> bool:
    return connection.scheme == "sqlite" and database_path(connection, "url").is_relative_to(directory)


async def _try_all(connections: Mapping[str, Connection]) -> dict[str, Answer | LadingError]:
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
