"""The settings about callers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from ladingd.config import ConfigError, Settings, load
from ladingd.config.settings import defaults
from ladingd.core.access import Role
from ladingd.data.databases.connection import connections_of

if TYPE_CHECKING:
    from pathlib import Path

TLS = """
[tls]
listen = "127.0.0.1:7443"
listen_mutual = "[::1]:7444"
certificate = "/etc/lading/server.pem"
key = "/etc/lading/server.key"
client_ca = "/etc/lading/clients.pem"
[tls.clients."robot 7"]
role = "submitter"
connections = ["crm"]
roots = ["in"]
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("LADINGD_TLS__LISTEN", "LADINGD_SOCKET_ROLE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "ladingd.toml"


def loaded(file: Path, text: str) -> Settings:
    file.write_text(text)
    return load(file, user=False)


def test_without_a_word_only_the_socket_is_served_and_it_is_for_admins(file: Path) -> None:
    settings = loaded(file, "")
    assert settings.tls is None
    assert settings.socket_role == "admin"


def test_a_connection_allows_hooks_only_if_it_says_so(file: Path) -> None:
    text = '[connections.a]\nurl = "sqlite:////a"\n[connections.b]\nurl = "sqlite:////b"\nhooks = true\n'
    connections = connections_of(loaded(file, text).connections)
    assert {name: connection.hooks for name, connection in connections.items()} == {"a": False, "b": True}
    assert defaults(user=True)["connections"]["local"]["hooks"], (
        "a user's own database and daemon belong to the same user"
    )


def test_tls_whole(file: Path) -> None:
    tls = loaded(file, TLS).tls
    assert tls is not None
    assert (tls.listen, tls.listen_mutual) == ("127.0.0.1:7443", "[::1]:7444")
    robot = tls.clients["robot 7"]
    assert (robot.role, robot.connections, robot.roots) == (Role.SUBMITTER, frozenset({"crm"}), frozenset({"in"}))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('listen = "127.0.0.1:7443"', 'listen = "7443"', "tls.listen"),
        ('listen = "127.0.0.1:7443"', 'listen = "unix:/run/x:1"', "tls.listen"),
        ('certificate = "/etc/lading/server.pem"', "", "tls.certificate"),
        ('key = "/etc/lading/server.key"', "", "tls.key"),
        ('key = "/etc/', 'key = "etc/', "absolute"),
        ('client_ca = "/etc/lading/clients.pem"', "", "or neither"),
        ('listen_mutual = "[::1]:7444"', "", "or neither"),
        ('role = "submitter"', 'role = "root"', "role"),
        ('role = "submitter"', "", "role"),
        ("[tls]", "[tls]\nplaintext = true", "plaintext"),
    ],
)
def test_tls_that_is_not_right_names_its_place(file: Path, before: str, after: str, said: str) -> None:
    assert before in TLS
    with pytest.raises(ConfigError, match="tls") as refused:
        loaded(file, TLS.replace(before, after))
    assert said in str(refused.value)


def test_nothing_to_listen_on(file: Path) -> None:
    text = '[tls]\ncertificate = "/c"\nkey = "/k"\n'
    with pytest.raises(ConfigError, match="no address is set"):
        loaded(file, text)
    with pytest.raises(ConfigError, match="clients need listen_mutual"):
        loaded(file, text.replace("[tls]", '[tls]\nlisten = "h:1"') + '[tls.clients.x]\nrole = "viewer"\n')


def test_a_submitter_needs_limits_and_the_socket_has_none(file: Path) -> None:
    with pytest.raises(ConfigError, match="socket_role"):
        loaded(file, 'socket_role = "submitter"')
    assert loaded(file, 'socket_role = "none"').socket_role == "none"


@pytest.mark.parametrize(
    "place", ['listen = "127.0.0.1:9464"', 'listen = "[::1]:1"', 'listen = "localhost:9464"', 'socket = "/run/m"']
)
def test_metrics_are_served_to_this_machine(file: Path, place: str) -> None:
    assert loaded(file, f"[metrics]\n{place}\n").metrics is not None


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ('listen = "0.0.0.0:9464"', "instead of 0.0.0.0:9464"),
        ('listen = "[::]:9464"', "no TLS and no tokens"),
        ('listen = "metrics.example.org:9464"', "no TLS and no tokens"),
        ("", "no address is set"),
        ('socket = "m"', "absolute"),
    ],
)
def test_and_to_no_other(file: Path, place: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        loaded(file, f"[metrics]\n{place}\n")


def test_metrics_are_off_by_default_and_the_log_suits_its_reader(file: Path) -> None:
    settings = loaded(file, "")
    assert (settings.metrics, settings.log_format) == (None, "auto")


@pytest.mark.parametrize("key", ["jobs_days", "failed_days", "audit_days"])
def test_what_is_kept_for_days_ends_within_the_calendar(file: Path, key: str) -> None:
    """The daemon subtracts them from now. A time before the year 1 would end the retention task."""
    settings = loaded(file, f"[retention]\n{key} = 100000\n")
    assert datetime.now(UTC) - timedelta(days=getattr(settings.retention, key)) > datetime.min.replace(tzinfo=UTC)
    for days in (100_001, 10**10, -1):
        with pytest.raises(ConfigError, match=f"retention.{key}"):
            loaded(file, f"[retention]\n{key} = {days}\n")
