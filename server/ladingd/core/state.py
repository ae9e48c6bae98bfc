"""Where a job stands, what can happen to it, and what comes of it.

Every rule about states is in this file. A job's life is one literal table, ``TRANSITIONS[state][event]``: an event
that a state does not list cannot happen in it. Nothing else in the daemon assigns a state; the store asks this table
inside the transaction that writes the change.

Events come from three sides:

* people and programs: the *commands* ``START``, ``PAUSE`` and ``CANCEL``. A command that the table does not list for
  the job's state is refused, and the answer names the commands that are allowed. A command whose effect is already
  under way (pause while PAUSING) succeeds and changes nothing: ``UNDER_WAY`` says which.
* the run of the job: a slot became free, everything in flight came to rest, all is done, something broke.
* the life of the daemon: it shuts down in order, it finds jobs of a predecessor that died (``ORPHAN``), it starts.

A command is an intent: PAUSING and CANCELING say what somebody wants, and the run makes it so. PAUSED, CANCELED,
FINISHED, FAILED and INTERRUPTED promise that nothing of the job runs any more, with one exception that the product
wants: on shutdown the state is committed and shown at once, while chunks in flight still finish or are killed. The
ledger in the target decides what became of those.

A crash needs no event of its own. The states that claim activity (RUNNING, PAUSING, CANCELING) are found at the next
start, and ``ORPHAN`` moves them exactly as a shutdown would have.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Set


class State(StrEnum):
    """Where a job stands. The values are stored and never change."""

    EDITING = "EDITING"
    """Created, can still be changed. In by creation, out by start. A crash does nothing to it."""

    QUEUED = "QUEUED"
    """Waits for a free slot. In by start, out by a slot, pause or cancel. A crash does nothing to it."""

    RUNNING = "RUNNING"
    """Chunks are handed out. Out when all is done or broken, by pause or cancel. A crash makes it INTERRUPTED."""

    PAUSING = "PAUSING"
    """No more chunks are handed out, those in flight finish. A crash makes it PAUSED: nothing runs any more."""

    PAUSED = "PAUSED"
    """Quiescent and durable. Only start or cancel move it, never a crash or a restart of the daemon."""

    CANCELING = "CANCELING"
    """Chunks in flight finish or are killed. A crash makes it CANCELED: nothing runs any more."""

    CANCELED = "CANCELED"
    """Over. Committed records stay. Never changes again."""

    FINISHED = "FINISHED"
    """Over: every record accounted for and the bill balances. Never changes again."""

    FAILED = "FAILED"
    """A technical error stopped it, or every record was rejected. Start tries again from the last committed chunk."""

    INTERRUPTED = "INTERRUPTED"
    """The daemon stopped or died while it ran. The next start of the daemon queues it, if the job wants that."""


class Event(StrEnum):
    """What happens to a job. The values are stored as the cause of a change and never change."""

    START = "START"
    PAUSE = "PAUSE"
    CANCEL = "CANCEL"
    SLOT_FREE = "SLOT_FREE"
    QUIESCENT = "QUIESCENT"
    COMPLETE = "COMPLETE"
    """All chunks are committed and the bill balances."""
    ERROR = "ERROR"
    """A technical error. A reject is none, but all records rejected are one."""
    SHUTDOWN = "SHUTDOWN"
    ORPHAN = "ORPHAN"
    """The daemon starts and finds the job as a predecessor left it when it died."""
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
"""In these states the command's effect is reached or on its way: it succeeds and changes nothing."""

ACTIVE: Set[State] = frozenset({State.RUNNING, State.PAUSING, State.CANCELING})
"""Something of the job may be running."""

ENDED: Set[State] = frozenset({State.FINISHED, State.CANCELED, State.FAILED})
"""The job has an end time. A start takes it away again from a FAILED one."""

DELETABLE: Set[State] = frozenset(State) - ACTIVE - {State.QUEUED}


def next_state(state: State, event: Event) -> State | None:
    """The state that follows, or None where the event cannot happen."""
    return TRANSITIONS[state].get(event)


def allowed_commands(state: State) -> tuple[Event, ...]:
    """The commands that would change a job in this state, in the order of ``Event``."""
    return tuple(event for event in Event if event in COMMANDS and event in TRANSITIONS[state])
