"""Commands run in separate processes, so the fake daemon listens on a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.client.fake_service import FakeService


@pytest.fixture
async def service(served: FakeService) -> FakeService:
    return served
