"""Resources that threads create and release for callers that may be cancelled."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from ladingd.data.files.shared_file import held

PATIENCE = 10


async def test_it_is_released_when_the_caller_is_cancelled_again_while_no_thread_is_free() -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=1))
    released, gate = asyncio.Event(), threading.Event()
    inside = asyncio.Event()

    def release(thing: str) -> None:
        loop.call_soon_threadsafe(released.set)

    async def hold() -> None:
        async with held(lambda: "it", release):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await asyncio.wait_for(inside.wait(), PATIENCE)
    busy = loop.run_in_executor(None, gate.wait, PATIENCE)
    for _ in range(2):
        task.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
    gate.set()
    await asyncio.wait_for(released.wait(), PATIENCE)
    await asyncio.wait([task], timeout=PATIENCE)
    await asyncio.wait_for(busy, PATIENCE)
    assert task.cancelled()
