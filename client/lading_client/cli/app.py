"""The command `lading`."""

import os
import sys
from typing import Annotated, Any

import typer

from lading_client.cli.arguments.options import OutputOption
from lading_client.cli.commands import audit, daemon, download, jobs, transfers, watching
from lading_client.cli.display.columns import printable_lines
from lading_client.cli.session import DETACHED, Settings
from lading_client.local_daemon import SILENT
from lading_client.transport.credentials import Tls

_USAGE_ERROR: Any = typer.BadParameter.__base__
"""Typer has it from click, or from a copy of click of its own, and does not export it."""

app = typer.Typer(
    name="lading",
    help="Move records in bulk between files and database tables, and watch the progress.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    # Plain help: no import of rich, and no values of variables in a traceback.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("import")(transfers.import_file)
app.command("export")(transfers.export_table)
app.command("run")(transfers.run_spec)
app.command("ls")(jobs.list_jobs)
app.command("show")(jobs.show)
app.command("watch")(watching.watch)
app.command("share")(jobs.share)
app.command("unshare")(jobs.unshare)
app.command("clone")(jobs.clone)
app.command("start")(jobs.start)
app.command("pause")(jobs.pause)
app.command("cancel")(jobs.cancel)
app.command("delete")(jobs.delete)
app.command("journal")(watching.journal)
app.command("rejects")(watching.rejects)
app.command("download")(download.download)
app.command("audit")(audit.audit)
app.add_typer(daemon.app, name="daemon")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"lading {version('lading')}")
        raise typer.Exit


@app.callback()
def settings(
    context: typer.Context,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            envvar="LADING_SERVER",
            metavar="ADDRESS",
            help="The daemon: unix:/path, or host:port for TLS. Default: your own daemon.",
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
            envvar="LADING_CA",
            metavar="FILE",
            help="The authority that signs the daemon's certificate, in PEM. Default: the well-known ones.",
        ),
    ] = None,
    certificate: Annotated[
        str | None,
        typer.Option(
            "--certificate",
            envvar="LADING_CERTIFICATE",
            metavar="FILE",
            help="The client's own certificate, in PEM, if the daemon asks for one.",
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", envvar="LADING_KEY", metavar="FILE", help="Its private key, in PEM.")
    ] = None,
    server_name: Annotated[
        str | None,
        typer.Option(
            "--server-name",
            envvar="LADING_SERVER_NAME",
            metavar="NAME",
            help="The name in the daemon's certificate, if it is not the one in the address.",
        ),
    ] = None,
    output: OutputOption = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options --server and --output may stand after the command as well."""
    tls = Tls(ca=ca, certificate=certificate, key=key, server_name=server_name)
    context.obj = Settings(server=server, form=output, token_file=token_file, tls=tls)


def main() -> None:
    """Run the command that the arguments name."""
    # Python has none where the caller closed it.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a sign of ours shows another one instead of ending the command.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    # What gRPC logs of a failed handshake says less than we do. A program that uses the library decides for itself.
    os.environ.setdefault("GRPC_VERBOSITY", SILENT)
    status = _run()
    # All is said and nothing is open: taking the interpreter down in order is a fifth of a short command's time.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _run() -> int:
    try:
        # Commands end by typer.Exit, whose status comes back here.
        return app(standalone_mode=False) or 0
    except _USAGE_ERROR as error:
        # It repeats what was typed: `lading import *` types the names of files.
        error.message = printable_lines(error.message)
        error.show()
        return int(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return DETACHED
