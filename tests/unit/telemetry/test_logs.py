"""The format of the log, and the content of a line."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ladingd.core.origin import Origin, working_for
from ladingd.telemetry import logs
from ladingd.telemetry.logs import Form, JsonLines, TextLines, choose

if TYPE_CHECKING:
    from pathlib import Path


def test_auto_is_what_stderr_is_connected_to(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        status = os.fstat(file.fileno())
        ours = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        others = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"}
        assert choose("auto", ours, file.fileno()) is Form.JOURNAL
        assert choose("auto", others, file.fileno()) is Form.JSON
        assert choose("auto", {}, file.fileno()) is Form.JSON
        assert choose("text", ours, file.fileno()) is Form.TEXT
        assert choose("journal", {}, file.fileno()) is Form.JOURNAL
    ours_end, terminal = pty.openpty()
    try:
        assert choose("auto", others, terminal) is Form.TEXT
    finally:
        os.close(ours_end)
        os.close(terminal)


@pytest.fixture(params=[JsonLines, TextLines])
def logger(request: pytest.FixtureRequest) -> logging.Logger:
    made = logging.Logger("ladingd.x")
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(request.param())
    handler.addFilter(logs._add_origin)
    made.addHandler(handler)
    return made


def said(logger: logging.Logger) -> str:
    (handler,) = logger.handlers
    assert isinstance(handler, logging.StreamHandler)
    return str(handler.stream.getvalue())


def test_nobody_can_make_a_line_of_their_own(logger: logging.Logger) -> None:
    logger.info("a file %s", "a\n2026-01-01 CRITICAL\x1b[2J\u2028x")
    assert len(said(logger).splitlines()) == 1
    assert "\x1b" not in said(logger)


def test_a_line_says_what_it_was_done_for(logger: logging.Logger) -> None:
    with working_for(Origin(call="c1", job="j1", chunk=0)):
        logger.warning("slow", extra={"fields": {"error_id": "e1"}})
    if isinstance(logger.handlers[0].formatter, JsonLines):
        line = json.loads(said(logger))
        assert line.pop("time").endswith("+00:00")
        assert line == {
            "level": "WARNING",
            "logger": "ladingd.x",
            "message": "slow",
            "call": "c1",
            "job": "j1",
            "chunk": 0,
            "error_id": "e1",
        }
    else:
        assert said(logger).endswith(" WARNING ladingd.x: slow (call c1)\n")


def test_an_error_brings_its_traceback(logger: logging.Logger) -> None:
    try:
        raise ValueError("no number\n2026-01-01 forged\x9b")
    except ValueError:
        logger.exception("broken")
    if isinstance(logger.handlers[0].formatter, JsonLines):
        assert "ValueError: no number" in json.loads(said(logger))["traceback"]
    else:
        lines = said(logger).splitlines()
        assert lines[-2:] == ["  ValueError: no number", "  2026-01-01 forged\\x9b"]
        assert all(line.startswith("  ") for line in lines[1:]), "no line of an error looks like one of the log"


def test_it_costs_a_start_nothing_but_the_standard_library() -> None:
    heavy = ("structlog", "pydantic", "grpc")
    script = f"import sys, ladingd.telemetry.logs; sys.exit(any(name in sys.modules for name in {heavy}))"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
