"""What every case needs: the files, a PostgreSQL server, and a daemon whose connection ``warehouse`` is that server.

Its connection ``lake`` is a file of DuckDB.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.bench import records
from tests.bench.errors import expect
from tests.bench.measure import wall
from tests.bench.postgres import Postgres
from tests.harness.daemon import DaemonProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LADING = (sys.executable, "-m", "lading_client")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A job that has FINISHED: the seconds from the command to its exit, and the job as the command printed it."""

    seconds: float
    job: Mapping[str, Any]

    @property
    def running(self) -> float:
        """The seconds from RUNNING to FINISHED, by the job's own times."""
        begin, end = (datetime.fromisoformat(self.job[name]) for name in ("startTime", "endTime"))
        return (end - begin).total_seconds()

    def expect(self, **bill: int) -> Self:
        """Raises WrongResult where the bill says anything else."""
        for name, number in bill.items():
            expect(f"{name} in the bill of {self.job['name']}", self.job["bill"][name], number)
        return self


class Workbench:
    """The files in one folder, everything else in another that goes away, for the time of a ``with`` block."""

    def __init__(self, files: Path, work: Path, *, records: int, rounds: int, jobs: int) -> None:
        self._files = files
        self._stack = ExitStack()
        self.work = work
        self.records = records
        self.rounds = rounds
        self.jobs = jobs

    def __enter__(self) -> Self:
        self.postgres = self._stack.enter_context(Postgres(self.work / "postgres"))
        home = self.work / "daemon"
        home.mkdir()
        self.daemon = self.daemon_in(home)
        self._stack.callback(self.daemon.clean_up)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def daemon_in(self, home: Path, **settings: object) -> DaemonProcess:
        """A daemon with a folder of its own that is not started yet."""
        connections = {"warehouse": self.postgres.url, "lake": f"duckdb://{self.lake}"}
        return DaemonProcess(home, connections=connections, **settings)

    @property
    def lake(self) -> Path:
        """The database of DuckDB."""
        return self.work / "lake.duckdb"

    @property
    def setting(self) -> str:
        """Where and with what the figures are made, in a line."""
        return (
            f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}, "
            f"PostgreSQL {self.postgres.ask('SHOW server_version')} with fsync {self.postgres.ask('SHOW fsync')}, "
            f"{self.records:,} records, {self.rounds} rounds"
        )

    @property
    def daemon_pid(self) -> int:
        """The daemon's process, while it serves."""
        assert self.daemon.process is not None
        return self.daemon.process.pid

    def file(self, name: str, write: Callable[[Path], object]) -> Path:
        """A file that is written once per folder, whole or not at all. Without an ending it is a CSV."""
        path = self._files / (name if "." in name else f"{name}.csv")
        if not path.exists():
            unfinished = path.with_suffix(".unfinished")
            write(unfinished)
            unfinished.rename(path)
        return path

    def clean_file(self, number: int) -> Path:
        """So many records of ten columns."""
        return self.file(f"clean-{number}", lambda path: records.write(path, number))

    @contextmanager
    def serving(self, **settings: object) -> Iterator[None]:
        """Have the daemon run, or another one with these settings, and stop in order unless the case failed."""
        usual = self.daemon
        if settings:
            home = Path(tempfile.mkdtemp(dir=self.work))
            self.daemon = self.daemon_in(home, **settings)
        try:
            self.daemon.start()
            try:
                yield
            except BaseException:
                self.daemon.clean_up()
                raise
            self.daemon.stop()
        finally:
            self.daemon = usual

    def lading(self, *arguments: str) -> str:
        """What a command of ours says to programs. Raises CommandFailed."""
        return wall(self.command(*arguments))[1]

    def run(self, *arguments: str) -> Run:
        """A command that makes a job and waits for it."""
        seconds, said = wall(self.command(*arguments))
        return Run(seconds=seconds, job=json.loads(said))

    def command(self, *arguments: str) -> list[str]:
        """A command of ours, spoken to the daemon, that answers in JSON."""
        return [*LADING, *arguments, "--server", self.daemon.address, "--output", "json"]

    def into_postgres(self, file: Path, columns: Mapping[str, str], rows: int) -> Run:
        """Import a file into a new table of PostgreSQL that must then hold so many rows."""
        self.postgres.renew("ours", columns)
        run = self.run("import", str(file), "--into", "warehouse.ours").expect(inserted=rows)
        expect("rows that we wrote", self.postgres.count("ours"), rows)
        return run

    def copied(
        self, file: Path, columns: Mapping[str, str], rows: int, *, options: str = "", notes: Path | None = None
    ) -> float:
        r"""The same by ``psql \copy``; the seconds."""
        self.postgres.renew("theirs", columns)
        seconds = self.postgres.copy_in("theirs", file, options=options, notes=notes)
        expect("rows that psql wrote", self.postgres.count("theirs"), rows)
        return seconds

    def drop_tables(self) -> None:
        """Leave the disk to the next case."""
        self.postgres.ask("DROP TABLE IF EXISTS ours, theirs")
        self.postgres.checkpoint()
