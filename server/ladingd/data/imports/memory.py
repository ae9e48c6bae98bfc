"""Gives memory back to the system."""

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
"""Bytes that a process may have grown by and keep: to look for them takes 10 ms and more."""


@contextmanager
def memory_given_back() -> Iterator[None]:
    """Have the allocators keep little of what the block needed: the next plan may be a long time away, and small."""
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
