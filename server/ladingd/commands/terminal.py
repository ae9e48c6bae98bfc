"""What the commands print."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ladingd.core.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable


def write(lines: Iterable[str]) -> None:
    """Print lines, each made printable."""
    sys.stdout.writelines(f"{printable(line)}\n" for line in lines)
