"""A reload that goes wrong in a way that nobody foresaw."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from ladingd import daemon as module
from ladingd.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Callable


def _defective() -> Any:
    raise ValueError("nobody foresaw it")


def _never() -> Any:
    threading.Event().wait()


@pytest.mark.parametrize(("configure", "said"), [(_defective, "the log says why"), (_never, "cannot be read in time")])
async def test_it_changes_nothing(configure: Callable[[], Any], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READING", 0.1)
    settings: Any = None
    parts: Any = None
    told = await Daemon(settings, configure)._reload(parts)
    assert told.startswith("nothing is reloaded")
    assert told.endswith(said)
