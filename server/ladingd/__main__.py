"""``ladingd``: arguments, settings, and then the daemon.

Only the standard library is imported at the top: worker processes import this module again.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ladingd.config import Settings

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_RUNS_ALREADY = 75
"""EX_TEMPFAIL: another daemon holds the state directory. The command line takes it as: connect to that one."""


def main() -> None:
    """Run the daemon until it is told to stop."""
    sys.exit(_run(_parse()))


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
    commands = parser.add_subparsers(dest="command", metavar="[token | config | doctor]")
    token = commands.add_parser("token", help="make, list and revoke tokens; takes effect at the next call")
    _add_actions(token)
    _add_config(commands.add_parser("config", help="write a configuration file, or check one"))
    doctor = commands.add_parser("doctor", help="look at everything the daemon needs, and say what is not well")
    _add_output(doctor)
    _add_user(doctor)
    return parser.parse_args()


def _add_config(config: argparse.ArgumentParser) -> None:
    actions = config.add_subparsers(dest="action", required=True, metavar="init | check")
    init = actions.add_parser("init", help="print a file with every key, its meaning and its default")
    init.add_argument("--output", type=Path, metavar="FILE", help="write it there, where no file is")
    init.add_argument("--force", action="store_true", help="overwrite the file that is there")
    _add_user(init)
    check = actions.add_parser("check", help="find all that is wrong; exit status 2 where the daemon would not start")
    check.add_argument("file", type=Path, nargs="?", metavar="FILE", help="default: the one the daemon reads")
    check.add_argument("--connect", action="store_true", help="try to reach the databases too")
    _add_output(check)
    _add_user(check)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", choices=("text", "json"), default="text", help="json: one document")


def _add_user(parser: argparse.ArgumentParser) -> None:
    # Before the command it means the same, and is kept where it does not stand here.
    parser.add_argument("--user", action="store_true", default=argparse.SUPPRESS, help="that of the user's own daemon")


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


def _run(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "config":
            return _config(arguments)
        case "doctor":
            from ladingd.doctor.command import run as examine

            return examine(arguments)

    from ladingd.config import ConfigError, load

    try:
        if arguments.command == "token":
            return _token(load(arguments.config, user=arguments.user), arguments)
        return _serve(arguments)
    except ConfigError as error:
        return _say(str(error), EXIT_USAGE)


def _serve(arguments: argparse.Namespace) -> int:
    from ladingd.config import checked
    from ladingd.daemon import AlreadyRuns, CannotStart, run

    try:
        run(partial(checked, arguments.config, user=arguments.user))
    except AlreadyRuns as error:
        return _say(str(error), EXIT_RUNS_ALREADY)
    except CannotStart as error:
        return _say(str(error), EXIT_ERROR)
    return 0


def _config(arguments: argparse.Namespace) -> int:
    from ladingd.config.command import ConfigProblem, run

    try:
        return run(arguments)
    except ConfigProblem as error:
        return _say(str(error), EXIT_ERROR)


def _token(settings: Settings, arguments: argparse.Namespace) -> int:
    from ladingd.store.errors import StoreUnusable
    from ladingd.tokens import TokenProblem, run

    try:
        run(settings, arguments)
    except (TokenProblem, StoreUnusable) as error:
        return _say(str(error), EXIT_ERROR)
    return 0


def _say(text: str, status: int) -> int:
    sys.stderr.write(f"ladingd: {text}\n")
    return status


if __name__ == "__main__":
    main()
