"""States as people see them: an icon, a colour, the label of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lading_client.cli.display import formatting as figures
from lading_client.labels import label
from lading_client.model import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lading_client.model import Job

_ICONS: Mapping[State, str] = {
    State.UNSPECIFIED: "?",
    State.EDITING: "□",
    State.QUEUED: "◷",
    State.RUNNING: "⚙",
    State.PAUSING: "‖",
    State.PAUSED: "‖",
    State.CANCELING: "⚠",
    State.CANCELED: "⚠",
    State.FINISHED: "✔",
    State.FAILED: "⚠",
    State.INTERRUPTED: "⚠",
}

_COLOURS: Mapping[State, str] = {
    State.RUNNING: "cyan",
    State.PAUSING: "yellow",
    State.PAUSED: "yellow",
    State.CANCELING: "yellow",
    State.CANCELED: "yellow",
    State.FINISHED: "green",
    State.FAILED: "red",
    State.INTERRUPTED: "yellow",
}


_NAMED = frozenset({State.FAILED, State.INTERRUPTED})
"""States whose label alone could be misread: FAILED is "Finished with errors"."""


def icon(job: Job) -> str:
    """The icon of the job's state, for places without room for its label."""
    return _ICONS[job.state]


def shown(job: Job) -> str:
    """Icon and label of the job's state: "✔ Finished"; "✔ Finished, 6 rejects"; "⚠ Finished with errors (FAILED)"."""
    state = job.state
    text = f"{_ICONS[state]} {label(state)}"
    if state in _NAMED:
        return f"{text} ({state})"
    return ", ".join([text, *_blemishes(job)])


def colour(job: Job) -> str | None:
    """The colour of the job's state; None if it has none."""
    return "yellow" if _blemishes(job) else _COLOURS.get(job.state)


def _blemishes(job: Job) -> list[str]:
    """The rejects and warnings of a finished job."""
    if job.state is not State.FINISHED:
        return []
    found = {"reject": job.counters.rejects, "warning": job.counters.warnings}
    return [figures.counted(number, what) for what, number in found.items() if number]
