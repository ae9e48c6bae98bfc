"""The states of a job, the events that can happen to it, and the transitions.

Every rule about states is in this file. The life of a job is one literal table, ``TRANSITIONS[state][event]``. An event
that a state does not list cannot happen in that state. Nothing else in the daemon assigns a state: the store looks up
this table in the transaction that writes the change.

Events have three sources:

* people and programs: the *commands* ``START``, ``PAUSE`` and ``CANCEL``. A command that the table does not list for
  the job's state is refused, and the answer names the allowed commands. A command whose effect is already under way
  (pause while PAUSING) succeeds and changes nothing; ``UNDER_WAY`` lists these.
* the run of the job: a slot is free, nothing is in flight any more, everything is done, an error occurred.
* the life of the daemon: it shuts down in order, it finds the jobs of a daemon that died (``ORPHAN``), it starts.

A command is an intent: PAUSING and CANCELING record the wish of a user, and the run carries it out. PAUSED, CANCELED,
FINISHED, FAILED and INTERRUPTED promise that nothing of the job runs any more. There is one deliberate exception: on
shutdown the new state is committed and shown at once, while chunks in flight still finish or are killed. The ledger in
the target decides whether those chunks are committed.

A crash needs no event of its own. The next start finds the jobs in active states (RUNNING, PAUSING, CANCELING), and
``ORPHAN`` moves them exactly as a shutdown would have done.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Set


class State(StrEnum):
    """The state of a job. The values are stored and never change."""

    EDITING = "EDITING"
    """Created, can still be changed. In by creation, out by start. A crash does not change it."""

    QUEUED = "QUEUED"
    """Waits for a free slot. In by start, out by a slot, pause or cancel. A crash does not change it."""

    RUNNING = "RUNNING"
    """Chunks are processed. Out by completion, error, pause or cancel. A crash makes it INTERRUPTED."""

    PAUSING = "PAUSING"
    """No new chunks start; chunks in flight finish. A crash makes it PAUSED: nothing runs any more."""

    PAUSED = "PAUSED"
    """Quiescent and durable. Only start or cancel move it, never a crash or a restart of the daemon."""

    CANCELING = "CANCELING"
    """Chunks in flight finish or are killed. A crash makes it CANCELED: nothing runs any more."""

    CANCELED = "CANCELED"
    """Over. Committed records stay. Never changes again."""

    FINISHED = "FINISHED"
    """Over: every record is accounted for, and the bill balances. Never changes again."""

    FAILED = "FAILED"
    """A technical error stopped it, or every record was rejected. Start retries from the last committed chunk."""

    INTERRUPTED = "INTERRUPTED"
    """The daemon stopped or died while the job ran. The next daemon queues it if the job's ``on_restart`` is RESUME."""


class Event(StrEnum):
    """An event of a job. The values are stored as the cause of a change and never change."""

    START = "START"
    PAUSE = "PAUSE"
    CANCEL = "CANCEL"
    SLOT_FREE = "SLOT_FREE"
    QUIESCENT = "QUIESCENT"
    COMPLETE = "COMPLETE"
    """All chunks are committed and the bill balances."""
    ERROR = "ERROR"
    """A technical error. A reject is not an error, but the rejection of all records is."""
    SHUTDOWN = "SHUTDOWN"
    ORPHAN = "ORPHAN"
    """The daemon starts and finds the job in the state in which a dead daemon left it."""
    RESUME = "RESUME"
    """The daemon starts, and the job's ``on_restart`` is RESUME."""


TRANSITIONS: Mapping[State, Mapping[Event, State]] = MappingProxyType(
    {
        State.EDITING: {
            Event.START: State.QUEUED,
        },
        State.QUEUED: {
            Event.SLOT_FREE: State.RUNNING,
            Event.PAUSE: State.PAUSED,
            Event.CANCEL: State.CANCELED,
        },
        State.RUNNING: {
            Event.PAUSE: State.PAUSING,
            Event.CANCEL: State.CANCELING,
            Event.COMPLETE: State.FINISHED,
            Event.ERROR: State.FAILED,
            Event.SHUTDOWN: State.INTERRUPTED,
            Event.ORPHAN: State.INTERRUPTED,
        },
        State.PAUSING: {
            Event.START: State.RUNNING,
            Event.CANCEL: State.CANCELING,
            Event.QUIESCENT: State.PAUSED,
            Event.ERROR: State.FAILED,
            Event.SHUTDOWN: State.PAUSED,
            Event.ORPHAN: State.PAUSED,
        },
        State.PAUSED: {
            Event.START: State.QUEUED,
            Event.CANCEL: State.CANCELED,
        },
        State.CANCELING: {
            Event.QUIESCENT: State.CANCELED,
            Event.SHUTDOWN: State.CANCELED,
            Event.ORPHAN: State.CANCELED,
        },
        State.CANCELED: {},
        State.FINISHED: {},
        State.FAILED: {
            Event.START: State.QUEUED,
        },
        State.INTERRUPTED: {
            Event.START: State.QUEUED,
            Event.CANCEL: State.CANCELED,
            Event.RESUME: State.QUEUED,
        },
    }
)

COMMANDS: Set[Event] = frozenset({Event.START, Event.PAUSE, Event.CANCEL})

UNDER_WAY: Mapping[Event, Set[State]] = MappingProxyType(
    {
        Event.START: frozenset({State.QUEUED, State.RUNNING}),
        Event.PAUSE: frozenset({State.PAUSING, State.PAUSED}),
        Event.CANCEL: frozenset({State.CANCELING, State.CANCELED}),
    }
)
"""In these states the command's effect is reached or under way: the command succeeds and changes nothing."""

ACTIVE: Set[State] = frozenset({State.RUNNING, State.PAUSING, State.CANCELING})
"""Something of the job may be running."""

ENDED: Set[State] = frozenset({State.FINISHED, State.CANCELED, State.FAILED})
"""The job has an end time. Starting a FAILED job removes it."""

DELETABLE: Set[State] = frozenset(State) - ACTIVE - {State.QUEUED}


def next_state(state: State, event: Event) -> State | None:
    """The state that follows, or None if the event cannot happen."""
    return TRANSITIONS[state].get(event)


def allowed_commands(state: State) -> tuple[Event, ...]:
    """The commands that would change a job in this state, in the order of ``Event``."""
    return tuple(event for event in Event if event in COMMANDS and event in TRANSITIONS[state])
