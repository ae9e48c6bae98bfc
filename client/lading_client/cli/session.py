"""From a command to the daemon and back: connection, errors, exit status."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import typer

from lading_client.cli.output import Format, Output
from lading_client.client import Client
from lading_client.errors import (
    Aborted,
    AlreadyExists,
    BadAddress,
    BadSpec,
    DaemonError,
    FailedPrecondition,
    InvalidArgument,
    LadingError,
    NotFound,
    Unavailable,
)
from lading_client.own_daemon import OwnDaemon

FAILED = 1
WRONG_USAGE = 2
STOPPED = 3
REJECTS = 4
DETACHED = 130

_USAGE = (InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, Aborted, BadAddress, BadSpec)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the options before the command say."""

    server: str | None
    form: Format | None


@dataclass(frozen=True, kw_only=True)
class Session:
    """One command's daemon and output. ``server`` None is the user's own daemon."""

    server: str | None
    output: Output

    @classmethod
    def of(cls, context: typer.Context, server: str | None, form: Format | None) -> "Session":
        """What the options after the command say, else those before it."""
        before = context.find_object(Settings) or Settings(server=None, form=None)
        return cls(server=server or before.server, output=Output(form or before.form or Format.TEXT))

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A client of the daemon; the user's own one is started where it is not there."""
        address = self.server or await OwnDaemon.of(os.environ).ensure()
        async with Client(address) as client:
            yield client

    def run(self, work: Coroutine[Any, Any, int | None]) -> None:
        """Do the command's work, and exit with its status. Errors are said on standard error."""
        try:
            status = asyncio.run(work)
        except KeyboardInterrupt:
            status = DETACHED
        except BrokenPipeError:
            # Whoever read has had enough (`| head`): that is no error. Nothing may be flushed there at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 0
        except LadingError as error:
            self.output.note(f"lading: {self._explained(error)}")
            status = WRONG_USAGE if isinstance(error, _USAGE) else FAILED
        except OSError as error:
            # The machine's own no: a socket that may not be opened, a disk that is full.
            self.output.note(f"lading: {error}")
            status = FAILED
        raise typer.Exit(status or 0)

    def usage(self, problem: object) -> typer.Exit:
        """What to raise for a wrong argument."""
        self.output.note(f"lading: {problem}")
        return typer.Exit(WRONG_USAGE)

    def _explained(self, error: LadingError) -> str:
        if isinstance(error, DaemonError) and error.violations:
            return "\n".join(f"{violation.description}\n  in {violation.field}" for violation in error.violations)
        if isinstance(error, Unavailable) and not error.reason:
            where = self.server or OwnDaemon.of(os.environ).address
            return f"the daemon at {where} cannot be reached: {error.message}"
        return error.message
