"""The limits of a plan for any file: 500 MB, 5 seconds of the processor, and no memory afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_MIB = 1 << 20

FILES = {
    "a line of 5,000,000 fields": (b"abcdefg," * 5_000_000, "more than 16,777,216 bytes"),
    "100,000 names": (
        b",".join(b"c%d" % number for number in range(100_000)) + b"\n" + b"1," * 99_999 + b"1\n",
        "has 100,000 columns; at most 2,000",
    ),
    "1,000,000 columns of one byte": (b"1," * 999_999 + b"1\n", "columns; at most 2,000"),
    "nothing but quotes": (b'"' * (16 * _MIB - 1), "never closed"),
    "quoted fields": (b'"a",' * 4_000_000, "columns; at most 2,000"),
    "blank lines": (b"\n" * (70 * _MIB), "blank lines: remove them"),
    "NUL bytes": (b"a,b\n" + b"1,2\n" * 200_000 + b"\0" * (16 * _MIB), "binary file"),
    "a first record of nearly 16 MiB": (b"x" * (16 * _MIB - 10) + b",y\n1,2\n", ""),
    "blank lines below 2,000 names": (b",".join(b"c%d" % n for n in range(2000)) + b"\n" * (2 * _MIB), ""),
    "quotes that are not regular": (b"a,b\n" + b'1,"say "hi" now"\n' * 200_000, ""),
}

_PLAN = """
import json, resource, sys, time
from pathlib import Path
import duckdb
import ladingd.data.databases.sqlite.target, ladingd.data.imports.importer
from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import File, ImportSpec, Table
from ladingd.data.databases.connection import Connection
from ladingd.data.storage.work_dir import WorkDir
from ladingd.data.transfer import BulkTransfer

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak():
    # Not getrusage: what it says goes on from the process that this one was forked from.
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) << 10

directory = Path(sys.argv[1])
connection = Connection(name="local", url=f"sqlite://{directory}/t.db")
work_dir = WorkDir(directory=directory / "work")
transfer = BulkTransfer(connections={"local": connection}, roots={"local": directory}, work_dir=work_dir)
spec = ImportSpec(files=(File(path="in.csv"),), target=Table(table="t"))
before, begin, said = resident(), time.process_time(), ""
try:
    transfer.plan(spec)
except InvalidSpec as error:
    said = str(error)
print(json.dumps({
    "said": said,
    "seconds": time.process_time() - begin,
    "peak": peak(),
    "kept": resident() - before,
}))
"""


@pytest.mark.parametrize("name", FILES)
def test_a_plan_is_bounded(tmp_path: Path, name: str) -> None:
    data, words = FILES[name]
    (tmp_path / "in.csv").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", _PLAN, str(tmp_path)], capture_output=True, text=True, check=True, timeout=55
    )
    taken = json.loads(done.stdout.splitlines()[-1])
    assert words in taken["said"]
    assert bool(words) == bool(taken["said"])
    assert taken["peak"] < 500 * _MIB
    assert taken["seconds"] < 5
    assert taken["kept"] < 100 * _MIB
