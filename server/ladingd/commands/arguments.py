"""The command line of ``ladingd``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from ladingd.core.printable import printable


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(printable(message))  # It repeats what was typed.


def parse() -> argparse.Namespace:
    """The arguments of this process. Exits if they are wrong or ask for help."""
    parser = _Parser(
        prog="ladingd",
        description="The Lading daemon: runs import and export jobs and is controlled over gRPC.",
        epilog="SIGTERM or SIGINT shuts it down in order; a second signal stops it at once. Both are safe.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--config", type=Path, metavar="FILE", help="TOML; default /etc/lading/ladingd.toml")
    which.add_argument(
        "--user",
        action="store_true",
        help="run as the user's own daemon: state in ~/.local/state/lading, exit when idle",
    )
    commands = parser.add_subparsers(dest="command", metavar="[config | token | store | systemd | doctor]")
    _add_config(commands.add_parser("config", help="write a configuration file, or check one"))
    token = commands.add_parser("token", help="create, list and revoke tokens; changes apply from the next call on")
    _add_actions(token)
    _add_store(commands)
    _add_systemd(commands)
    doctor = commands.add_parser("doctor", help="check everything that the daemon needs and report problems")
    _add_output(doctor)
    _add_user(doctor)
    return parser.parse_args()


def _add_config(config: argparse.ArgumentParser) -> None:
    actions = config.add_subparsers(dest="action", required=True, metavar="init | check")
    init = actions.add_parser("init", help="print a file with every key, its meaning and its default")
    init.add_argument("--output", type=Path, metavar="FILE", help="write it to FILE, which must not exist")
    init.add_argument("--force", action="store_true", help="overwrite FILE")
    _add_user(init)
    check = actions.add_parser("check", help="report all errors; exit status 2 if the daemon would not start")
    check.add_argument("file", type=Path, nargs="?", metavar="FILE", help="default: the file that the daemon reads")
    check.add_argument("--connect", action="store_true", help="also connect to the databases")
    _add_output(check)
    _add_user(check)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", choices=("text", "json"), default="text", help="json: one document")


def _add_user(parser: argparse.ArgumentParser) -> None:
    # The option has the same meaning before the command. SUPPRESS keeps that value if the option is absent here.
    parser.add_argument("--user", action="store_true", default=argparse.SUPPRESS, help="ask about your own daemon")


def _add_actions(token: argparse.ArgumentParser) -> None:
    actions = token.add_subparsers(dest="action", required=True, metavar="create | list | revoke")
    create = actions.add_parser("create", help="create a token and show it once")
    create.add_argument("name", metavar="NAME", help="who uses the token")
    create.add_argument("--role", required=True, choices=("viewer", "operator", "submitter", "admin"))
    create.add_argument(
        "--connection",
        action="append",
        default=[],
        metavar="NAME",
        help="a connection that the submitter may use; repeatable",
    )
    create.add_argument(
        "--root", action="append", default=[], metavar="NAME", help="a root that the submitter may use; repeatable"
    )
    create.add_argument("--expires-in", default="", metavar="SPAN", help="as in 12h or 90d; default: never")
    listed = actions.add_parser("list", help="show all tokens, without their secrets")
    revoke = actions.add_parser("revoke", help="make a token invalid for good")
    revoke.add_argument("name", metavar="NAME")
    for action in (create, listed, revoke):
        _add_user(action)


def _add_store(commands: Any) -> None:
    store = commands.add_parser("store", help="check the store of jobs, copy it, shrink its file")
    actions = store.add_subparsers(dest="action", required=True, metavar="check | backup | vacuum")
    check = actions.add_parser("check", help="check that the store is sound; the daemon may run")
    copy = actions.add_parser("backup", help="make a verified copy of the store; the daemon may run")
    copy.add_argument("file", type=Path, metavar="FILE", help="where the copy goes")
    copy.add_argument("--force", action="store_true", help="replace FILE if it exists")
    vacuum = actions.add_parser("vacuum", help="shrink the file; the daemon must not run")
    for action in (check, copy, vacuum):
        action.add_argument("--output", choices=("text", "json"), default="text", help="what to print; default text")
        _add_user(action)


def _add_systemd(commands: Any) -> None:
    service = commands.add_parser("systemd", help="run it as a service of this machine")
    actions = service.add_subparsers(dest="action", required=True, metavar="show | install")
    actions.add_parser("show", help="print the unit for this installation")
    install = actions.add_parser("install", help="write the unit, create its user, reload systemd")
    install.add_argument("--directory", type=Path, default=Path("/etc/systemd/system"), metavar="DIR")
