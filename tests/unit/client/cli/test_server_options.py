"""Server options stand before and after the command name, and the last one counts."""

from __future__ import annotations

from dataclasses import asdict, fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
import typer

from lading_client.cli.app import app
from lading_client.cli.arguments.options import Format
from lading_client.cli.arguments.server_options import ServerOptions
from lading_client.cli.session import Session
from tests.unit.client.conftest import Lading, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.client.fake_service import FakeService

VALUES = {
    "server": "unix:/a.sock",
    "token_file": "token.txt",
    "ca": "ca.pem",
    "certificate": "client.pem",
    "certificate_key": "client.key",
    "server_name": "daemon.example.org",
    "output": "json",
}
OTHERS = {name: f"{value}.other" for name, value in VALUES.items()} | {"output": "text"}


def paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command."""
    if not hasattr(command, "commands"):
        yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from paths(inner, (*path, name))


PROGRAM: Any = typer.main.get_command(app)
COMMANDS = list(paths(PROGRAM))


class Captured(Exception):
    """Raised when the command asks for its session."""

    def __init__(self, options: ServerOptions | None) -> None:
        self.options = options
        super().__init__()


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands do no work, but report the options that they got."""

    def of(_cls: type[Session], context: typer.Context) -> Session:
        raise Captured(context.find_object(ServerOptions))

    monkeypatch.setattr(Session, "of", classmethod(of))


def typed(options: dict[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]


def required(command: Any) -> list[str]:
    """Values for the required parameters of a command."""
    words = []
    for parameter in command.params:
        if parameter.required:
            words += ["x"] if parameter.param_type_name == "argument" else [parameter.opts[0], "x"]
    return words


def options_of(path: tuple[str, ...], before: dict[str, str], after: dict[str, str]) -> dict[str, str | None]:
    """The options that a command gets from before and after its name."""
    command = PROGRAM
    for word in path:
        command = command.commands[word]
    with pytest.raises(Captured) as caught:
        PROGRAM.main([*typed(before), *path, *required(command), *typed(after)], standalone_mode=False)
    assert caught.value.options is not None
    return asdict(caught.value.options)


def test_there_are_commands() -> None:
    assert {("ls",), ("import",), ("daemon", "status")} <= set(COMMANDS)
    assert {field.name for field in fields(ServerOptions)} == set(VALUES)


@pytest.mark.usefixtures("captured")
@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_takes_every_option_on_both_sides(path: tuple[str, ...]) -> None:
    assert options_of(path, VALUES, {}) == VALUES
    assert options_of(path, {}, VALUES) == VALUES
    assert options_of(path, OTHERS, VALUES) == VALUES


@pytest.mark.usefixtures("captured")
@pytest.mark.parametrize("name", VALUES)
def test_an_option_after_the_name_replaces_that_option_only(name: str) -> None:
    assert options_of(("ls",), OTHERS, {name: VALUES[name]}) == OTHERS | {name: VALUES[name]}
    assert options_of(("ls",), {name: VALUES[name]}, {}) == dict.fromkeys(VALUES) | {name: VALUES[name]}


@pytest.mark.usefixtures("captured")
def test_options_may_stand_behind_the_name_of_a_group() -> None:
    with pytest.raises(Captured) as caught:
        PROGRAM.main(["--output", "text", "daemon", "--output", "json", "status"], standalone_mode=False)
    assert caught.value.options == ServerOptions(output=Format.JSON)


@pytest.mark.parametrize("after", [False, True])
async def test_options_count_more_than_the_environment(
    service: FakeService, lading: Lading, socket: Path, tmp_path: Path, after: bool
) -> None:
    (tmp_path / "token.txt").write_text("s3cret\n")
    options = ("--server", f"unix:{socket}", "--token-file", "token.txt", "--output", "json")
    environment = clean_environment(tmp_path) | {"LADING_SERVER": "unix:/nowhere.sock", "LADING_TOKEN": "another"}
    result = await lading(*(("ls", *options) if after else (*options, "ls")), environment=environment)
    assert (result.status, result.err) == (0, "")
    assert service.metadata[-1]["authorization"] == "Bearer s3cret"


async def test_the_version_has_the_format_that_is_asked_for(lading: Lading) -> None:
    installed = version("lading")
    assert (await lading("--version")).out == f"lading {installed}\n"
    for arguments in (("--output", "json", "--version"), ("--version", "--output", "json")):
        assert (await lading(*arguments)).json == {"version": installed}


async def test_options_alone_are_no_command(lading: Lading) -> None:
    result = await lading("--output", "json")
    assert (result.status, result.out) == (2, "")
    assert "Missing command" in result.err


async def test_the_help_of_a_command_names_every_option_and_explains_two(lading: Lading) -> None:
    out = (await lading("import", "-h")).out
    explained = [line.split()[0] for line in out.splitlines() if line.startswith("  --")]
    assert [name for name in ("--server", "--token-file", "--ca", "--output") if name in explained] == [
        "--server",
        "--output",
    ]
    words = out.replace(",", " ").replace(".", " ").split()
    assert all(f"--{name.replace('_', '-')}" in words for name in VALUES)
