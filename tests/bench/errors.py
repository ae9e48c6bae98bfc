"""The errors of cases that cannot be measured.

BenchError
├── Missing        the program of a peer is not installed
├── CommandFailed  a measured command failed
└── WrongResult    the outcome is wrong, so its time means nothing
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class BenchError(Exception):
    """The base of these errors."""


class Missing(BenchError):
    """The program of a peer is not installed."""

    def __init__(self, program: str, remedy: str) -> None:
        super().__init__(f"{program} is not installed; {remedy}")
        self.program = program


class CommandFailed(BenchError):
    """A measured command failed."""

    def __init__(self, command: Sequence[str], status: int, said: str) -> None:
        super().__init__(f"{' '.join(command)} ended with {status}: {said.strip()[-2000:]}")
        self.status = status


class WrongResult(BenchError):
    """The outcome is wrong."""

    def __init__(self, what: str, found: object, expected: object) -> None:
        super().__init__(f"{what}: {found}, expected {expected}")


def expect(what: str, found: object, expected: object) -> None:
    """Raises WrongResult if the values differ."""
    if found != expected:
        raise WrongResult(what, found, expected)
