"""The domain and the API use the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lading.v1 import job_pb2, job_service_pb2, spec_pb2
from ladingd.core import errors
from ladingd.core.errors import LadingError, Refusal, TechnicalError
from ladingd.core.job import Connector, Level, RejectType
from ladingd.core.spec import OnRestart
from ladingd.core.state import State

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor
    from google.protobuf.message import Message

LABELS = {
    State.EDITING: "Being edited",
    State.QUEUED: "Waiting to start",
    State.RUNNING: "Execution in progress",
    State.PAUSING: "Pause in progress",
    State.PAUSED: "Paused",
    State.CANCELING: "Cancel in progress",
    State.CANCELED: "Cancelled",
    State.FINISHED: "Finished",
    State.FAILED: "Finished with errors",
    State.INTERRUPTED: "Server shutdown in progress",
}


def words(enum: EnumDescriptor, prefix: str) -> dict[str, str]:
    """The values of an enumeration without prefix, and their labels, except the unspecified value."""
    first, *others = enum.values
    assert (first.name, first.number) == (f"{prefix}_UNSPECIFIED", 0)
    return {value.name.removeprefix(f"{prefix}_"): label(value.GetOptions()) for value in others}


def label(options: Message) -> str:
    text: str = options.Extensions[job_pb2.label]  # type: ignore[attr-defined]
    return text


def test_every_state_is_in_the_api_with_its_label() -> None:
    assert words(job_pb2.State.DESCRIPTOR, "STATE") == {state.value: text for state, text in LABELS.items()}
    assert set(LABELS) == set(State)


@pytest.mark.parametrize(
    ("domain", "enum", "prefix"),
    [
        (Level, job_pb2.JournalLevel.DESCRIPTOR, "JOURNAL_LEVEL"),
        (Connector, job_pb2.Connector.DESCRIPTOR, "CONNECTOR"),
        (RejectType, job_pb2.RejectType.DESCRIPTOR, "REJECT_TYPE"),
    ],
)
def test_every_word_shown_is_in_the_api_with_its_label(domain: type, enum: EnumDescriptor, prefix: str) -> None:
    assert words(enum, prefix) == {word.value: word.value.lower() for word in domain}


def test_every_choice_at_restart_is_in_the_api() -> None:
    assert set(words(spec_pb2.OnRestart.DESCRIPTOR, "ON_RESTART")) == {word.value for word in OnRestart}


def test_the_reasons_of_the_api_are_codes_of_the_domain() -> None:
    refusals, technical = (
        {one.code for one in vars(errors).values() if isinstance(one, type) and issubclass(one, kind)}
        for kind in (Refusal, TechnicalError)
    )
    assert LadingError.code == "INTERNAL"
    reasons = set(words(job_service_pb2.Reason.DESCRIPTOR, "REASON"))
    # A technical error has a reason only if a call can raise it.
    assert refusals | {"TARGET_UNAVAILABLE", "INTERNAL"} <= reasons <= refusals | technical | {"INTERNAL"}
