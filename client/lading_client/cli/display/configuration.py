"""How to add a missing name to the daemon's configuration."""

from __future__ import annotations

import os
import re

from lading_client import user_places
from lading_client.cli.display.columns import printable
from lading_client.transport.address import is_socket

_MISSING = re.compile(r"there is no (?P<kind>connection|root) '(?P<name>[^']*)'")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SYSTEM_FILE = "/etc/lading/ladingd.toml"


def advice(description: str, server: str | None) -> list[str]:
    """The lines to add for a missing connection or root, and what to type next; nothing for other problems.

    The advice depends on who runs the daemon.
    """
    match = _MISSING.search(description)
    if match is None:
        return []
    if server is not None and not is_socket(server):
        return [f"ask the administrator of the daemon at {server} to add it"]
    name = match["name"] if _NAME.fullmatch(match["name"]) else "NAME"
    entry = (
        [
            f"  [connections.{name}]",
            '  url = "postgresql://USER@HOST/DATABASE"    # or "sqlite:///path/to/file.db", "duckdb:///…"',
        ]
        if match["kind"] == "connection"
        else ["  [roots]", f'  {name} = "/path/to/directory"']
    )
    if server is None:
        file = printable(str(user_places.config_file(os.environ, os.geteuid())))
        pid_file = printable(str(user_places.state_directory(os.environ, os.geteuid()) / "ladingd.pid"))
        return [
            f"to add it, write in {file}:",
            *entry,
            "check it: ladingd --user config check --connect",
            f"then reload the daemon: kill -HUP $(cat {pid_file})",
        ]
    return [
        f"ask the daemon's administrator to add it to the configuration, usually {_SYSTEM_FILE}:",
        *entry,
        "check it: ladingd config check --connect",
        "then reload the daemon: systemctl reload ladingd",
    ]
