"""The files of a listener are read again when they change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.api.listener import Listener, _Files
from tests.harness.certificates import Authority

if TYPE_CHECKING:
    import pytest


def test_a_key_that_could_not_be_read_is_looked_at_again_when_its_rights_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = Authority().issue("localhost").write(tmp_path, "server")
    files = _Files(Listener(address="", certificate=certificate, key=key))
    files.read()
    Authority().issue("localhost").write(tmp_path, "server")
    with monkeypatch.context() as closed:  # Root can read everything.
        closed.setattr(Path, "read_bytes", _refuse)
        assert files.changed() is None
        assert files.changed() is None
    assert [f"Permission denied: '{key}'" in record.message for record in caplog.records] == [True]
    key.chmod(0o640)
    assert files.changed() is not None


def _refuse(path: Path) -> bytes:
    raise PermissionError(13, "Permission denied", str(path))
