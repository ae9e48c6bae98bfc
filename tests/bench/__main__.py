"""Runs the cases one after the other and prints their figures, and a table of all at the end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.cases import CASES
from tests.bench.errors import BenchError
from tests.bench.result import table
from tests.bench.workbench import Workbench

if TYPE_CHECKING:
    from tests.bench.result import Figure


def main() -> int:
    """Run the named cases, or all. Returns 1 if a case could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--records", type=int, default=2_000_000, help="of the file of ten columns (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="that count, after one that warms up (%(default)s)")
    parser.add_argument("--jobs", type=int, default=10_000, help="of the soak (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where the files are made and kept; default: a temporary one")
    arguments = parser.parse_args()
    for name in arguments.cases:
        if name not in CASES:
            parser.error(f"there is no case {name}; there are {', '.join(CASES)}")
    # On SIGTERM too, end the database and the daemon.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    # Installed programs have cached bytecode. Without it every command would be compiled again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="lading-bench-") as work:
        files = (arguments.folder or Path(work) / "files").absolute()
        files.mkdir(parents=True, exist_ok=True)
        numbers = {name: getattr(arguments, name) for name in ("records", "rounds", "jobs")}
        with Workbench(files, Path(work), **numbers) as bench:
            return _run(bench, arguments.cases or list(CASES))


def _run(bench: Workbench, names: list[str]) -> int:
    print(bench.setting, flush=True)
    figures: list[Figure] = []
    failed = False
    try:
        for name in names:
            print(f"\n{name}: {CASES[name].__doc__}", flush=True)
            try:
                for figure in CASES[name](bench):
                    figures.append(figure)
                    print(figure.text(), flush=True)
            except BenchError as error:
                failed = True
                print(f"  not measured: {error}", flush=True)
    finally:
        # Also after an interruption, because some cases take minutes.
        print(f"\n{table(figures)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
