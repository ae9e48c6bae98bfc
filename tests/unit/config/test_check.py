"""The findings about a configuration, with their lines and messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from ladingd.config import ConfigError, checked
from ladingd.config import surroundings as module
from ladingd.config.finding import Severity
from ladingd.config.settings import missing
from ladingd.config.surroundings import examine
from tests.harness.certificates import Authority, Pair
from tests.harness.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ladingd.config.finding import Finding

SECRET = "hunter2-canary"


def findings(file: Path, text: str) -> tuple[Finding, ...]:
    file.write_text(text)
    return examine(file, user=False)[1]


def only(file: Path, text: str) -> Finding:
    (finding,) = findings(file, text)
    return finding


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        ("\nslotz = 4", 2, "slotz", "did you mean slots?"),
        ("[tls]\nkey = '/k'\ncertificate = '/c'\nlisten = 'h:1'\nslots = 4", 5, "tls.slots", "above the first [table]"),
        ("[roots]\nin = '/srv'\nslots = 4", 3, "roots.slots", "above the first [table]"),
        ("[conections.crm]\nurl = 'sqlite:////x'", 1, "conections", "did you mean connections?"),
        ("ledger_schema = 'x'", 1, "ledger_schema", "did you mean connections.NAME.ledger_schema"),
        ("[connections.crm]\nurll = 'x'\nurl = 'sqlite:////x'", 2, "connections.crm.urll", "did you mean url?"),
        ("[connections.crm]\nledger_schema = 'x'", 1, "connections.crm.url", 'missing, as in url = "postgresql://'),
        ("[connections]\ncrm = {url = 'mysql://x'}", 2, "connections.crm.url", "sqlite:///absolute/path"),
        ("[connections.Crm]\nurl = 'sqlite:////x'", 1, "connections.Crm", "a-z, 0-9"),
        ("connections = 3", 1, "connections", "beneath [connections]"),
        ("tls = 'yes'", 1, "tls", "beneath [tls]"),
        ("slots = 'four'", 1, "slots", "a whole number"),
        ("slots = 0", 1, "slots", "at least 1"),
        ("idle_exit = 0", 1, "idle_exit", "more than 0"),
        ("pause_grace = 'long'", 1, "pause_grace", "a number"),
        ("log_level = 'LOUD'", 1, "log_level", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("[connections.crm]\nurl = 'sqlite:////x?mode=ro'", 2, "connections.crm.url", "ends with the path"),
        ("[connections.crm]\nurl = 'sqlite:////x#1.db'", 2, "connections.crm.url", "write %3F"),
        ("state_dir = 3", 1, "state_dir", "must be text, in quotes"),
        ('state_dir = "/a\\u0000b"', 1, "state_dir", "a null character"),
        (
            '[connections.crm]\nurl = "postgresql://h/d"\npassword_file = "/a\\u0000b"',
            3,
            "connections.crm.password_file",
            "a null",
        ),
        ("\n_cli_parse_args = true", 2, "_cli_parse_args", "unknown key"),
        ("state_dir = 'here'", 1, "state_dir", "an absolute path"),
        ("[roots]\nin = 'here'", 2, "roots.in", "an absolute path"),
        ("[roots]\nuploads = '/srv'", 2, "roots.uploads", "another name"),
        ("slots = 4\nslots = 5", 2, "", "not TOML"),
        ("slots = 4\n[tls", 2, "", "not TOML"),
        ("slots = four", 1, "", "write text in quotes"),
        ('a = """\n\n', 3, "", "not TOML"),
    ],
)
def test_an_error_of_form(file: Path, text: str, line: int, key: str, said: str) -> None:
    finding = only(file, text)
    assert (finding.severity, finding.place.file, finding.place.line) == (Severity.ERROR, file, line), str(finding)
    assert finding.key == key
    assert said in finding.message
    assert str(finding).startswith(f"{file}:{line}: error: ")


def test_what_is_no_utf_8_has_a_line_too(file: Path) -> None:
    file.write_bytes(b"slots = 4\n# caf\xe9\n")
    (finding,) = examine(file, user=False)[1]
    assert (finding.place.line, "UTF-8" in finding.message) == (2, True)


def test_a_file_that_is_named_and_not_there(file: Path) -> None:
    (finding,) = examine(file, user=False)[1]
    assert "ladingd config init" in finding.message
    with pytest.raises(ConfigError, match="the file does not exist"):
        checked(file, user=False)


def test_all_are_found_in_the_order_of_the_file(file: Path) -> None:
    found = findings(file, "slotz = 1\nworkers = 0\n[roots]\na = 'x'\nb = 'y'\n[connections.c]\nurl = 'x:'\nport = 1\n")
    assert [finding.place.line for finding in found] == [1, 2, 4, 5, 7, 8]
    with pytest.raises(ConfigError) as refused:
        checked(file, user=False)
    assert [str(finding) in str(refused.value) for finding in found] == [True] * 6


