"""The figures of a case with their goals, as lines of text and as a Markdown table."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One number with the goal that it must reach and the aim that it should reach.

    A speed must be at least its goal, any other number at most. ``ours`` and ``other`` are the times that it was
    computed from, for people; ``other`` is a peer, or another run of our own.
    """

    case: str
    what: str
    ours: str
    other: str
    value: float
    unit: str
    goal: float | None = None
    aim: float | None = None
    is_speed: bool = False

    @property
    def verdict(self) -> str:
        """Whether the number reaches its aim, its goal, or neither; empty if it only explains another figure."""
        if self.goal is None:
            return ""
        if self.aim is not None and self._reaches(self.aim):
            return "aim"
        return "goal" if self._reaches(self.goal) else "missed"

    def _reaches(self, limit: float) -> bool:
        return self.value >= limit if self.is_speed else self.value <= limit

    @property
    def limits(self) -> tuple[str, str]:
        """Goal and aim in words."""
        sign = "≥" if self.is_speed else "≤"
        goal, aim = (f"{sign} {limit:g} {self.unit}" if limit is not None else "" for limit in (self.goal, self.aim))
        return goal, aim

    @property
    def shown(self) -> str:
        """The number with its unit."""
        return f"{self.value:.{2 if self.unit in ('x', 's') else 0}f} {self.unit}"

    def text(self) -> str:
        """The figure as text, below the times that it was computed from."""
        goal, aim = self.limits
        rows = [f"  ours   {self.ours}", f"  beside {self.other}"] if self.other else [f"  ours   {self.ours}"]
        judgement = f"   (goal {goal}{f', aim {aim}' if aim else ''}: {self.verdict})" if goal else ""
        rows.append(f"  {self.case}, {self.what}: {self.shown}{judgement}")
        return "\n".join(rows)


def spread(seconds: Sequence[float]) -> str:
    """The median, with minimum and maximum if there are several values."""
    if len(seconds) == 1:
        return f"{seconds[0]:.2f} s"
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


def speed(
    case: str,
    ours: Sequence[float],
    peer: str,
    theirs: Sequence[float],
    *,
    goal: float,
    aim: float,
) -> Figure:
    """Our speed divided by the peer's, by the medians."""
    return Figure(
        case=case,
        what=f"speed beside {peer}",
        ours=spread(ours),
        other=f"{peer}: {spread(theirs)}",
        value=statistics.median(theirs) / statistics.median(ours),
        unit="x",
        goal=goal,
        aim=aim,
        is_speed=True,
    )


def cost(
    case: str,
    ours: Sequence[float],
    reference: str,
    others: Sequence[float],
    *,
    goal: float,
    aim: float | None = None,
) -> Figure:
    """The time of this run divided by that of another run of our own, by the medians."""
    return Figure(
        case=case,
        what=f"time beside {reference}",
        ours=spread(ours),
        other=f"{reference}: {spread(others)}",
        value=statistics.median(ours) / statistics.median(others),
        unit="x",
        goal=goal,
        aim=aim,
    )


def later(
    case: str, ours: Sequence[float], reference: str, others: Sequence[float], *, goal: float, aim: float
) -> Figure:
    """The time of this run minus that of another run of our own, in seconds, by the medians."""
    return Figure(
        case=case,
        what=f"time more than {reference}",
        ours=spread(ours),
        other=f"{reference}: {spread(others)}",
        value=statistics.median(ours) - statistics.median(others),
        unit="s",
        goal=goal,
        aim=aim,
    )


def table(figures: Sequence[Figure]) -> str:
    """All figures as one Markdown table: medians with minimum and maximum."""
    head = ("case", "ours", "beside", "figure", "value", "goal", "aim", "reached")
    rows = [(each.case, each.ours, each.other, each.what, each.shown, *each.limits, each.verdict) for each in figures]
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
