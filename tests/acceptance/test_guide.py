"""Runs the examples of the guide. A page shows its input files, its commands and their output."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.test_command_line import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDE = Path(__file__).parents[2] / "client" / "guide"
CONTENTS = GUIDE / "README.md"
PAGES = sorted(set(GUIDE.glob("*.md")) - {CONTENTS})
_BLOCK = re.compile(r"^```(?P<kind>\w+)(?: (?P<name>\S+))?\n(?P<content>.*?)^```$", re.MULTILINE | re.DOTALL)
_PROGRESS = re.compile(r"^jobs/\w+  .*\n", re.MULTILINE)
"""Which of these lines a command prints depends on the time."""
_LINK = re.compile(r"\]\((?P<path>[^)#:]+)[^)]*\)")


@dataclass(frozen=True, kw_only=True)
class Example:
    """The lines of a shell block, and the output below them if the page shows it."""

    commands: str
    output: str | None


def examples(page: str, folder: Path) -> Iterator[Example]:
    """The examples in their order. Files that the page shows are made on the way."""
    blocks = list(_BLOCK.finditer(page))
    assert page.count("```") == 2 * len(blocks), "a block that the test does not understand"
    for number, block in enumerate(blocks):
        following = blocks[number + 1] if number + 1 < len(blocks) else None
        if block["name"] is not None:
            (folder / block["name"]).write_text(block["content"], encoding="utf-8")
        elif block["kind"] == "sh":
            shown = following is not None and following["kind"] == "text" and following["name"] is None
            yield Example(commands=block["content"], output=following["content"] if following and shown else None)
        else:
            assert block["kind"] == "text", f"a block that nothing runs: {block[0]}"
            assert blocks[number - 1]["kind"] == "sh", f"output without a command: {block[0]}"


def is_shown(output: str, shown: str) -> bool:
    """Whether the output is the one that a page shows. ``…`` stands for any text; a line ``…``, for any lines."""
    pattern = "".join(
        r"(?:[^\n]*\n)*?" if line == "…" else r"[^\n]*?".join(map(re.escape, line.split("…"))) + r"\n"
        for line in shown.splitlines()
    )
    return re.fullmatch(pattern, output) is not None


@pytest.fixture
def home() -> Iterator[Home]:
    """A user's home with a daemon of its own, so that pages may use the same tables, and the commands as users type
    them."""
    with tempfile.TemporaryDirectory(prefix="lading-") as folder:
        home = Home(Path(folder))
        command = home.folder / "bin" / "lading"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m lading_client "$@"\n')
        command.chmod(0o700)
        home.environment["PATH"] = f"{command.parent}:{home.environment['PATH']}"
        home.environment["COLUMNS"] = "100"
        yield home
        home.lading("daemon", "stop")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page(home: Home, tmp_path: Path, page: Path) -> None:
    shown = 0
    for example in examples(page.read_text(encoding="utf-8"), tmp_path):
        done = subprocess.run(
            ["bash", "-c", f"exec 2>&1\n{example.commands}"],
            check=False,
            cwd=tmp_path,
            env=home.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            timeout=60,
        )
        output = _PROGRESS.sub("", done.stdout)
        if example.output is None:
            assert (done.returncode, output) == (0, ""), example.commands
        else:
            shown += 1
            assert is_shown(output, example.output), f"{example.commands}{output}"
    assert shown, "the page shows no output"


@pytest.mark.parametrize("page", [*PAGES, CONTENTS, GUIDE.parents[1] / "README.md"])
def test_links_lead_to_files(page: Path) -> None:
    links = [link["path"] for link in _LINK.finditer(page.read_text(encoding="utf-8"))]
    assert links, f"{page.name} links to no other page"
    for path in links:
        assert (page.parent / path).exists(), path


def test_the_contents_name_every_page() -> None:
    links = _LINK.findall(CONTENTS.read_text(encoding="utf-8"))
    assert sorted(links) == [page.name for page in PAGES]


def test_output_is_compared_line_by_line() -> None:
    assert is_shown("a\nb 1\nc\n", "a\nb …\n…\n")
    assert is_shown("a\n", "a\n")
    assert not is_shown("a\nb\n", "a\n")
    assert not is_shown("a\nb\nc\n", "a\n…c\n")
