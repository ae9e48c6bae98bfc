"""Streams as files: standard input, pipes and files of the kernel can be read only once, and have no size."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDARD_INPUT = "-"
NAME = "standard input"
"""How an upload of standard input is called."""

_PIECE = 1 << 20


def is_stream(path: str) -> bool:
    """Whether a path is standard input, a named pipe, or a file without a size that has content, as below `/proc`.

    Raises OSError.
    """
    if path == STANDARD_INPUT:
        return True
    found = os.stat(path)
    if stat.S_ISFIFO(found.st_mode):
        return True
    if not stat.S_ISREG(found.st_mode) or found.st_size:
        return False
    with open(path, "rb") as file:
        return bool(file.read(1))


@contextmanager
def spooled(path: str) -> Iterator[Path]:
    """A temporary file with the whole content of a stream. Raises OSError."""
    import tempfile  # 5 ms, which most commands do not pay.

    with tempfile.NamedTemporaryFile(prefix="lading-") as file:
        if path == STANDARD_INPUT:
            _copy(sys.stdin.buffer, file)
        else:
            with open(path, "rb", buffering=0) as stream:
                _copy(stream, file)
        file.flush()
        yield Path(file.name)


def _copy(stream: IO[bytes], file: IO[bytes]) -> None:
    while piece := stream.read(_PIECE):
        file.write(piece)
