"""``ladingd``: parses the arguments and runs a command or the daemon.

Imports only the standard library at the top, because worker processes import this module again.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from ladingd.commands.arguments import parse

if TYPE_CHECKING:
    import argparse

COMMANDS = {
    "config": "ladingd.commands.config",
    "token": "ladingd.commands.token",
    "store": "ladingd.commands.store",
    "systemd": "ladingd.commands.systemd",
    "doctor": "ladingd.commands.doctor.command",
}
"""The module of each command. Its ``run`` takes the arguments and returns the exit status."""

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_RUNS_ALREADY = 75
"""EX_TEMPFAIL: another daemon holds the state directory. The command line then connects to that daemon."""


def main() -> None:
    """Run the daemon until it is told to stop."""
    arguments = parse()
    if arguments.command is None:
        _heed_signals()
    sys.exit(_run(arguments))


def _heed_signals() -> None:
    """Exit on a signal while the modules are loading, which is the longest part of the start. The daemon sets its own
    handlers."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _run(arguments: argparse.Namespace) -> int:
    from ladingd.commands.error import CommandError
    from ladingd.config import ConfigError
    from ladingd.core.errors import LadingError, StoreUnusable
    from ladingd.host.instance_lock import AlreadyRuns

    if arguments.command is None:
        return _serve(arguments)
    try:
        status: int = import_module(COMMANDS[arguments.command]).run(arguments)
    except ConfigError as error:
        return _say(str(error), EXIT_USAGE)
    except (CommandError, AlreadyRuns, StoreUnusable, LadingError) as error:
        return _say(str(error), EXIT_ERROR)
    return status


def _serve(arguments: argparse.Namespace) -> int:
    from ladingd.config import ConfigError, checked
    from ladingd.config.settings import config_file, missing
    from ladingd.daemon import run
    from ladingd.host.instance_lock import AlreadyRuns, CannotStart
    from ladingd.host.user_places import create_state_directory

    own = None
    if arguments.user:
        try:
            own = create_state_directory(os.environ, os.geteuid())
        except OSError as error:
            return _say(f"cannot create the state directory {error.filename}: {error.strerror}", EXIT_ERROR)
    config = arguments.config
    file = config_file(config, user=arguments.user)
    if config is None and not missing(file):
        # A file that existed at the start must exist at a reload: the defaults would remove all connections from the
        # jobs.
        config = file
    try:
        run(partial(checked, config, user=arguments.user), file.absolute(), own=own)
    except ConfigError as error:
        return _say(str(error), EXIT_USAGE)
    except AlreadyRuns as error:
        return _say(str(error), EXIT_RUNS_ALREADY)
    except CannotStart as error:
        return _say(str(error), EXIT_ERROR)
    return 0


def _say(text: str, status: int) -> int:
    from ladingd.core.printable import printable_lines

    with suppress(OSError):  # The disk behind stderr may be full. The exit status still tells.
        sys.stderr.write(f"ladingd: {printable_lines(text)}\n")
        sys.stderr.flush()
    return status


if __name__ == "__main__":
    main()
