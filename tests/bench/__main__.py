"""Runs the cases and prints their ratios. Needs ``sqlite3`` (Debian: ``apt-get install sqlite3``)."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.bench import records
from tests.bench.measure import Memory, in_turn, line, wall
from tests.harness.daemon import DaemonProcess

if TYPE_CHECKING:
    from collections.abc import Callable

LADING = (sys.executable, "-m", "lading_client")


class Bench:
    """The cases, over one folder with the files and one daemon."""

    def __init__(self, folder: Path, number: int, rounds: int) -> None:
        self.folder = folder
        self.number = number
        self.rounds = rounds
        self.daemon = DaemonProcess(_new(folder / "daemon"))

    def file(self, number: int) -> Path:
        """A file of so many records, written once."""
        path = self.folder / f"{number}.csv"
        return path if path.exists() else records.write(path, number)

    def lading(self, number: int) -> float:
        """Import a file through the running daemon: from the command to its exit."""
        self.daemon.target.unlink(missing_ok=True)
        command = (*LADING, "import", self.file(number), "--into", "records", "--server", self.daemon.address)
        return wall(command, stderr=-3)

    def sqlite(self, number: int) -> float:
        """The same by the ``.import`` of sqlite3, with its default settings, into a table with the same columns."""
        target = self.folder / "peer.db"
        target.unlink(missing_ok=True)
        columns = ", ".join(f"{name} {kind}" for name, kind in records.COLUMNS.items())
        wall(["sqlite3", target, f"CREATE TABLE records ({columns})"])
        return wall(["sqlite3", target, ".mode csv", f".import --skip 1 {self.file(number)} records"])

    def sqlite_import(self) -> None:
        """Records into SQLite, beside sqlite3. Goal: no slower."""
        self.daemon.start()
        self.file(self.number)
        ours, theirs = in_turn(self.rounds, lambda: self.lading(self.number), lambda: self.sqlite(self.number))
        self.daemon.stop()
        print(line(f"lading import, {self.number:,} records", ours))
        print(line("sqlite3 .import", theirs))
        ratio = statistics.median(theirs) / statistics.median(ours)
        print(f"  speed beside sqlite3 .import: {ratio:.2f} x   (goal 1.00)")

    def small(self) -> None:
        """1,000 records through a running daemon, from command to exit. Goal: under 0.5 s."""
        self.daemon.start()
        ours, theirs = in_turn(max(self.rounds, 9), lambda: self.lading(1_000), lambda: self.sqlite(1_000))
        self.daemon.stop()
        print(line("lading import, 1,000 records (goal 0.5)", ours))
        print(line("sqlite3 .import", theirs))

    def ready(self) -> None:
        """From the start of the daemon's process until its health is SERVING. Goal: under 1.5 s."""
        seconds = []
        for _ in range(max(self.rounds, 9)):
            begin = time.perf_counter()
            self.daemon.start()
            with grpc.insecure_channel(self.daemon.address) as channel:
                health = HealthStub(channel)  # type: ignore[no-untyped-call]
                answer = health.Check(HealthCheckRequest(), wait_for_ready=True, timeout=20)
            seconds.append(time.perf_counter() - begin)
            assert answer.status == HealthCheckResponse.SERVING
            self.daemon.stop()
        print(line("daemon ready (goal 1.5)", seconds))

    def memory(self) -> None:
        """Peak memory of daemon and workers for a tenth of the records and all. Goal: within 20 %."""
        peaks = []
        for number in (self.number // 10, self.number):
            self.daemon.start()
            assert self.daemon.process is not None
            self.file(number)
            with Memory(self.daemon.process.pid) as memory:
                self.lading(number)
            self.daemon.stop()
            peaks.append(memory.peak)
            print(f"  {number:>12,} records: peak {memory.peak / 2**20:6.0f} MiB, daemon and workers")
        print(f"  growth: {100 * (peaks[1] / peaks[0] - 1):+.0f} %   (goal within 20 %)")


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


CASES: dict[str, Callable[[Bench], None]] = {
    "sqlite-import": Bench.sqlite_import,
    "small": Bench.small,
    "ready": Bench.ready,
    "memory": Bench.memory,
}


def main() -> None:
    """Run the cases that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lading-bench-") as folder:
        bench = Bench(Path(folder), arguments.records, arguments.rounds)
        try:
            for name in arguments.cases or CASES:
                print(f"{name}: {CASES[name].__doc__}")
                CASES[name](bench)
        finally:
            bench.daemon.clean_up()


if __name__ == "__main__":
    main()
