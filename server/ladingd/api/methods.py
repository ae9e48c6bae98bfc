"""The table of the API's methods: the right that each needs, its acts on jobs, and its limit."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from ladingd.core.access import Act, CallClass, Right

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Method:
    """What the daemon asks of the callers of a method.

    ``right``: the caller needs it; None: anybody may call. ``call_class``: the limit that calls count for; None: no
    limit. ``acts``: what the method does with the jobs that it names or shows. ``changes``: every call is written to
    the audit trail.
    """

    right: Right | None
    call_class: CallClass | None = None
    acts: Set[Act] = frozenset()
    changes: bool = False

    @property
    def is_open(self) -> bool:
        """Whether anybody may call the method, even without authentication."""
        return self.right is None


EDITS: Mapping[str, Act] = MappingProxyType(
    {
        "label": Act.EDIT_TEXTS,
        "description": Act.EDIT_TEXTS,
        "spec": Act.EDIT_SPEC,
        "shared": Act.SHARE,
    }
)
"""The act of editing each field of a job."""


def _command(right: Right, *acts: Act) -> Method:
    return Method(right, CallClass.COMMANDS, frozenset(acts), changes=True)


def _read(*acts: Act, right: Right = Right.READ) -> Method:
    return Method(right, CallClass.READS, frozenset(acts))


def _watch(act: Act) -> Method:
    return Method(Right.READ, CallClass.WATCHES, frozenset({act}))


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        # Health and reflection have no limit: they must answer whatever else goes on.
        "grpc.health.v1.Health/Check": Method(None),
        "grpc.health.v1.Health/List": Method(Right.READ),
        "grpc.health.v1.Health/Watch": Method(None),
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Method(Right.READ),
        "lading.v1.AuditService/ListAuditEntries": _read(right=Right.ADMINISTER),
        "lading.v1.FileService/DeleteUpload": _command(Right.SUBMIT),
        "lading.v1.FileService/DownloadFile": Method(Right.SUBMIT, CallClass.TRANSFERS),
        "lading.v1.FileService/GetUpload": _read(right=Right.SUBMIT),
        "lading.v1.FileService/UploadFile": Method(Right.SUBMIT, CallClass.TRANSFERS, changes=True),
        "lading.v1.JobService/CancelJob": _command(Right.OPERATE, Act.CANCEL),
        "lading.v1.JobService/CloneJob": _command(Right.SUBMIT, Act.CLONE),
        "lading.v1.JobService/CreateJob": _command(Right.SUBMIT),
        "lading.v1.JobService/DeleteJob": _command(Right.OPERATE, Act.DELETE),
        "lading.v1.JobService/GetJob": _read(Act.SEE),
        "lading.v1.JobService/ListJobs": _read(Act.SEE),
        "lading.v1.JobService/ListJournalEntries": _read(Act.SEE),
        "lading.v1.JobService/ListRejects": _read(Act.READ_REJECTS),
        "lading.v1.JobService/ListRejectGroups": _read(Act.READ_REJECTS),
        "lading.v1.JobService/PauseJob": _command(Right.OPERATE, Act.PAUSE),
        "lading.v1.JobService/PreviewImport": Method(Right.SUBMIT, CallClass.COMMANDS),
        "lading.v1.JobService/StartJob": _command(Right.OPERATE, Act.START),
        "lading.v1.JobService/UpdateJob": _command(Right.OPERATE, *EDITS.values()),
        "lading.v1.JobService/WatchJobs": _watch(Act.SEE),
        "lading.v1.JobService/WatchJournal": _watch(Act.SEE),
        "lading.v1.JobService/WatchRejects": _watch(Act.READ_REJECTS),
        "lading.v1.TableService/GetTable": _read(right=Right.SUBMIT),
        "lading.v1.TableService/ListTables": _read(right=Right.SUBMIT),
        "lading.v1.TableService/SuggestMapping": Method(Right.SUBMIT, CallClass.COMMANDS),
    }
)
"""By full name. A method that is missing here is refused to everybody. ``core.access.REACH`` says whose jobs the acts
reach. ``permits`` checks what a request names."""
