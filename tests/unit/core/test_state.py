"""Compares the table of transitions with its definition."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ladingd.core.job import Level
from ladingd.core.state import (
    ACTIVE,
    COMMANDS,
    DELETABLE,
    ENDED,
    TRANSITIONS,
    UNDER_WAY,
    Event,
    State,
    allowed_commands,
    next_state,
)

# The table of the product's definition.
DEFINED = """
| EDITING | start | QUEUED |
| QUEUED | slot free | RUNNING |
| QUEUED | pause | PAUSED |
| RUNNING | pause | PAUSING |
| PAUSING | quiescent | PAUSED |
| PAUSING | start | RUNNING |
| PAUSED, INTERRUPTED, FAILED | start | QUEUED |
| RUNNING, PAUSING | cancel | CANCELING |
| QUEUED, PAUSED, INTERRUPTED | cancel | CANCELED |
| CANCELING | quiescent | CANCELED |
| RUNNING | all chunks committed, bill balances | FINISHED |
| RUNNING, PAUSING | technical error | FAILED |
| RUNNING | shutdown, or found orphaned at start-up | INTERRUPTED |
| PAUSING | shutdown or orphaned | PAUSED |
| CANCELING | shutdown or orphaned | CANCELED |
| INTERRUPTED | start-up, job's `on_restart` is RESUME (default) | QUEUED |
"""

EVENTS = {
    "start": [Event.START],
    "pause": [Event.PAUSE],
    "cancel": [Event.CANCEL],
    "slot free": [Event.SLOT_FREE],
    "quiescent": [Event.QUIESCENT],
    "all chunks committed, bill balances": [Event.COMPLETE],
    "technical error": [Event.ERROR],
    "shutdown, or found orphaned at start-up": [Event.SHUTDOWN, Event.ORPHAN],
    "shutdown or orphaned": [Event.SHUTDOWN, Event.ORPHAN],
    "start-up, job's `on_restart` is RESUME (default)": [Event.RESUME],
}

README = Path(__file__).parents[3] / "README.md"


def defined_transitions() -> set[tuple[State, Event, State]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in DEFINED.strip().splitlines()]
    return {
        (State(start), event, State(target))
        for starts, words, target in rows
        for start in starts.split(", ")
        for event in EVENTS[words]
    }


def test_the_table_is_the_defined_one() -> None:
    table = {(state, event, target) for state, events in TRANSITIONS.items() for event, target in events.items()}
    assert table == defined_transitions()


def test_every_state_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {target for events in TRANSITIONS.values() for target in events.values()} == set(State) - {State.EDITING}


def test_every_event_happens_somewhere() -> None:
    assert {event for events in TRANSITIONS.values() for event in events} == set(Event)


@pytest.mark.parametrize("state", [State.FINISHED, State.CANCELED])
def test_what_is_over_never_changes_again(state: State) -> None:
    assert TRANSITIONS[state] == {}
    assert allowed_commands(state) == ()


def test_values_are_the_names_for_they_are_stored() -> None:
    for words in (State, Event, Level):
        assert [word.value for word in words] == list(words.__members__)


def test_shutdown_and_crash_end_all_activity_alike() -> None:
    for state in State:
        assert next_state(state, Event.SHUTDOWN) is next_state(state, Event.ORPHAN)
        assert (next_state(state, Event.SHUTDOWN) is not None) is (state in ACTIVE)
    assert {next_state(state, Event.ORPHAN) for state in ACTIVE}.isdisjoint(ACTIVE)


def test_every_state_but_the_last_ones_has_a_way_out() -> None:
    for state in set(State) - {State.FINISHED, State.CANCELED}:
        assert TRANSITIONS[state] != {}


@pytest.mark.parametrize(
    ("state", "commands"),
    [
        (State.EDITING, [Event.START]),
        (State.QUEUED, [Event.PAUSE, Event.CANCEL]),
        (State.RUNNING, [Event.PAUSE, Event.CANCEL]),
        (State.PAUSING, [Event.START, Event.CANCEL]),
        (State.PAUSED, [Event.START, Event.CANCEL]),
        (State.CANCELING, []),
        (State.CANCELED, []),
        (State.FINISHED, []),
        (State.FAILED, [Event.START]),
        (State.INTERRUPTED, [Event.START, Event.CANCEL]),
    ],
)
def test_allowed_commands(state: State, commands: list[Event]) -> None:
    assert allowed_commands(state) == tuple(commands)


def test_a_command_under_way_has_reached_its_effect_or_will() -> None:
    assert set(UNDER_WAY) == COMMANDS
    for command, states in UNDER_WAY.items():
        effects = {target for events in TRANSITIONS.values() for event, target in events.items() if event is command}
        assert states == effects
        for state in states:
            assert next_state(state, command) in (None, *states)


def test_nothing_active_or_waiting_can_be_deleted() -> None:
    assert {State.EDITING, State.PAUSED, State.FAILED, State.INTERRUPTED, State.FINISHED, State.CANCELED} == DELETABLE
    assert ENDED <= DELETABLE


def test_the_picture_in_the_readme_shows_every_transition_and_no_other() -> None:
    picture = re.search(r"```mermaid\s+stateDiagram-v2\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert picture is not None, "README.md has no picture of the states"
    drawn = re.findall(r"^\s*(\w+|\[\*\]) --> (\w+|\[\*\])", picture[1], re.MULTILINE)
    arrows = [(start, target) for start, target in drawn if "[*]" not in (start, target)]
    table = {(state.value, target.value) for state, events in TRANSITIONS.items() for target in events.values()}
    assert len(arrows) == len(set(arrows))
    assert set(arrows) == table
    assert {start: target for start, target in drawn if start == "[*]"} == {"[*]": "EDITING"}
