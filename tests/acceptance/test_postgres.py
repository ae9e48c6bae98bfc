"""Imports into and exports from a PostgreSQL connection, with a real daemon and the commands."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.daemon import DaemonProcess

SECRET = "s3cr3t-c4n4ry"


class Warehouse:
    """A database of this test, an account with a password, and a daemon with the connection ``warehouse``."""

    def __init__(self, url: str, folder: Path, make_daemon: Callable[..., DaemonProcess]) -> None:
        self.url = url
        self.folder = folder
        parts = urlsplit(url)
        host = parse_qs(parts.query)["host"][0]
        self.daemon = make_daemon(
            connections={"warehouse": f"postgresql://clerk@{parts.path}?host={host}", "admin": url}
        )
        password = folder / "password"
        password.write_text(SECRET + "\n")
        config = self.daemon.config
        config.write_text(
            config.read_text().replace(
                "[connections.warehouse]", f'[connections.warehouse]\npassword_file = "{password}"'
            )
        )

    def sql(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements as the superuser. Returns the rows of the last one."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(sql.SQL(statement))
            return cursor.fetchall() if cursor.description else []

    def lading(self, *arguments: str | Path, status: int = 0) -> str:
        """The output of a command."""
        done = subprocess.run(
            [sys.executable, "-m", "lading_client", *arguments, "--server", self.daemon.address],
            check=False,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def write(self, name: str, text: str) -> Path:
        """Make a file."""
        (self.folder / name).write_text(text)
        return self.folder / name


@pytest.fixture
def warehouse(postgres: str, folder: Path, make_daemon: Callable[..., DaemonProcess]) -> Iterator[Warehouse]:
    name = f"warehouse_{uuid4().hex[:12]}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    made = Warehouse(postgres.replace("/postgres?", f"/{name}?"), folder, make_daemon)
    made.sql(f"CREATE ROLE clerk LOGIN PASSWORD '{SECRET}'", "GRANT CREATE ON SCHEMA public TO clerk")
    yield made
    made.daemon.clean_up()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute("DROP ROLE clerk")


def test_in_and_out_with_every_reject_of_the_database(warehouse: Warehouse) -> None:
    warehouse.sql(
        "CREATE SCHEMA \"Sales dept\"; CREATE TYPE mood AS ENUM ('sad', 'glad');"
        ' CREATE TABLE "Sales dept"."Orders" (id bigint PRIMARY KEY, "Placed on" date NOT NULL,'
        " amount numeric(8,2) CHECK (amount >= 0), code varchar(4), feeling mood, tags text[], paid timestamptz,"
        " made timestamptz DEFAULT now(), seq bigint GENERATED ALWAYS AS IDENTITY)"
    )
    source = warehouse.write(
        "orders.csv",
        "id,Placed on,amount,code,feeling,tags,paid\n"
        '1,2024-02-29,12.50,abcd,glad,"{a,""b c""}",2024-02-29 10:00:00+02\n'
        "2,,1.00,ab,glad,{},\n"
        "3,2024-01-01,-1.00,ab,sad,{},\n"
        "1,2024-01-01,1.00,ab,sad,{},\n"
        "5,2024-01-01,1.00,abcde,sad,{},\n"
        "6,2024-01-01,1.00,ab,angry,{},\n"
        "7,2023-02-30,1.00,ab,sad,{},\n"
        '8,2024-01-01,1000000.00,ab,sad,"{",\n'
        '9,2024-01-01,2.00,ab,,"{",\n'
        "10,2024-01-01,2.00,,,,2024-01-01 00:00:00\n",
    )
    warehouse.daemon.start()
    into = 'admin."Sales dept"."Orders"'
    job = json.loads(warehouse.lading("import", source, "--into", into, "--output", "json"))
    assert job["state"] == "FINISHED", job
    rejects = [
        json.loads(line) for line in warehouse.lading("rejects", str(job["name"]), "--output", "json").splitlines()
    ]
    assert [(each["line"], each["column"], each["code"], each["connector"]) for each in rejects] == [
        (3, "Placed on", "NOT_NULL", "DATABASE"),
        (4, "amount", "CHECK", "DATABASE"),
        (5, "id", "UNIQUE", "DATABASE"),
        (6, "code", "TOO_LONG", "DATABASE"),
        (7, "feeling", "INVALID_VALUE", "DATABASE"),
        (8, "Placed on", "NOT_A_DATE", "TEXT"),
        (9, "amount", "OUT_OF_RANGE", "TEXT"),
        (10, "tags", "INVALID_VALUE", "DATABASE"),
    ]
    assert "Orders_amount_check" in rejects[1]["message"]
    assert warehouse.sql('SELECT id, tags::text, paid::text, made IS NOT NULL, seq > 0 FROM "Sales dept"."Orders"') == [
        (1, '{a,"b c"}', "2024-02-29 08:00:00+00", True, True),
        (10, None, "2024-01-01 00:00:00+00", True, True),
    ]
    out = warehouse.folder / "out.csv"
    warehouse.lading("export", into, "--to", out)
    header, first, second = out.read_text().splitlines()
    assert header.startswith("id,Placed on,amount,code,feeling,tags,paid,made,seq")
    assert first.startswith('1,2024-02-29,12.50,abcd,glad,"{a,""b c""}",2024-02-29 08:00:00+00,')
    assert second.startswith("10,2024-01-01,2.00,,,,2024-01-01 00:00:00+00,")


def test_the_password_comes_from_a_file_and_shows_nowhere(warehouse: Warehouse) -> None:
    source = warehouse.write("people.csv", "id,name\n1,Ada\n2,Zoë\n")
    warehouse.daemon.start()
    # An account that may not make the ledger's schema is told what an administrator can do.
    refused = warehouse.lading("import", source, "--into", "warehouse.people", status=2)
    assert "an administrator can run: CREATE SCHEMA" in refused
    warehouse.sql("GRANT CREATE ON DATABASE " + urlsplit(warehouse.url).path[1:] + " TO clerk")
    warehouse.lading("import", source, "--into", "warehouse.people")
    assert warehouse.sql("SELECT id, name FROM people ORDER BY id") == [(1, "Ada"), (2, "Zoë")]
    warehouse.sql("ALTER TABLE people RENAME TO gone")
    warehouse.lading("import", source, "--into", "warehouse.nowhere.people", status=2)
    warehouse.daemon.stop()
    for path in warehouse.daemon.state_dir.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in warehouse.daemon.log.read_text()