def test_a_value_of_the_environment_is_found_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LADINGD_SLOTS", "none")
    monkeypatch.setenv("LADINGD_CONNECTIONS__CRM__URL", "nowhere")
    monkeypatch.setenv("LADINGD_SLOT", "4")
    said = [str(finding) for finding in findings(file, "slots = 4")]
    assert said[0].startswith("environment variable LADINGD_CONNECTIONS__CRM__URL: error: connections.crm.url: ")
    assert said[1].startswith("environment variable LADINGD_SLOT: warning: ")
    assert said[1].endswith("did you mean slots?")
    assert said[2] == "environment variable LADINGD_SLOTS: error: slots: must be a whole number"


def test_a_table_in_a_variable_counts_for_the_keys_that_it_has(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LADINGD_ROOTS", '{"inbox": "/nowhere/a"}')
    both = findings(file, "[roots]\ninbox = '/srv'\noutbox = '/nowhere/b'\n")
    places = {finding.key: (finding.place.variable, finding.place.line) for finding in both}
    assert places == {"roots.inbox": ("LADINGD_ROOTS", None), "roots.outbox": ("", 3)}


@pytest.mark.parametrize("name", ["LADINGD_ROOTS", "LADINGD_TLS"])
def test_a_table_of_the_environment_that_is_no_json(file: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "{")
    finding = only(file, "")
    assert finding.place.variable == name
    assert f"{name}__NAME" in finding.message


@pytest.mark.parametrize(
    "text",
    [
        f"[connections.a]\nurl = 'postgresql://u:{SECRET}@h/d'",
        f"[connections.a]\nurl = 'postgres//u:{SECRET}@h/d'",
        f"[connections.a]\nurl = 'sqlite:////x'\npassword = '{SECRET}'",
        f"[connections]\na = 'postgresql://u:{SECRET}@h/d'",
        f"connections = '{SECRET}'",
        f"[connections.a]\nurl = ['{SECRET}']",
        f"slots = '{SECRET}'",
        f"[connections.a]\nurl = '{SECRET}",
    ],
)
def test_no_value_is_repeated(file: Path, text: str) -> None:
    found = findings(file, text)
    assert found
    assert SECRET not in "\n".join(map(str, found))
    with pytest.raises(ConfigError) as refused:
        checked(file, user=False)
    assert SECRET not in "".join([str(refused.value), str(refused.value.__cause__)])


# Secrets


def connection(secret: str) -> str:
    return f"[connections.a]\nurl = 'postgresql://u@h/d'\n{secret}"


def test_secrets_that_are_not_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = only(file, connection(f"password_file = '{file.parent}/none'"))
    assert (finding.severity, finding.place.line) == (Severity.ERROR, 3)
    assert "No such file" in finding.message
    finding = only(file, connection("password_env = 'NO_SUCH'"))
    assert (finding.severity, finding.key) == (Severity.ERROR, "connections.a.password_env")
    finding = only(file, connection("password_credential = 'crm'"))
    assert (finding.severity, "LoadCredential=crm:FILE" in finding.message) == (Severity.WARNING, True)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(file.parent))
    assert only(file, connection("password_credential = 'crm'")).severity is Severity.ERROR
    (file.parent / "crm").write_text("x")
    assert findings(file, connection("password_credential = 'crm'")) == ()


def test_a_secret_that_everybody_can_read_and_an_empty_one(file: Path) -> None:
    secret = file.with_name("secret")
    secret.write_text(SECRET)
    secret.chmod(0o604)
    finding = only(file, connection(f"password_file = '{secret}'"))
    assert (finding.severity, "chmod 640" in finding.message) == (Severity.WARNING, True)
    secret.chmod(0o600)
    assert findings(file, connection(f"password_file = '{secret}'")) == ()
    secret.write_text("\n")
    assert only(file, connection(f"password_file = '{secret}'")).severity is Severity.ERROR


# TLS


def tls(certificate: Path, key: Path, more: str = "") -> str:
    return f"[tls]\nlisten = 'localhost:1'\ncertificate = '{certificate}'\nkey = '{key}'\n{more}"


def written(pair: Pair, folder: Path, name: str = "server") -> tuple[Path, Path]:
    paths = pair.write(folder, name)
    paths[1].chmod(0o600)
    return paths


def test_certificates_that_are_right(file: Path) -> None:
    assert findings(file, tls(*written(Authority().issue("localhost"), file.parent))) == ()


