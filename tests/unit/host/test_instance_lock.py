"""The end of a claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.host.instance_lock import PID_FILE, RECORD, locked_instance

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_what_cannot_be_removed_at_the_end_is_said_and_no_failure(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state, socket = folder / "state", folder / "run" / "s"
    with locked_instance(state, socket):
        (state / PID_FILE).unlink()
        (state / PID_FILE).mkdir()  # Root may remove any file, but this is a directory.
        socket.touch()
    assert f"{state / PID_FILE} cannot be removed" in caplog.text
    assert not socket.exists()
    assert not (state / RECORD).exists()
