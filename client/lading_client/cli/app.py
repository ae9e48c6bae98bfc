"""The command `lading`."""

import os
import sys
from typing import Annotated, Any

import typer

from lading_client.cli.arguments.server_options import Command, Program
from lading_client.cli.commands import audit, daemon, download, jobs, tables, transfers, watching
from lading_client.cli.display.columns import printable_lines
from lading_client.cli.session import DETACHED, Session
from lading_client.local_daemon import SILENT

_USAGE_ERROR: Any = typer.BadParameter.__base__
"""The usage error of click, or of Typer's own copy of click. Typer does not export it."""

app = typer.Typer(
    name="lading",
    cls=Program,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    # Plain help: no import of rich, and no values of variables in a traceback.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _name, _function in (
    ("import", transfers.import_file),
    ("preview", transfers.preview_file),
    ("export", transfers.export_table),
    ("run", transfers.run_spec),
    ("ls", jobs.list_jobs),
    ("show", jobs.show),
    ("watch", watching.watch),
    ("share", jobs.share),
    ("unshare", jobs.unshare),
    ("clone", jobs.clone),
    ("start", jobs.start),
    ("pause", jobs.pause),
    ("cancel", jobs.cancel),
    ("delete", jobs.delete),
    ("journal", watching.journal),
    ("rejects", watching.rejects),
    ("download", download.download),
    ("tables", tables.tables),
    ("table", tables.table),
    ("audit", audit.audit),
):
    app.command(_name, cls=Command)(_function)
app.add_typer(daemon.app, name="daemon")


@app.callback(invoke_without_command=True)
def lading(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Move records in bulk between files and database tables, and watch the progress.

    Every command also takes the options --server to --output after its name. The last one counts.
    """
    if version:
        _print_version(Session.of(context))
        raise typer.Exit
    if context.invoked_subcommand is None:
        context.fail("Missing command.")


def _print_version(ours: Session) -> None:
    from importlib.metadata import version

    found = version("lading")
    if ours.output.json:
        ours.output.document({"version": found})
    else:
        ours.output.text([f"lading {found}"])


def main() -> None:
    """Run the command that the arguments name."""
    # These are None if the caller closed the stream.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # If the terminal's encoding lacks a character, it shows a replacement. The command does not fail.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    # Our message about a failed handshake says more than gRPC's log. Programs that use the library decide themselves.
    os.environ.setdefault("GRPC_VERBOSITY", SILENT)
    status = _run()
    # Nothing is left to do. A normal interpreter shutdown would take a fifth of a short command's time.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _run() -> int:
    try:
        # Commands raise typer.Exit, and app() returns its status.
        return app(standalone_mode=False) or 0
    except _USAGE_ERROR as error:
        # The message repeats the arguments, and `lading import *` passes the names of files.
        error.message = printable_lines(error.message)
        error.show()
        return int(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return DETACHED
