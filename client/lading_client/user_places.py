"""Where the user's own daemon lives: one place, whichever session, shell or timer of the user asks.

The user is whoever the process runs as (the effective uid), not whoever HOME speaks of: `sudo` without -H keeps the
HOME of another, and what root makes there its owner could not use. The daemon computes the same places for itself
(`ladingd.host.user_places`); the two share no code.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def home(environment: Mapping[str, str], uid: int) -> Path:
    """HOME if it belongs to the user; else the home of the user's account."""
    given = environment.get("HOME", "")
    if given.startswith("/") and owner(Path(given)) == uid:
        return Path(given)
    try:
        return Path(pwd.getpwuid(uid).pw_dir)
    except KeyError:
        # In a container the uid may have no account.
        return Path(given if given.startswith("/") else "/")


def state_directory(environment: Mapping[str, str], uid: int) -> Path:
    """The directory of store, lock and address; it need not exist.

    It is ~/.local/state/lading once there is anything under that name: cron, which knows no XDG_STATE_HOME, has to come
    to the same place as the shell that does. ``settle`` makes it a link where XDG_STATE_HOME names another place.
    """
    anchor = _anchor(environment, uid)
    return anchor if os.path.lexists(anchor) else _wanted(environment, uid)


def settle(environment: Mapping[str, str], uid: int) -> Path:
    """Make the state directory, and see to it that it is found without XDG_STATE_HOME. Raises OSError."""
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
        return wanted  # A home that cannot be written to: there is only XDG_STATE_HOME.
    return anchor


def config_file(environment: Mapping[str, str], uid: int) -> Path:
    """The configuration of the user's own daemon; it need not exist."""
    return _xdg(environment, uid, "XDG_CONFIG_HOME", ".config") / "lading" / "ladingd.toml"


def left_aside(environment: Mapping[str, str], uid: int) -> Path | None:
    """A state directory that XDG_STATE_HOME names and that is not in use, though it has a store of jobs."""
    used, wanted = state_directory(environment, uid), _wanted(environment, uid)
    return wanted if (wanted / "store.db").exists() and not wanted.samefile(used) else None


def owner(path: Path) -> int | None:
    """Whose a directory is, or the nearest one above that exists; None where that cannot be seen."""
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
    # The base directory specification: a relative path is to be ignored. So is the directory of somebody else.
    given = environment.get(variable, "")
    if given.startswith("/") and owner(Path(given)) == uid:
        return Path(given)
    return home(environment, uid) / fallback
