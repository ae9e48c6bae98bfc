"""The directories of the user's own daemon. They are the same for every session, shell and timer of the user.

The user is the effective uid of the process, not the owner of HOME: `sudo` without -H keeps the HOME of another user,
who could not use files that root creates there. The command line computes the same directories for itself
(`lading_client.user_places`); the two share no code.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def home(environment: Mapping[str, str], uid: int) -> Path:
    """HOME if it belongs to the user, or else the home directory of the user's account."""
    given = environment.get("HOME", "")
    if given.startswith("/") and owner(Path(given)) == uid:
        return Path(given)
    try:
        return Path(pwd.getpwuid(uid).pw_dir)
    except KeyError:
        # In a container the uid may have no account.
        return Path(given if given.startswith("/") else "/")


def state_directory(environment: Mapping[str, str], uid: int) -> Path:
    """The directory of the store, the lock and the address. It need not exist.

    Once ~/.local/state/lading exists, it is that path: cron, which has no XDG_STATE_HOME, must find the same directory
    as a shell that has it. ``create_state_directory`` makes the path a link if XDG_STATE_HOME names another directory.
    """
    anchor = _anchor(environment, uid)
    return anchor if os.path.lexists(anchor) else _wanted(environment, uid)


def create_state_directory(environment: Mapping[str, str], uid: int) -> Path:
    """Create the state directory so that it is also found without XDG_STATE_HOME. Raises OSError."""
    anchor, wanted = _anchor(environment, uid), _wanted(environment, uid)
    if os.path.lexists(anchor):
        return anchor
    wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
    if wanted == anchor:
        return anchor
    try:
        anchor.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        anchor.symlink_to(wanted)
    except FileExistsError:
        return anchor  # Another session was faster.
    except OSError:
        return wanted  # The home directory is not writable: only XDG_STATE_HOME is left.
    return anchor


def config_directory(environment: Mapping[str, str], uid: int) -> Path:
    """The directory of the user's configuration."""
    return _xdg(environment, uid, "XDG_CONFIG_HOME", ".config") / "lading"


def owner(path: Path) -> int | None:
    """The owner of a directory, or of its nearest existing parent; None if it cannot be seen."""
    for each in (path, *path.parents):
        try:
            return each.stat().st_uid
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def _anchor(environment: Mapping[str, str], uid: int) -> Path:
    return home(environment, uid) / ".local" / "state" / "lading"


def _wanted(environment: Mapping[str, str], uid: int) -> Path:
    return _xdg(environment, uid, "XDG_STATE_HOME", ".local/state") / "lading"


def _xdg(environment: Mapping[str, str], uid: int, variable: str, fallback: str) -> Path:
    # The base directory specification says to ignore a relative path. We also ignore the directory of another user.
    given = environment.get(variable, "")
    if given.startswith("/") and owner(Path(given)) == uid:
        return Path(given)
    return home(environment, uid) / fallback
