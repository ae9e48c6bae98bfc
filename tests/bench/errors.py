"""Why a case could not be measured.

BenchError
├── Missing        a program of a peer is not installed
├── CommandFailed  a command that is measured did not succeed
└── WrongResult    the outcome is not what it must be: its time means nothing
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class BenchError(Exception):
    """The base of all."""


class Missing(BenchError):
    """A program of a peer is not installed."""

    def __init__(self, program: str, remedy: str) -> None:
        super().__init__(f"{program} is not installed; {remedy}")
        self.program = program


class CommandFailed(BenchError):
    """A command that is measured did not succeed."""

    def __init__(self, command: Sequence[str], status: int, said: str) -> None:
        super().__init__(f"{' '.join(command)} ended with {status}: {said.strip()[-2000:]}")
        self.status = status


class WrongResult(BenchError):
    """The outcome is not what it must be."""

    def __init__(self, what: str, found: object, expected: object) -> None:
        super().__init__(f"{what}: {found}, expected {expected}")


def expect(what: str, found: object, expected: object) -> None:
    """Raises WrongResult where they differ."""
    if found != expected:
        raise WrongResult(what, found, expected)
