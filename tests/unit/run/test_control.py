"""What people tell the daemon to do with jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from ladingd.core.errors import JobNotFound, RequestIdReused, ShuttingDown
from ladingd.core.state import Event, State
from ladingd.run.control import Control

if TYPE_CHECKING:
    from ladingd.run.workers import Workers
    from tests.unit.run.conftest import Rig


@pytest.fixture
def control(rig: Rig) -> Control:
    workers = cast("Workers", rig.workers)
    return Control(store=rig.store, transfer=rig.transfer, workers=workers, announcer=rig.announcer)


async def test_a_clone_has_spec_and_texts_and_a_life_of_its_own(rig: Rig, control: Control) -> None:
    model = await rig.queued(1)
    await rig.store.edit(model.id, label="nightly", description="from the shop")
    clone = await control.clone(model.id)
    assert (clone.spec, clone.label, clone.description) == (model.spec, "nightly", "from the shop")
    assert (clone.state, clone.attempt, clone.uid != model.uid) == (State.EDITING, 0, True)
    other = await control.clone(model.id, label="again", new_id="mine")
    assert (other.id, other.label) == ("mine", "again")


async def test_the_same_request_makes_one_clone(rig: Rig, control: Control) -> None:
    model = await rig.queued(1)
    clone = await control.clone(model.id, request_id="r", request_digest="d")
    await rig.store.command(model.id, Event.CANCEL)
    await rig.store.delete(model.id)
    assert await control.clone(model.id, request_id="r", request_digest="d") == clone
    with pytest.raises(RequestIdReused):
        await control.clone(model.id, request_id="r", request_digest="other")
    with pytest.raises(JobNotFound):
        await control.clone(model.id)


async def test_nothing_is_cloned_on_the_way_out(rig: Rig, control: Control) -> None:
    model = await rig.queued(1)
    control.close()
    with pytest.raises(ShuttingDown):
        await control.clone(model.id)
