"""The resources of all cases: the files, a PostgreSQL server, and a daemon. The daemon's connection ``warehouse`` is
that server, and ``lake`` is a DuckDB file."""

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
    """A FINISHED job: the seconds of the whole command, and the job as the command printed it."""

    seconds: float
    job: Mapping[str, Any]

    @property
    def running(self) -> float:
        """The seconds from RUNNING to FINISHED, by the job's own times."""
        begin, end = (datetime.fromisoformat(self.job[name]) for name in ("startTime", "endTime"))
        return (end - begin).total_seconds()

    def expect(self, **bill: int) -> Self:
        """Raises WrongResult if the bill differs."""
        for name, number in bill.items():
            expect(f"{name} in the bill of {self.job['name']}", self.job["bill"][name], number)
        return self


class Workbench:
    """Keeps the files in one folder and everything else in a temporary one, during a ``with`` block."""

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
        """A daemon with its own folder, not yet started."""
        connections = {"warehouse": self.postgres.url, "lake": f"duckdb://{self.lake}"}
        return DaemonProcess(home, connections=connections, **settings)

    @property
    def lake(self) -> Path:
        """The database of DuckDB."""
        return self.work / "lake.duckdb"

    @property
    def setting(self) -> str:
        """One line about the machine and the versions of programs."""
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
        """A file that is written once per folder, atomically. Without an extension it is a CSV."""
        path = self._files / (name if "." in name else f"{name}.csv")
        if not path.exists():
            unfinished = path.with_suffix(".unfinished")
            write(unfinished)
            unfinished.rename(path)
        return path

    def clean_file(self, number: int) -> Path:
        """A file of ``number`` clean records."""
        return self.file(f"clean-{number}", lambda path: records.write(path, number))

    @contextmanager
    def serving(self, **settings: object) -> Iterator[None]:
        """Run the daemon, or another one with these settings. Stop it in order unless the case failed."""
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
        """The JSON output of a `lading` command. Raises CommandFailed."""
        return wall(self.command(*arguments))[1]

    def run(self, *arguments: str) -> Run:
        """Run a command that makes a job and waits for it."""
        seconds, said = wall(self.command(*arguments))
        return Run(seconds=seconds, job=json.loads(said))

    def command(self, *arguments: str) -> list[str]:
        """A `lading` command for the daemon with JSON output."""
        return [*LADING, *arguments, "--server", self.daemon.address, "--output", "json"]

    def into_postgres(self, file: Path, columns: Mapping[str, str], rows: int, *options: str) -> Run:
        """Import a file into a new table of PostgreSQL, and check its number of rows."""
        self.postgres.renew("ours", columns)
        run = self.run("import", str(file), "--into", "warehouse.ours", *options).expect(inserted=rows)
        expect("rows that we wrote", self.postgres.count("ours"), rows)
        return run

    def copied(
        self, file: Path, columns: Mapping[str, str], rows: int, *, options: str = "", notes: Path | None = None
    ) -> float:
        r"""The same by ``psql \copy``. Returns the seconds."""
        self.postgres.renew("theirs", columns)
        seconds = self.postgres.copy_in("theirs", file, options=options, notes=notes)
        expect("rows that psql wrote", self.postgres.count("theirs"), rows)
        return seconds

    def drop_tables(self) -> None:
        """Free the disk for the next case."""
        self.postgres.ask("DROP TABLE IF EXISTS ours, theirs")
        self.postgres.checkpoint()
