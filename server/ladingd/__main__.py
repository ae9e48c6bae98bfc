"""``ladingd``: arguments, settings, and then the daemon.

Only the standard library is imported at the top: worker processes import this module again.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

from ladingd.arguments import parse

if TYPE_CHECKING:
    import argparse

    from ladingd.config import Settings

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_RUNS_ALREADY = 75
"""EX_TEMPFAIL: another daemon holds the state directory. The command line takes it as: connect to that one."""


def main() -> None:
    """Run the daemon until it is told to stop."""
    arguments = parse()
    if arguments.command is None:
        _heed_signals()
    sys.exit(_run(arguments))


def _heed_signals() -> None:
    """Leave when told to while the modules are loaded, which takes longer than all else; the daemon then takes over."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _run(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "config":
            return _config(arguments)
        case "systemd":
            return _systemd(arguments)
        case "doctor":
            from ladingd.doctor.command import run as examine

            return examine(arguments)

    from ladingd.config import ConfigError, load

    try:
        match arguments.command:
            case "token":
                return _token(load(arguments.config, user=arguments.user), arguments)
            case "store":
                return _store(load(arguments.config, user=arguments.user), arguments)
        return _serve(arguments)
    except ConfigError as error:
        return _say(str(error), EXIT_USAGE)


def _serve(arguments: argparse.Namespace) -> int:
    from ladingd.claim import AlreadyRuns, CannotStart
    from ladingd.config import checked
    from ladingd.daemon import run

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
