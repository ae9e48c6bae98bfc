"""`lading daemon status`, `stop` and `logs`: the user's own daemon."""

import asyncio
import os
from typing import Annotated, Any

import typer

from lading_client.cli.arguments.server_options import Command, Group
from lading_client.cli.display.columns import aligned
from lading_client.cli.session import FAILED, Session
from lading_client.errors import DaemonUnreachable, LadingError
from lading_client.local_daemon import OwnDaemon

_POLL_SECONDS = 0.2
_WORDS = {"stateDirectory": "state directory"}

_EPILOG = "The command concerns your own daemon. It takes every server option and uses only --output."

app = typer.Typer(
    cls=Group,
    help="Your own daemon, which the commands start if no server is named.",
    short_help="Show, stop and read the log of your own daemon.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(cls=Command, epilog=_EPILOG)
def status(context: typer.Context) -> None:
    """Show whether the daemon runs, and where its files are."""
    ours = Session.of(context)

    async def work() -> int:
        daemon = OwnDaemon.of(os.environ)
        problem = ""
        try:
            found = daemon.look()
        except DaemonUnreachable as error:
            facts, problem = {"running": True} | _pid(error.pid) | {"problem": error.message}, error.message
            said = f"running{_comma_pid(error.pid)}, but cannot be reached"
        else:
            facts = {"running": False} if found is None else {"running": True} | _pid(found.pid)
            said = "not running" if found is None else f"running{_comma_pid(found.pid)}"
        places = {
            "socket": daemon.address.removeprefix("unix:"),
            "stateDirectory": str(daemon.state_directory),
            "database": str(daemon.database),
            "log": str(daemon.log),
        }
        if ours.output.json:
            ours.output.document(facts | places)
        else:
            ours.output.text(
                aligned([("daemon", said), *((_WORDS.get(key, key), place) for key, place in places.items())])
            )
        if not problem:
            return 0
        ours.output.note(f"lading: {problem}")
        return FAILED

    ours.run(work())


def _pid(pid: int | None) -> dict[str, Any]:
    return {} if pid is None else {"pid": pid}


def _comma_pid(pid: int | None) -> str:
    return "" if pid is None else f", pid {pid}"


@app.command(cls=Command, epilog=_EPILOG)
def stop(context: typer.Context) -> None:
    """Stop the daemon. Running jobs continue after its next start."""
    ours = Session.of(context)

    async def work() -> None:
        pid = await OwnDaemon.of(os.environ).stop()
        if ours.output.json:
            ours.output.document({"stopped": pid is not None} | _pid(pid))
        else:
            ours.output.text(["not running" if pid is None else f"stopped, pid was {pid}"])

    ours.run(work())


@app.command(cls=Command, epilog=_EPILOG)
def logs(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing until Ctrl-C.")] = False,
) -> None:
    """Print the daemon's log."""
    ours = Session.of(context)

    async def work() -> int:
        path = OwnDaemon.of(os.environ).log
        try:
            log = path.open(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            raise NoLog(f"there is no log {path}: the daemon has not been started yet") from None
        with log:
            while True:
                for line in log:
                    if ours.output.json:
                        ours.output.document({"line": line.rstrip("\n")})
                    else:
                        ours.output.text([line.rstrip("\n")])
                if not follow:
                    return 0
                await asyncio.sleep(_POLL_SECONDS)

    ours.run(work())


class NoLog(LadingError):
    """The daemon has written nothing yet."""
