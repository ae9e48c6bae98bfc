"""The settings that a reload applies, and those that need a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ladingd.config.change import LIVE, RESTART, change, is_live
from ladingd.config.keys import all_keys
from ladingd.config.settings import Settings

TLS = {"listen": "h:1", "listen_mutual": "h:2", "certificate": "/c", "key": "/k", "client_ca": "/a"}


def settings(**values: Any) -> Settings:
    base = {"state_dir": "/state", "socket": "/s", "workers": 1, "connections": {"a": {"url": "sqlite:////a"}}}
    return Settings.model_validate({**base, **values})


def test_every_key_is_decided_on_once() -> None:
    """A reload applies each setting, or reports that it needs a restart."""
    undecided = []
    for key in all_keys():
        try:
            if not key.is_table:
                is_live(key.path)
        except KeyError:
            undecided.append(key.dotted)
    assert undecided == [], "name them in LIVE or RESTART"
    assert not LIVE & RESTART
    known = {".".join(key.path[:length]) for key in all_keys() for length in range(1, len(key.path) + 1)}
    assert known >= LIVE | RESTART, "what there is no more"


def test_what_is_live_is_taken_and_the_rest_waits() -> None:
    old = settings(tls=TLS)
    new = settings(
        slots=9,
        workers=7,
        state_dir="/other",
        log_level="DEBUG",
        connections={"b": {"url": "sqlite:////b"}},
        roots={"in": "/srv"},
        tls={**TLS, "listen": "h:9", "clients": {"robot": {"role": "viewer"}}},
    )
    made = change(old, new)
    assert set(made.applied) == {
        "slots",
        "log_level",
        "connections.a",
        "connections.b",
        "roots.in",
        "tls.clients.robot",
    }
    assert set(made.pending) == {"workers", "state_dir", "tls.listen"}
    assert (made.settings.slots, made.settings.workers, made.settings.state_dir) == (9, 1, Path("/state"))
    assert made.settings.tls is not None
    assert (made.settings.tls.listen, list(made.settings.tls.clients)) == ("h:1", ["robot"])
    again = change(made.settings, new)
    assert (again.applied, again.pending) == ((), made.pending), "it is said until the restart"


@pytest.mark.parametrize(("before", "after"), [(None, TLS), (TLS, None)])
def test_tls_is_begun_and_ended_by_a_restart(before: Any, after: Any) -> None:
    made = change(settings(tls=before), settings(tls=after))
    assert (made.applied, made.pending) == ((), ("tls",))
    assert made.settings == settings(tls=before)


def test_a_connection_with_another_url_is_named_once() -> None:
    made = change(settings(), settings(connections={"a": {"url": "sqlite:////z"}}))
    assert (made.applied, str(made)) == (("connections.a",), "changed: connections.a")
    assert made.settings.connections["a"].url == "sqlite:////z"


def test_nothing_new() -> None:
    assert str(change(settings(), settings())) == "nothing has changed"
    text = str(change(settings(), settings(slots=2, socket="/t")))
    assert text == "changed: slots; a restart is needed for: socket"


def test_every_live_key_is_taken_over_alone() -> None:
    """Each key alone, with another value than the default."""
    others: dict[str, Any] = {
        "socket_role": "none",
        "slots": 9,
        "shutdown_grace": 1.5,
        "cancel_grace": 1.5,
        "pause_grace": 1.5,
        "target_patience": 1.5,
        "log_level": "DEBUG",
        "connections": {},
        "roots": {"in": "/srv"},
        "upload_limit": 1,
        "uploads_limit": 1,
        "disk_reserve": 0,
        "retention": {"jobs_days": 1},
    }
    assert others.keys() | {"tls.clients"} == LIVE
    for key, value in others.items():
        new = settings(**{key: value})
        made = change(settings(), new)
        assert (made.settings, made.pending) == (new, ()), key
