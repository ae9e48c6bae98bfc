"""The report fits a terminal and ends with a summary."""

from __future__ import annotations

from ladingd.commands.doctor.report import WIDTH, conclusion, facts, fail, healthy, ok, page, warn

LONG = "a long sentence of many words, " * 12
CHAPTERS = [
    ("First", [ok("short", "well"), warn("a-very-long-name-of-something", LONG, LONG)]),
    ("Second", [fail("broken", "/a/path/without/any/place/to/break/it" * 4, "put it right")]),
]


def test_it_fits_80_columns_and_loses_nothing() -> None:
    lines = list(page(CHAPTERS, colours=False))
    assert max(map(len, lines)) <= WIDTH
    words = " ".join(" ".join(lines).split())
    assert words.count("a long sentence of many words,") == 24
    assert "→ put it right" in words
    assert lines[1] == "  OK    short          well"


def test_colours_are_only_about_the_verdict() -> None:
    coloured = "\n".join(page(CHAPTERS, colours=True))
    assert coloured.count("\033[") == 6
    assert "\033[1;31mFAIL\033[0m  broken" in coloured


def test_only_a_failure_is_none() -> None:
    assert not healthy(CHAPTERS)
    assert healthy(CHAPTERS[:1])
    assert conclusion([line for _, lines in CHAPTERS for line in lines]) == "1 failure and 1 warning"
    assert conclusion([warn("a", "b"), warn("a", "b")]) == "2 warnings"
    assert conclusion([ok("a", "b")]) == "all is well"
    assert facts(CHAPTERS)["chapters"][0]["lines"][0] == {
        "verdict": "OK",
        "name": "short",
        "text": "well",
        "advice": "",
    }
