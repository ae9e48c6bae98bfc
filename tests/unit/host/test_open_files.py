"""The limit of open files."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource
from ladingd.host.open_files import allow_many
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
allow_many()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("soft", "hard", "allowed"), [(256, 4_096, 4_096), (4_096, 4_096, 4_096), (256, 1_024, 1_024)])
def test_the_limit_is_raised_as_far_as_it_may_go(soft: int, hard: int, allowed: int) -> None:
    program = PROGRAM.format(soft=soft, hard=hard)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.split() == [str(allowed), str(hard)]
