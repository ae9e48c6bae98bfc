"""The destination and form of the log: the journal, text on a terminal, JSON elsewhere.

This uses only the standard library: structlog would add 36 ms to every start, and every worker imports this too. The
facts of a line are in the record's ``fields``, given as ``extra={"fields": {...}}``. The call and the job that the work
belongs to (``core.origin``) are added here.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from ladingd.core.origin import current
from ladingd.core.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping


class Form(StrEnum):
    """The form of a log line."""

    TEXT = "text"
    JSON = "json"
    JOURNAL = "journal"


def choose(wanted: Literal["auto"] | str, environment: Mapping[str, str] = os.environ, stderr: int = 2) -> Form:
    """The wanted form. With ``auto``, the form depends on what stderr is connected to."""
    if wanted != "auto":
        return Form(wanted)
    if _is_journal(environment.get("JOURNAL_STREAM", ""), stderr):
        return Form.JOURNAL
    return Form.TEXT if os.isatty(stderr) else Form.JSON


def _is_journal(stream: str, stderr: int) -> bool:
    """Whether systemd connected this stderr to the journal. The variable alone does not tell: a child process inherits
    it even if its stderr is redirected."""
    try:
        status = os.fstat(stderr)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


def set_up(form: Form, level: str | int) -> None:
    """Set up the log of this process. Worker processes call this too."""
    handler: logging.Handler
    if form is Form.JOURNAL:
        from ladingd.telemetry.journald import JournalHandler

        handler = JournalHandler()
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines() if form is Form.JSON else TextLines())
    handler.addFilter(_add_origin)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _add_origin(record: logging.LogRecord) -> bool:
    record.fields = current().facts | getattr(record, "fields", {})
    return True


class TextLines(logging.Formatter):
    """For people: one line, followed by the traceback if there is one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        # The message contains names and values of users. None of them may look like a separate log line.
        line = printable(super().formatMessage(record))
        call = getattr(record, "fields", {}).get("call")
        return f"{line} (call {call})" if call else line

    def formatException(self, ei: Any) -> str:
        # The same holds for the text of an error: its lines are indented, and no log line begins so.
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"  {printable(line)}" for line in lines)


class JsonLines(logging.Formatter):
    """For programs: one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
