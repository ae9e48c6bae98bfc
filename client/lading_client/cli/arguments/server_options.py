"""The options that say which daemon a command calls, as whom, and in which format it prints results.

Every command takes them before and after its name. If an option is given more than once, the last one counts.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

# typer reads the annotations of `_declared` at run time.
from lading_client.cli.arguments.options import Format


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerOptions:
    """The values of the options; None if an option is not given."""

    server: str | None = None
    token_file: str | None = None
    ca: str | None = None
    certificate: str | None = None
    certificate_key: str | None = None
    server_name: str | None = None
    output: Format | None = None


def _declared(
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="ADDRESS",
            help="The daemon: unix:/path, or host:port for TLS. Default: LADING_SERVER, else your own daemon.",
        ),
    ] = None,
    token_file: Annotated[
        str | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="A file with the token. Default: LADING_TOKEN, else the file that LADING_TOKEN_FILE names.",
        ),
    ] = None,
    ca: Annotated[
        str | None,
        typer.Option(
            "--ca",
            metavar="FILE",
            help="The authority that signs the daemon's certificate, in PEM. Default: LADING_CA, else the well-known"
            " authorities.",
        ),
    ] = None,
    certificate: Annotated[
        str | None,
        typer.Option(
            "--certificate",
            metavar="FILE",
            help="The client's own certificate, in PEM, if the daemon asks for one. Default: LADING_CERTIFICATE.",
        ),
    ] = None,
    certificate_key: Annotated[
        str | None,
        typer.Option(
            "--certificate-key", metavar="FILE", help="The certificate's private key, in PEM. Default: LADING_KEY."
        ),
    ] = None,
    server_name: Annotated[
        str | None,
        typer.Option(
            "--server-name",
            metavar="NAME",
            help="The name in the daemon's certificate, if it differs from the address. Default: LADING_SERVER_NAME.",
        ),
    ] = None,
    output: Annotated[
        Format | None, typer.Option("--output", help="The format of results.", show_default="text")
    ] = None,
) -> None:
    """A function that only declares the options."""


_IN_EVERY_HELP = ("server", "output")
_EPILOG = (
    "Server options, before or after the command name: --server, --token-file, --ca, --certificate,"
    " --certificate-key, --server-name, --output. lading -h explains them."
)


@cache
def _parameters() -> tuple[Any, ...]:
    """The options as click knows them. They are made once: making them for every command would take 10 ms."""
    template = typer.Typer(add_completion=False)
    template.command()(_declared)
    return tuple(typer.main.get_command(template).params)


@cache
def _short_parameters() -> tuple[Any, ...]:
    """The same options for a command, whose help explains only the most frequent ones."""
    parameters = tuple(copy.copy(parameter) for parameter in _parameters())
    for parameter in parameters:
        parameter.hidden = parameter.name not in _IN_EVERY_HELP
    return parameters


def _take(context: Any) -> None:
    """Move the options from the parameters of the command to the context, over those before the command name."""
    given = {field.name: context.params.pop(field.name, None) for field in fields(ServerOptions)}
    if given["output"] is not None:
        given["output"] = Format(given["output"])
    before = context.find_object(ServerOptions) or ServerOptions()
    context.obj = replace(before, **{name: value for name, value in given.items() if value is not None})


class Command(TyperCommand):
    """A command that takes the server options after its name."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        attributes["params"] = [*(attributes.get("params") or ()), *_short_parameters()]
        attributes["epilog"] = attributes.get("epilog") or _EPILOG
        super().__init__(*args, **attributes)

    def invoke(self, ctx: Any) -> Any:
        _take(ctx)
        return super().invoke(ctx)


class Group(TyperGroup):
    """A group of commands that takes the server options before the name of the command."""

    _server_parameters = staticmethod(_short_parameters)

    def __init__(self, *args: Any, **attributes: Any) -> None:
        attributes["params"] = [*self._server_parameters(), *(attributes.get("params") or ())]
        super().__init__(*args, **attributes)

    def invoke(self, ctx: Any) -> Any:
        _take(ctx)
        return super().invoke(ctx)


class Program(Group):
    """The outermost group, whose help explains every server option."""

    _server_parameters = staticmethod(_parameters)
