"""Watches and commands a Lading daemon: the client library and the command line.

    async with Client("unix:/run/lading/ladingd.sock") as client, client.run(spec) as run:
        async for event in run:
            print(event.kind, event.revision)

`client/README.md` shows more. This module exports the whole public API.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lading_client.errors import (
    Aborted,
    AlreadyExists,
    BadAddress,
    BadCredentials,
    BadSpec,
    CommandNotAllowed,
    DaemonError,
    DeadlineExceeded,
    FailedPrecondition,
    FileInUse,
    FileNotFound,
    Internal,
    InvalidArgument,
    JobCanceled,
    JobDeleted,
    JobError,
    JobFailed,
    LadingError,
    NotFound,
    OutOfRange,
    PermissionDenied,
    QuotaExceeded,
    ResourceExhausted,
    RevisionCompacted,
    ShuttingDown,
    StoreBusy,
    TooManyCalls,
    Unauthenticated,
    Unavailable,
    UploadMismatch,
    Violation,
)
from lading_client.job_run import Run
from lading_client.local_daemon import OwnDaemon
from lading_client.model import (
    AT_REST,
    ENDED,
    AuditEntry,
    Bill,
    Connector,
    Counters,
    Failure,
    Job,
    JournalEntry,
    JournalLevel,
    MappingSuggestion,
    Progress,
    Reject,
    RejectEvent,
    RejectType,
    State,
    SuggestedMapping,
    TableColumn,
    TableDescription,
    WatchEvent,
    WatchKind,
)
from lading_client.spec import (
    ColumnMapping,
    ColumnNames,
    CreateTable,
    CsvFormat,
    Doubles,
    Duplicates,
    Enumeration,
    ExcelFormat,
    ExportSpec,
    File,
    FixedWidthFormat,
    Header,
    ImportSpec,
    JobSpec,
    OnRestart,
    Operation,
    Ragged,
    Reconciliation,
    RejectLimit,
    Table,
    XmlFormat,
)
from lading_client.transport.credentials import Tls
from lading_client.transport.transport import Transport

if TYPE_CHECKING:
    from lading_client.client import Client
    from lading_client.files.persistence import FileChanged
    from lading_client.files.upload import StoredFile

__all__ = [
    "AT_REST",
    "ENDED",
    "Aborted",
    "AlreadyExists",
    "AuditEntry",
    "BadAddress",
    "BadCredentials",
    "BadSpec",
    "Bill",
    "Client",
    "ColumnMapping",
    "ColumnNames",
    "CommandNotAllowed",
    "Connector",
    "Counters",
    "CreateTable",
    "CsvFormat",
    "DaemonError",
    "DeadlineExceeded",
    "Doubles",
    "Duplicates",
    "Enumeration",
    "ExcelFormat",
    "ExportSpec",
    "FailedPrecondition",
    "Failure",
    "File",
    "FileChanged",
    "FileInUse",
    "FileNotFound",
    "FixedWidthFormat",
    "Header",
    "ImportSpec",
    "Internal",
    "InvalidArgument",
    "Job",
    "JobCanceled",
    "JobDeleted",
    "JobError",
    "JobFailed",
    "JobSpec",
    "JournalEntry",
    "JournalLevel",
    "LadingError",
    "MappingSuggestion",
    "NotFound",
    "OnRestart",
    "Operation",
    "OutOfRange",
    "OwnDaemon",
    "PermissionDenied",
    "Progress",
    "QuotaExceeded",
    "Ragged",
    "Reconciliation",
    "Reject",
    "RejectEvent",
    "RejectLimit",
    "RejectType",
    "ResourceExhausted",
    "RevisionCompacted",
    "Run",
    "ShuttingDown",
    "State",
    "StoreBusy",
    "StoredFile",
    "SuggestedMapping",
    "Table",
    "TableColumn",
    "TableDescription",
    "Tls",
    "TooManyCalls",
    "Transport",
    "Unauthenticated",
    "Unavailable",
    "UploadMismatch",
    "Violation",
    "WatchEvent",
    "WatchKind",
    "XmlFormat",
]

_SLOW = {"Client": "client", "FileChanged": "files.persistence", "StoredFile": "files.upload"}
"""Names whose modules load gRPC. They are imported on first use, because not every command needs gRPC."""


def __getattr__(name: str) -> Any:
    if name not in _SLOW:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_SLOW[name]}"), name)
