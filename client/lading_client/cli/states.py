"""States as people see them: an icon, a colour, the label of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lading_client.labels import label
from lading_client.model import State

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def shown(state: State) -> str:
    """Icon and label: "✔ Finished"."""
    return f"{_ICONS[state]} {label(state)}"


def colour(state: State) -> str | None:
    """The colour of the state, None where it has none."""
    return _COLOURS.get(state)
