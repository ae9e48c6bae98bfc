"""The labels that people see for values. They are defined only in `job.proto`."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from lading_client.model import Connector, JournalLevel, RejectType, State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import StrEnum

    from google.protobuf.descriptor import EnumDescriptor


@cache
def _labels() -> Mapping[type[StrEnum], Mapping[str, str]]:
    # Not every command needs these modules.
    from lading.v1 import job_pb2

    return {
        State: _words(job_pb2.State.DESCRIPTOR, "STATE_", job_pb2.label),
        JournalLevel: _words(job_pb2.JournalLevel.DESCRIPTOR, "JOURNAL_LEVEL_", job_pb2.label),
        Connector: _words(job_pb2.Connector.DESCRIPTOR, "CONNECTOR_", job_pb2.label),
        RejectType: _words(job_pb2.RejectType.DESCRIPTOR, "REJECT_TYPE_", job_pb2.label),
    }


def _words(enum: EnumDescriptor, prefix: str, extension: Any) -> Mapping[str, str]:
    words = {"UNSPECIFIED": "unknown"}
    for value in enum.values:
        # The stubs declare the extension as a plain field.
        options: Any = value.GetOptions()
        if options.HasExtension(extension):
            words[value.name.removeprefix(prefix)] = options.Extensions[extension]
    return words


def label(value: State | JournalLevel | Connector | RejectType) -> str:
    """The label of a value: "Execution in progress" for RUNNING."""
    return _labels()[type(value)][value.value]
