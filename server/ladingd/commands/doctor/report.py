"""The page of the doctor: one line for each check, with advice if something is wrong."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ladingd.core.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH = 80
_NAME_WIDTH = 14
_COLOURS = {"OK": "\033[32m", "WARN": "\033[33m", "FAIL": "\033[1;31m"}
_PLAIN = "\033[0m"


class Verdict(StrEnum):
    """The result of a check. Only FAIL makes the exit status nonzero."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """The outcome of one check."""

    verdict: Verdict
    name: str
    text: str
    advice: str = ""
    """What to do; empty if there is nothing to do."""


def ok(name: str, text: str) -> Line:
    """The check found no problem."""
    return Line(verdict=Verdict.OK, name=name, text=text)


def warn(name: str, text: str, advice: str = "") -> Line:
    """The daemon works, but somebody should look into this."""
    return Line(verdict=Verdict.WARN, name=name, text=text, advice=advice)


def fail(name: str, text: str, advice: str) -> Line:
    """Something does not work."""
    return Line(verdict=Verdict.FAIL, name=name, text=text, advice=advice)


Chapter = tuple[str, "Sequence[Line]"]


def page(chapters: Sequence[Chapter], *, colours: bool) -> Iterator[str]:
    """The lines of the page, for a terminal of 80 columns."""
    for title, lines in chapters:
        yield title
        for line in lines:
            yield from _shown(line, colours=colours)
        yield ""
    yield conclusion([line for _, lines in chapters for line in lines])


def conclusion(lines: Sequence[Line]) -> str:
    """The last line."""
    counts = {verdict: len(list(group)) for verdict, group in groupby(sorted(line.verdict for line in lines))}
    said = [
        f"{number} {what}{'' if number == 1 else 's'}"
        for verdict, what in ((Verdict.FAIL, "failure"), (Verdict.WARN, "warning"))
        if (number := counts.get(verdict, 0))
    ]
    return " and ".join(said) or "all is well"


def _shown(line: Line, *, colours: bool) -> Iterator[str]:
    verdict = f"{line.verdict:<4}"
    if colours:
        verdict = f"{_COLOURS[line.verdict]}{verdict}{_PLAIN}"
    indent = " " * (2 + 4 + 2 + _NAME_WIDTH + 1)
    name = printable(line.name)
    name = name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…"
    first, *rest = _wrapped(line.text)
    yield f"  {verdict}  {name:<{_NAME_WIDTH}} {first}"
    yield from (indent + part for part in rest)
    if line.advice:
        first, *rest = _wrapped(f"→ {line.advice}")
        yield indent + first
        yield from (f"{indent}  {part}" for part in rest)


def _wrapped(text: str) -> Sequence[str]:
    width = WIDTH - (2 + 4 + 2 + _NAME_WIDTH + 1) - 2
    return textwrap.wrap(printable(text), width, break_long_words=True, break_on_hyphens=False) or [""]


def facts(chapters: Sequence[Chapter]) -> dict[str, Any]:
    """The page as data for programs."""
    return {
        "chapters": [{"title": title, "lines": [asdict(line) for line in lines]} for title, lines in chapters],
        "healthy": healthy(chapters),
    }


def healthy(chapters: Sequence[Chapter]) -> bool:
    """Whether no check failed."""
    return all(line.verdict is not Verdict.FAIL for _, lines in chapters for line in lines)