def test_a_certificate_and_the_key_of_another(file: Path) -> None:
    authority = Authority()
    certificate, _ = written(authority.issue("localhost"), file.parent)
    _, key = written(authority.issue("localhost"), file.parent, "other")
    finding = only(file, tls(certificate, key))
    assert (finding.severity, finding.key, finding.place.line) == (Severity.ERROR, "tls.key", 4)
    assert f"{key} is not the key of {certificate}" in finding.message


def test_a_certificate_that_has_expired(file: Path) -> None:
    finding = only(file, tls(*written(Authority().issue("localhost", expired=True), file.parent)))
    assert (finding.severity, finding.key, finding.place.line) == (Severity.WARNING, "tls.certificate", 3)
    assert f"expired on {datetime.now(UTC) - timedelta(minutes=5):%Y-%m-%d}" in finding.message


def test_a_certificate_that_expires_soon_and_one_that_is_not_valid_yet(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tls(*written(Authority().issue("localhost"), file.parent))
    for now, severity, said in (
        (datetime(2999, 12, 20, tzinfo=UTC), Severity.WARNING, "expires on 3000-01-01"),
        (datetime(1999, 1, 1, tzinfo=UTC), Severity.WARNING, "is the clock right?"),
    ):
        monkeypatch.setattr(module, "utc_now", lambda now=now: now)
        found = findings(file, text)
        assert {(finding.severity, said in finding.message) for finding in found} == {(severity, True)}


def test_files_of_tls_that_are_of_no_use(file: Path) -> None:
    certificate, key = written(Authority().issue("localhost"), file.parent)
    found = findings(file, tls(file.with_name("none.pem"), file.with_name("none.key")))
    assert [(finding.key, "cannot be read" in finding.message) for finding in found] == [
        ("tls.certificate", True),
        ("tls.key", True),
    ]
    finding = findings(file, tls(key, certificate))[0]
    assert (finding.key, "no PEM certificate" in finding.message) == ("tls.certificate", True)
    key.chmod(0o644)
    assert "chmod 640" in only(file, tls(certificate, key)).message
    damaged = file.with_name("damaged.pem")
    damaged.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    key.chmod(0o600)
    assert "damaged" in findings(file, tls(damaged, key))[0].message


def test_clients_that_name_what_there_is_not(file: Path) -> None:
    authority = Authority()
    authority_file = file.with_name("ca.pem")
    authority_file.write_bytes(authority.certificate)
    more = f"""client_ca = '{authority_file}'
listen_mutual = 'localhost:2'
[tls.clients.robot]
role = 'submitter'
connections = ['crn']
[tls.clients.other]
role = 'submitter'
[connections.crm]
url = 'sqlite:////x'
"""
    found = findings(file, tls(*written(authority.issue("localhost"), file.parent), more))
    assert [(finding.severity, finding.place.line) for finding in found] == [
        (Severity.WARNING, 9),
        (Severity.WARNING, 10),
    ]
    assert "did you mean crm?" in found[0].message


# Roots


def roots(folder: Path, **paths: str) -> str:
    lines = [f"{name} = '{folder / path}'" for name, path in paths.items()]
    return "\n".join([f"state_dir = '{folder}/var/state'", "[roots]", *lines])


@pytest.mark.parametrize("path", ["var/state", "var/state/uploads", "var", "link"])
def test_the_state_is_never_reachable_by_a_root(file: Path, path: str) -> None:
    (file.parent / "var/state/uploads").mkdir(parents=True)
    (file.parent / "link").symlink_to(file.parent / "var/state")
    finding = only(file, roots(file.parent, a=path))
    assert (finding.severity, finding.key, finding.place.line) == (Severity.ERROR, "roots.a", 3)
    assert "state_dir" in finding.message


def test_roots_that_overlap_are_said_once(file: Path) -> None:
    (file.parent / "srv/inner").mkdir(parents=True)
    finding = only(file, roots(file.parent, a="srv", b="srv/inner"))
    assert (finding.severity, finding.key, finding.message.startswith("the root b lies")) == (
        Severity.WARNING,
        "roots.a",
        True,
    )
    assert only(file, roots(file.parent, a="srv", b="srv")).key == "roots.a"
    (file.parent / "srv2").mkdir()
    assert findings(file, roots(file.parent, a="srv", b="srv2")) == ()


def test_the_whole_machine_is_a_root_only_by_default_without_a_warning(file: Path) -> None:
    finding = only(file, roots(file.parent, a="/"))
    assert (finding.severity, finding.key) == (Severity.WARNING, "roots.a")
    assert examine(None, user=True)[1] == ()


@pytest.mark.parametrize("path", ["//", "/etc/..", "link"])
def test_the_whole_machine_by_another_name(file: Path, path: str) -> None:
    (file.parent / "link").symlink_to("/")
    assert "the whole machine" in only(file, roots(file.parent, a=path)).message


def test_variables_that_look_like_ours(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LADINGD_CRM_PASSWORD", SECRET)
    crm = "[connections.crm]\nurl = 'postgresql://h/d'\npassword_env = 'LADINGD_CRM_PASSWORD'"
    assert findings(file, crm) == ()
    monkeypatch.setenv("LADINGD_SLOTS__X", "3")
    assert only(file, crm).place.variable == "LADINGD_SLOTS__X"


def test_roots_that_are_not_there_or_are_none(file: Path) -> None:
    assert only(file, roots(file.parent, a="none")).severity is Severity.WARNING
    file.with_name("plain").write_text("")
    finding = only(file, roots(file.parent, a="plain"))
    assert (finding.severity, "not a directory" in finding.message) == (Severity.ERROR, True)


def test_a_root_that_does_not_answer_holds_nobody_up(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = threading.Event()
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    monkeypatch.setattr(module, "_look", lambda _path: gone.wait(PATIENCE))
    try:
        assert "does not answer" in only(file, roots(file.parent, a="srv")).message
    finally:
        gone.set()


def test_a_root_that_may_not_be_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.with_name("closed").mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)  # Root, who may run the tests, reads everything.
    assert "may not read" in only(file, roots(file.parent, a="closed")).message


# The command


def test_a_file_that_cannot_be_seen(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.stat", refuse)  # Root can see everything.
    assert not missing(file)


def ladingd(*arguments: str | Path, environment: Sequence[tuple[str, str]] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ladingd", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
        env={**os.environ, **dict(environment)},
    )


def test_the_command_exits_with_2_for_errors_alone(file: Path) -> None:
    file.write_text("slots = 2")
    done = ladingd("config", "check", file)
    assert (done.returncode, done.stdout) == (0, f"{file}: all is well\n")
    file.write_text(roots(file.parent, a="none"))
    done = ladingd("config", "check", file)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"{file}: 1 warning")
    file.write_text("slots = 0\nslotz = 1\n" + roots(file.parent, a="none"))
    done = ladingd("--config", file, "config", "check", "--output", "json")
    assert done.returncode == 2
    answer = json.loads(done.stdout)
    assert [(one["severity"], one["key"], one["line"]) for one in answer["findings"]] == [
        ("error", "slots", 1),
        ("error", "slotz", 2),
    ]


def test_the_daemon_refuses_with_the_same_words(file: Path) -> None:
    file.write_text("slotz = 1\nworkers = 0\n")
    said = ladingd("config", "check", file).stdout.splitlines()[:-1]
    refused = ladingd("--config", file)
    assert refused.returncode == 2
    assert [line.strip() for line in refused.stderr.splitlines()[1:]] == said
    file.write_text(connection("password_env = 'NO_SUCH'") + f"\n[roots]\na = '{file.parent}'\n")
    refused = ladingd("--config", file, environment=[("LADINGD_STATE_DIR", str(file.parent / "state"))])
    assert refused.returncode == 2
    assert "NO_SUCH" in refused.stderr
    assert not (file.parent / "state").exists(), "nothing was made"


def test_connections_are_tried_where_that_is_asked_for(file: Path, postgres: str) -> None:
    file.write_text(
        f"""[connections.good]
url = "{postgres}"
[connections.new]
url = "sqlite:///{file.parent}/new.db"
[connections.away]
url = "postgresql://127.0.0.1:1/x"
[connections.nowhere]
url = "sqlite:///{file.parent}/none/x.db"
"""
    )
    assert ladingd("config", "check", file).returncode == 0
    done = ladingd("config", "check", file, "--connect", "--output", "json")
    assert done.returncode == 2, done.stderr
    found = json.loads(done.stdout)["findings"]
    assert [(one["key"], one["line"]) for one in found] == [("connections.away.url", 6), ("connections.nowhere.url", 8)]
    assert not (file.parent / "new.db").exists(), "nothing was made"


def test_init_never_overwrites_unasked(file: Path) -> None:
    printed = ladingd("config", "init")
    assert printed.returncode == 0
    assert ladingd("config", "init", "--output", file).returncode == 0
    assert file.read_text() == printed.stdout
    assert ladingd("config", "check", file).returncode == 0
    file.write_text("slots = 7")
    refused = ladingd("config", "init", "--output", file)
    assert (refused.returncode, file.read_text()) == (1, "slots = 7")
    assert "--force" in refused.stderr
    assert ladingd("config", "init", "--output", file, "--force", "--user").returncode == 0
    assert "idle_exit = 900.0" in file.read_text()
