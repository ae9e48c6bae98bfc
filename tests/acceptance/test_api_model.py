"""Random commands in random order: the daemon follows the table of transitions, also across restarts."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from lading_client.client import Client
from lading_client.errors import AlreadyExists, CommandNotAllowed, NotFound
from lading_client.model import WatchKind
from ladingd.core.state import DELETABLE, TRANSITIONS, UNDER_WAY, Event, State, allowed_commands, next_state
from tests.harness.daemon import DaemonProcess
from tests.harness.jobs import importing, write_people

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from lading_client.model import Job

PATIENCE = 30

BY_ITSELF = (Event.SLOT_FREE, Event.COMPLETE, Event.QUIESCENT)
"""Events that may happen at any time. An ERROR must not happen."""
AT_THE_END = (Event.SHUTDOWN, Event.ORPHAN)


def reachable(states: Iterable[State], events: Iterable[Event]) -> frozenset[State]:
    """These states, and the states that the events lead to from them."""
    known = set(states)
    while True:
        further = {after for state in known for event in events if (after := next_state(state, event))} - known
        if not further:
            return frozenset(known)
        known |= further


class Jobs(RuleBasedStateMachine):
    """The possible current states of each job."""

    names: Bundle[str] = Bundle("names")

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = tempfile.TemporaryDirectory(prefix="lading-")
        folder = Path(self._folder.name)
        self._file = write_people(folder / "people.csv", 300)
        self._daemon = DaemonProcess(folder, slots=1)
        self._possible: dict[str, frozenset[State]] = {}

    def _call(self, call: Awaitable[Any]) -> Any:
        async def within() -> Any:
            async with asyncio.timeout(PATIENCE):
                return await call

        return self._runner.run(within())

    @initialize()
    def open(self) -> None:
        self._daemon.start()
        self._client = self._call(Client(self._daemon.address).__aenter__())

    @rule(target=names, again=st.booleans())
    def create(self, again: bool) -> str:
        request_id = str(uuid.uuid4())
        spec = importing(self._file, chunk_bytes=1000)
        job = self._call(self._client.create_job(spec, request_id=request_id))
        if again:
            assert self._call(self._client.create_job(spec, request_id=request_id)).name == job.name
            with pytest.raises(AlreadyExists) as reused:
                self._call(self._client.create_job(spec, label="other", request_id=request_id))
            assert reused.value.reason == "REQUEST_ID_REUSED"
        assert job.state.name == State.EDITING.name
        self._possible[job.name] = frozenset({State.EDITING})
        return str(job.name)

    @rule(name=names, command=st.sampled_from([Event.START, Event.PAUSE, Event.CANCEL]))
    def command(self, name: str, command: Event) -> None:
        call = {
            Event.START: self._client.start_job,
            Event.PAUSE: self._client.pause_job,
            Event.CANCEL: self._client.cancel_job,
        }[command]
        before = self._possible[name]
        try:
            after = State[self._call(call(name)).state.name]
        except CommandNotAllowed as refused:
            told = refused.metadata
            state = State[told["state"]]
            assert state in before
            assert next_state(state, command) is None
            assert state not in UNDER_WAY[command]
            assert told["allowed"] == ",".join(event.lower() for event in allowed_commands(state))
            after = state
        else:
            assert after in UNDER_WAY[command] | {TRANSITIONS[state].get(command) for state in before}
        self._possible[name] = reachable([after], BY_ITSELF)

    @rule(target=names, name=consumes(names))
    def delete(self, name: str) -> Any:
        before = self._possible[name]
        try:
            self._call(self._client.delete_job(name))
        except CommandNotAllowed as refused:
            state = State[refused.metadata["state"]]
            assert state in before - DELETABLE
            return name
        assert before & DELETABLE
        del self._possible[name]
        with pytest.raises(NotFound):
            self._call(self._client.get_job(name))
        return multiple()

    @rule(violently=st.booleans())
    def restart(self, violently: bool) -> None:
        if violently:
            self._daemon.kill()
        else:
            assert self._daemon.stop() == 0
        self._daemon.start()
        for name, states in self._possible.items():
            at_rest = {
                after
                for state in states
                for after in ({next_state(state, event) for event in AT_THE_END} - {None} or {state})
            }
            self._possible[name] = reachable(filter(None, at_rest), (*BY_ITSELF, Event.RESUME))

    @invariant()
    def every_job_is_where_it_may_be(self) -> None:
        if not self._possible:
            return
        listed = {job.name: State[job.state.name] for job in self._call(self._list())}
        assert listed.keys() == self._possible.keys()
        for name, state in listed.items():
            assert state in self._possible[name], f"{name} is {state}, not one of {sorted(self._possible[name])}"
            self._possible[name] = reachable([state], BY_ITSELF)

    async def _list(self) -> list[Job]:
        return [job async for job in self._client.list_jobs()]

    def teardown(self) -> None:
        try:
            if self._daemon.process is not None:
                self._call(self._check_history())
                self._call(self._client.close())
        finally:
            self._daemon.clean_up()
            self._runner.close()
            self._folder.cleanup()

    async def _check_history(self) -> None:
        """Check that the history of each job consists of legal transitions."""
        async with aclosing(self._client.watch(bookmarks=True)) as events:
            newest = await anext(event.revision async for event in events if event.kind is WatchKind.BOOKMARK)
        last: dict[str, State] = {}
        revision = 1
        async with aclosing(self._client.watch(revision=revision)) as events:
            while revision < newest:
                event = await anext(events)
                assert event.revision > revision
                revision = event.revision
                if event.kind is WatchKind.DELETED:
                    last.pop(event.job.name, None)
                if event.kind is WatchKind.CHANGED:
                    state = State[event.job.state.name]
                    before = last.get(event.job.name)
                    assert before in (None, state) or state in TRANSITIONS[before].values()
                    last[event.job.name] = state


@pytest.mark.timeout(240)
def test_the_daemon_keeps_to_the_table() -> None:
    run_state_machine_as_test(
        Jobs,
        settings=settings(
            max_examples=5, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
