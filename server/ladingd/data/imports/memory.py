"""Returns memory to the operating system."""

from __future__ import annotations

import ctypes
import gc
import resource
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT = 32 << 20
"""A process that grew by fewer bytes keeps them: a collection takes 10 ms or more."""


@contextmanager
def memory_given_back() -> Iterator[None]:
    """Return the memory of the block to the system when the block ends: the next plan may come much later."""
    before = _resident()
    try:
        yield
    finally:
        if _resident() - before > KEPT:
            gc.collect()
            pa.default_memory_pool().release_unused()
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
            if trim is not None:  # glibc has it
                trim(0)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
