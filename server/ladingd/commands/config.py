"""``ladingd config init`` and ``ladingd config check``."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from ladingd.commands.error import CommandError
from ladingd.commands.replaceable import check_replaceable
from ladingd.commands.terminal import write
from ladingd.config.document import document
from ladingd.config.finding import Finding, Severity, in_order
from ladingd.config.loader import read
from ladingd.config.settings import config_file, missing
from ladingd.config.surroundings import examine

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ladingd.config.settings import Settings

EXIT_ERRORS = 2


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit status. Raises CommandError."""
    if arguments.action == "init":
        if arguments.output is not None:
            settings = read(arguments.config, user=arguments.user).settings
            config = config_file(arguments.config, user=arguments.user)
            check_replaceable(arguments.output, settings, config, but="the daemon's configuration")
        _init(arguments.output, user=arguments.user, force=arguments.force)
        return 0
    return _check(arguments)


def _init(output: Path | None, *, user: bool, force: bool) -> None:
    text = document(user=user)
    if output is None:
        sys.stdout.write(text)
        return
    # The file has no secrets, but whoever can change it controls the daemon.
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with os.fdopen(os.open(output, flags, 0o644), "w") as file:
            file.write(text)
    except FileExistsError:
        raise CommandError(f"{output} already exists; --force overwrites it") from None
    except OSError as error:
        raise CommandError(f"{output} cannot be written: {error.strerror}") from error
    sys.stderr.write(f"ladingd: {output} is written; every key in it is commented out, so the defaults apply\n")


def _check(arguments: argparse.Namespace) -> int:
    config = arguments.file or arguments.config
    settings, findings = examine(config, user=arguments.user)
    starts = not _errors(findings)
    if arguments.connect and settings is not None:
        findings = in_order((*findings, *_unreachable(settings, config, user=arguments.user)))
    file = config_file(config, user=arguments.user)
    errors = _errors(findings)
    if arguments.output == "json":
        sys.stdout.write(json.dumps(_facts(file, findings)) + "\n")
    else:
        write([*map(str, findings), _conclusion(file, errors, len(findings) - errors, starts=starts)])
        if arguments.connect and settings is None:
            write(["the connections were not checked: correct the errors first"])
    return EXIT_ERRORS if errors else 0


def _errors(findings: Sequence[Finding]) -> int:
    return sum(finding.severity is Severity.ERROR for finding in findings)


def _conclusion(file: Path, errors: int, warnings: int, *, starts: bool) -> str:
    counted = [f"{n} {what}{'' if n == 1 else 's'}" for n, what in ((errors, "error"), (warnings, "warning")) if n]
    said = " and ".join(counted) or "all is well"
    if not starts:
        said += ": the daemon does not start with this configuration, and a reload changes nothing"
    return f"{file}{' does not exist, so the defaults apply' if missing(file) else ''}: {said}"


def _unreachable(settings: Settings, config: Path | None, *, user: bool) -> Iterator[Finding]:
    from ladingd.commands.connections import try_all
    from ladingd.core.errors import LadingError

    source = read(config, user=user).source
    for name, answer in try_all(settings).items():
        key = ("connections", name, "url")
        if isinstance(answer, LadingError):
            yield source.finding(Severity.ERROR, key, f"cannot be reached: {' '.join(answer.message.split())}")
        elif answer.reservation:
            yield source.finding(Severity.WARNING, key, answer.reservation)


def _facts(file: Path, findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "file": str(file),
        "findings": [
            {
                "severity": str(finding.severity),
                "key": finding.key,
                "message": finding.message,
                **(
                    {"variable": finding.place.variable}
                    if finding.place.variable
                    else {"file": str(finding.place.file)}
                ),
                **({"line": finding.place.line} if finding.place.line else {}),
            }
            for finding in findings
        ],
    }
