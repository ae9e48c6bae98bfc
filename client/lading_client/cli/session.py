"""From a command to the daemon and back: connection, errors, exit status."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from lading_client.cli.arguments.options import Format
from lading_client.cli.arguments.server_options import ServerOptions
from lading_client.cli.display.columns import printable
from lading_client.cli.display.output import Output
from lading_client.errors import (
    Aborted,
    AlreadyExists,
    BadAddress,
    BadCredentials,
    BadSpec,
    DaemonError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    LadingError,
    NotFound,
    PermissionDenied,
    ShuttingDown,
    Unauthenticated,
    Unavailable,
    Violation,
)
from lading_client.local_daemon import OwnDaemon
from lading_client.transport.address import is_socket
from lading_client.transport.credentials import Tls, token_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping

    from lading_client.client import Client


FAILED = 1
WRONG_USAGE = 2
STOPPED = 3
REJECTS = 4
DETACHED = 130

_USAGE = (
    InvalidArgument,
    Unauthenticated,
    PermissionDenied,
    NotFound,
    AlreadyExists,
    FailedPrecondition,
    Aborted,
    BadAddress,
    BadCredentials,
    BadSpec,
)

_ARGUMENTS: Mapping[str, str] = {
    "name": "JOB",
    "parent": "JOB",
    "filter": "--filter",
    "order_by": "--order-by",
    "csv.delimiter": "--delimiter",
    "csv.quote": "--quote",
    "csv.header": "--header",
    "csv.header_lines": "--header-lines",
    "csv.skip_lines": "--skip-lines",
    "csv.comment": "--comment",
    "csv.escape": "--escape",
    "csv.ragged": "--ragged",
    "fixed_width.widths": "--widths",
    "fixed_width.header": "--header",
    "fixed_width.skip_lines": "--skip-lines",
    "fixed_width.comment": "--comment",
    "fixed_width.ragged": "--ragged",
    "excel.sheet": "--sheet",
    "excel.range": "--range",
    "excel.header": "--header",
    "excel.header_lines": "--header-lines",
    "xml.record_element": "--record-element",
    "null_words": "--null",
    "file_format": "--format",
    "encoding": "--encoding",
    "member": "--member",
    "flatten": "--flatten",
}
"""The arguments for API fields whose errors do not name the argument. Fields of specs are named within the spec."""

_SPEC = re.compile(r"(?:job\.spec\.(?:import|export)_spec|spec)\.")


_CREDENTIALS: Mapping[str, str] = {
    "token": "--token-file names a file with only the token, as `ladingd token create` prints it"
    " (without that option: LADING_TOKEN, LADING_TOKEN_FILE)",
    "ca": "--ca (or LADING_CA) names the authority's certificate, in PEM",
    "certificate": "--certificate (or LADING_CERTIFICATE) names the client's certificate, in PEM",
    "key": "--certificate-key (or LADING_KEY) names the key of the client's certificate, in PEM; you must be able to"
    " read it",
    "": "--certificate and --certificate-key must name a matching pair",
}
"""What to type, for each kind of credentials that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """One command's daemon and output. If ``server`` is None, it is the user's own daemon."""

    server: str | None
    output: Output
    token_file: str | None = None
    tls: Tls | None = None

    @classmethod
    def of(cls, context: typer.Context) -> Session:
        """The session from the server options, or else from the environment."""
        given = context.find_object(ServerOptions) or ServerOptions()
        return cls(
            server=given.server or os.environ.get("LADING_SERVER") or None,
            output=Output(given.output or Format.TEXT),
            token_file=given.token_file,
            tls=Tls(
                ca=given.ca or os.environ.get("LADING_CA") or None,
                certificate=given.certificate or os.environ.get("LADING_CERTIFICATE") or None,
                key=given.certificate_key or os.environ.get("LADING_KEY") or None,
                server_name=given.server_name or os.environ.get("LADING_SERVER_NAME") or None,
            ),
        )

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A client of the daemon. The user's own daemon is started if it does not run."""
        # Slow to import. Help, usage errors and `lading daemon` do not need it.
        from lading_client.client import Client

        if self.server:
            # A Unix socket does not use TLS. The TLS variables in the environment are for other daemons.
            tls = None if is_socket(self.server) else self.tls
            client = Client(self.server, token=self._token(), tls=tls)
        else:
            daemon = OwnDaemon.of(os.environ)

            async def renew() -> str:
                return await daemon.renew(self.output.note)

            client = Client(await daemon.ensure(self.output.note), renew=renew)
        async with client:
            yield client

    def _token(self) -> str | None:
        """The token for a named daemon. The user's own daemon needs no token and must not receive another daemon's."""
        if self.token_file:
            return token_in(self.token_file)
        if given := os.environ.get("LADING_TOKEN"):
            return given
        path = os.environ.get("LADING_TOKEN_FILE")
        return token_in(path) if path else None

    def run(self, work: Coroutine[Any, Any, int | None], *, names_fields: bool = False) -> None:
        """Do the command's work and exit with its status. Errors go to standard error.

        With ``names_fields``, errors also name the field of the API, for people who wrote a spec.
        """
        try:
            status = asyncio.run(work)
        except KeyboardInterrupt:
            status = DETACHED
        except BrokenPipeError:
            # The reader closed the pipe (`| head`), which is not an error. Nothing may be flushed to it at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 0
        except LadingError as error:
            self.output.note(f"lading: {self._explained(error, names_fields=names_fields)}")
            status = WRONG_USAGE if isinstance(error, _USAGE) else FAILED
        except OSError as error:
            # An error of the machine: a socket may not be opened, or a disk is full.
            where = "" if error.filename is None else f"{error.filename}: "
            self.output.note(f"lading: {where}{error.strerror or error}")
            status = FAILED
        except UnicodeEncodeError as error:
            # The command line contains bytes that are not text in this locale.
            self.output.note(
                f"lading: {error.object!r} cannot be sent to the daemon: it is not text (locale not UTF-8?)"
            )
            status = WRONG_USAGE
        raise typer.Exit(status or 0)

    def usage(self, problem: object) -> typer.Exit:
        """Print the problem with an argument and return the exception to raise."""
        self.output.note(f"lading: {problem}")
        return typer.Exit(WRONG_USAGE)

    def _explained(self, error: LadingError, *, names_fields: bool) -> str:
        if isinstance(error, DaemonError) and error.violations:
            return "\n".join(line for each in error.violations for line in self._lines(each, names_fields=names_fields))
        if isinstance(error, BadCredentials):
            return f"{error.message}; {_CREDENTIALS[error.setting]}"
        if isinstance(error, Unauthenticated) and self.server:
            return f"the daemon at {self.server} does not let you in: {error.message}; {self._way_in()}"
        if isinstance(error, Unavailable | DeadlineExceeded) and not error.reason:
            return self._unreachable(error)
        if isinstance(error, ShuttingDown):
            return "the daemon is shutting down and takes no more work; try again when it runs again"
        return error.message

    def _lines(self, violation: Violation, *, names_fields: bool) -> Iterator[str]:
        from lading_client.cli.display.configuration import advice

        said = printable(violation.description)
        yield said if names_fields else f"{_ARGUMENTS.get(_SPEC.sub('', violation.field, count=1), '')} {said}".lstrip()
        if names_fields:
            yield f"  in {violation.field}"
        yield from advice(violation.description, self.server)

    def _unreachable(self, error: DaemonError) -> str:
        if self.server:
            from lading_client.transport.diagnosis import why_unreachable

            return f"the daemon at {self.server} cannot be reached: {why_unreachable(self.server, self.tls)}"
        try:
            found = OwnDaemon.of(os.environ).look()
        except LadingError as trouble:
            return trouble.message
        if found is None:
            return "your daemon has stopped; any command starts it again; to see why it stopped: lading daemon logs"
        return (
            f"your daemon (pid {found.pid}) has not answered: {error.message}; to see what it does: lading daemon logs;"
            " to stop it (its jobs continue at the next start): lading daemon stop"
        )

    def _way_in(self) -> str:
        if self.token_file or os.environ.get("LADING_TOKEN") or os.environ.get("LADING_TOKEN_FILE"):
            given = "--token-file" if self.token_file else "LADING_TOKEN or LADING_TOKEN_FILE"
            return f"{given} must give another token; the daemon's administrator creates one: ladingd token create"
        return "name a token file with --token-file; the daemon's administrator creates a token: ladingd token create"
