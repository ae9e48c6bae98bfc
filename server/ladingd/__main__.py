"""``ladingd``: arguments, settings, and then the daemon.

Only the standard library is imported at the top: worker processes import this module again.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ladingd.config import Settings

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_RUNS_ALREADY = 75
"""EX_TEMPFAIL: another daemon holds the state directory. The command line takes it as: connect to that one."""


def main() -> None:
    """Run the daemon until it is told to stop."""
    arguments = _parse()
    if arguments.command is None:
        _heed_signals()
    sys.exit(_run(arguments))


def _heed_signals() -> None:
    """Leave when told to while the modules are loaded, which takes longer than all else; the daemon then takes over."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ladingd",
        description="The Lading daemon: runs import and export jobs and is controlled over gRPC.",
        epilog="SIGTERM or SIGINT shuts it down in order; a second one at once. Both are safe.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--config", type=Path, metavar="FILE", help="TOML; default /etc/lading/ladingd.toml")
    which.add_argument(
        "--user",
        action="store_true",
        help="be the user's own daemon: state under the XDG directories, exit when idle",
    )
    commands = parser.add_subparsers(dest="command", metavar="[token | store | systemd]")
    token = commands.add_parser("token", help="make, list and revoke tokens; takes effect at the next call")
    _add_actions(token)
    _add_store(commands)
    _add_systemd(commands)
    return parser.parse_args()


def _add_actions(token: argparse.ArgumentParser) -> None:
    actions = token.add_subparsers(dest="action", required=True, metavar="create | list | revoke")
    create = actions.add_parser("create", help="make a token and show it, once")
    create.add_argument("name", metavar="NAME", help="whose it is")
    create.add_argument("--role", required=True, choices=("viewer", "operator", "submitter", "admin"))
    create.add_argument(
        "--connection", action="append", default=[], metavar="NAME", help="one that a submitter may use; repeatable"
    )
    create.add_argument(
        "--root", action="append", default=[], metavar="NAME", help="one that a submitter may use; repeatable"
    )
    create.add_argument("--expires-in", default="", metavar="SPAN", help="as in 12h or 90d; otherwise never")
    actions.add_parser("list", help="show all tokens, without their secrets")
    revoke = actions.add_parser("revoke", help="make a token invalid for good")
    revoke.add_argument("name", metavar="NAME")


def _add_store(commands: Any) -> None:
    store = commands.add_parser("store", help="check the store of jobs, copy it, make its file smaller")
    actions = store.add_subparsers(dest="action", required=True, metavar="check | backup | vacuum")
    check = actions.add_parser("check", help="see whether the store is sound; the daemon may run")
    copy = actions.add_parser("backup", help="make a verified copy of the store; the daemon may run")
    copy.add_argument("file", type=Path, metavar="FILE", help="where the copy goes")
    copy.add_argument("--force", action="store_true", help="replace a file that is there")
    vacuum = actions.add_parser("vacuum", help="give back room in the file that is not used; the daemon must not run")
    for action in (check, copy, vacuum):
        action.add_argument("--output", choices=("text", "json"), default="text", help="what to print; default text")


def _add_systemd(commands: Any) -> None:
    service = commands.add_parser("systemd", help="run it as a service of this machine")
    actions = service.add_subparsers(dest="action", required=True, metavar="show | install")
    actions.add_parser("show", help="print the unit for this installation")
    install = actions.add_parser("install", help="write the unit, make its user, have systemd read it")
    install.add_argument("--directory", type=Path, default=Path("/etc/systemd/system"), metavar="DIR")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "systemd":
        return _systemd(arguments)

    from ladingd.config import ConfigError, load

    try:
        settings = load(arguments.config, user=arguments.user)
    except ConfigError as error:
        return _say(str(error), EXIT_USAGE)
    if arguments.command == "token":
        return _token(settings, arguments)
    if arguments.command == "store":
        return _store(settings, arguments)

    from ladingd.daemon import AlreadyRuns, CannotStart, run

    try:
        run(settings)
    except AlreadyRuns as error:
        return _say(str(error), EXIT_RUNS_ALREADY)
    except CannotStart as error:
        return _say(str(error), EXIT_ERROR)
    return 0


def _token(settings: Settings, arguments: argparse.Namespace) -> int:
    from ladingd.store.errors import StoreUnusable
    from ladingd.tokens import TokenProblem, run

    try:
        run(settings, arguments)
    except (TokenProblem, StoreUnusable) as error:
        return _say(str(error), EXIT_ERROR)
    return 0


def _store(settings: Settings, arguments: argparse.Namespace) -> int:
    from ladingd.store.errors import StoreUnusable
    from ladingd.store_care import StoreProblem, run

    try:
        return run(settings, arguments)
    except (StoreProblem, StoreUnusable) as error:
        return _say(str(error), EXIT_ERROR)


def _systemd(arguments: argparse.Namespace) -> int:
    from ladingd.systemd import ServiceProblem, run

    try:
        run(arguments)
    except ServiceProblem as error:
        return _say(str(error), EXIT_ERROR)
    return 0


def _say(text: str, status: int) -> int:
    sys.stderr.write(f"ladingd: {text}\n")
    return status


if __name__ == "__main__":
    main()
