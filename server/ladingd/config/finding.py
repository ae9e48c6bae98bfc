"""What is wrong with a configuration, and where."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Severity(StrEnum):
    """Whether a daemon starts with it."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a value comes from: a line of a file, or a variable of the environment."""

    file: Path
    line: int | None = None
    variable: str = ""

    def __str__(self) -> str:
        if self.variable:
            return f"environment variable {self.variable}"
        return f"{self.file}:{self.line}" if self.line else str(self.file)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One error or warning. ``key`` is empty if it concerns the whole file. The message never contains a secret."""

    severity: Severity
    place: Place
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.severity}: {f'{self.key}: ' if self.key else ''}{self.message}"


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """In the order of the file; findings about the environment come last."""
    return tuple(sorted(findings, key=lambda finding: (finding.place.variable, finding.place.line or 0)))


class ConfigError(Exception):
    """The configuration cannot be used; the text names each place and what to do."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("the configuration has errors:\n" + "\n".join(f"  {finding}" for finding in findings))
