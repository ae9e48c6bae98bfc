"""How values are shown to people. The words stand in `job.proto`, nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lading.v1 import job_pb2
from lading_client.model import Connector, JournalLevel, RejectType, State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import StrEnum

    from google.protobuf.descriptor import EnumDescriptor


def _labels(enum: EnumDescriptor, prefix: str) -> dict[str, str]:
    words = {"UNSPECIFIED": "unknown"}
    for value in enum.values:
        # The stubs take the extension for a plain field.
        options: Any = value.GetOptions()
        if options.HasExtension(job_pb2.label):
            words[value.name.removeprefix(prefix)] = options.Extensions[job_pb2.label]
    return words


_LABELS: Mapping[type[StrEnum], Mapping[str, str]] = {
    State: _labels(job_pb2.State.DESCRIPTOR, "STATE_"),
    JournalLevel: _labels(job_pb2.JournalLevel.DESCRIPTOR, "JOURNAL_LEVEL_"),
    Connector: _labels(job_pb2.Connector.DESCRIPTOR, "CONNECTOR_"),
    RejectType: _labels(job_pb2.RejectType.DESCRIPTOR, "REJECT_TYPE_"),
}


def label(value: State | JournalLevel | Connector | RejectType) -> str:
    """The words for a value: "Execution in progress" for RUNNING."""
    return _LABELS[type(value)][value.value]
