"""The journal's native protocol, sent to the test's socket."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import pytest

from ladingd.telemetry.journald import JournalHandler, priority
from tests.harness.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "journal"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    made = Journal(path)
    yield made
    made.close()


@pytest.fixture
def log(path: Path) -> Iterator[logging.Logger]:
    logger = logging.Logger("ladingd.x")
    handler = JournalHandler(str(path))
    logger.addHandler(handler)
    yield logger
    handler.close()


def test_a_line_is_a_datagram_of_fields(journal: Journal, log: logging.Logger) -> None:
    fields = {
        "event": "JOB_PAUSED",
        "message_id": "ab" * 16,
        "job": "j1",
        "revision": 7,
        "state": "PAUSED",
        "call": "c",
    }
    log.warning("jobs/%s", "j1", extra={"fields": fields})
    line = journal.read()
    assert line.pop("CODE_FILE") == __file__
    assert int(line.pop("CODE_LINE")) > 1
    assert line == {
        "MESSAGE": "jobs/j1",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "ladingd",
        "CODE_FUNC": "test_a_line_is_a_datagram_of_fields",
        "LADING_LOGGER": "ladingd.x",
        "LADING_EVENT": "JOB_PAUSED",
        "MESSAGE_ID": "ab" * 16,
        "LADING_JOB": "j1",
        "LADING_REVISION": "7",
        "LADING_STATE": "PAUSED",
        "LADING_CALL": "c",
    }


def test_line_ends_are_within_a_value(journal: Journal, log: logging.Logger) -> None:
    log.info("one\ntwo\nPRIORITY=0\n", extra={"fields": {"job": "j\nMESSAGE=x"}})
    line = journal.read()
    assert (line["MESSAGE"], line["PRIORITY"]) == ("one\ntwo\nPRIORITY=0\n", "6")
    assert line["LADING_JOB"] == "j\nMESSAGE=x"


def test_a_traceback_is_in_the_message(journal: Journal, log: logging.Logger) -> None:
    try:
        raise ValueError("no number")
    except ValueError:
        log.exception("broken")
    message = journal.read()["MESSAGE"]
    assert message.startswith("broken\nTraceback")
    assert message.endswith("ValueError: no number")


@pytest.mark.parametrize("size", [300_000, 5_000_000])
def test_what_is_too_long_for_a_datagram_goes_as_a_sealed_file(
    journal: Journal, log: logging.Logger, size: int
) -> None:
    log.info("x" * size)
    assert journal.read()["MESSAGE"] == "x" * size
    assert journal.files == 1


def test_a_journal_that_is_full_holds_up_nobody_and_what_is_lost_is_counted(
    journal: Journal, log: logging.Logger
) -> None:
    begin = time.monotonic()
    for number in range(2_000):
        log.info("line %d", number)
    assert time.monotonic() - begin < 2, "2,000 lines took longer than nobody reading them explains"
    kept = [journal.read()["MESSAGE"] for _ in range(3)]
    log.info("room again")
    while kept[-1] != "room again":
        kept.append(journal.read()["MESSAGE"])
    lost = 2_000 - (len(kept) - 2)
    assert lost > 0
    assert kept[-2] == f"{lost} log lines are lost: the journal did not accept them"


def test_a_journal_that_is_not_there_is_found_when_it_comes(path: Path, log: logging.Logger) -> None:
    log.info("for nobody")
    for _ in range(2):
        journal = Journal(path)
        log.info("again")
        assert journal.read()["MESSAGE"] == "1 log lines are lost: the journal did not accept them"
        assert journal.read()["MESSAGE"] == "again"
        journal.close()
        log.info("it has gone")
        path.unlink()


def test_priorities_are_those_of_syslog() -> None:
    levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
    assert [priority(level) for level in levels] == [7, 6, 4, 3, 2]
