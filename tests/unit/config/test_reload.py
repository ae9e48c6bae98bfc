"""A reload that fails with an unexpected error."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.config import reload as module
from ladingd.config.reload import NotReloaded, read_anew

if TYPE_CHECKING:
    from collections.abc import Callable


def _defective() -> Any:
    raise ValueError("nobody foresaw it")


def _never() -> Any:
    threading.Event().wait()


@pytest.mark.parametrize(
    ("configure", "said"), [(_defective, "the log says why"), (_never, "cannot be read within 0.1 s")]
)
async def test_it_changes_nothing(configure: Callable[[], Any], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READING", 0.1)
    with pytest.raises(NotReloaded, match=f"not reloaded: .*{said}"):
        await read_anew(configure)
