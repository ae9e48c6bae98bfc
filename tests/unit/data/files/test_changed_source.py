"""A continued job checks that the read and written bytes are unchanged."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.core.errors import DestinationRefused, InvalidSpec, SourceChanged
from ladingd.data.files import fingerprint
from ladingd.data.formats.csv import chunker as cut
from ladingd.data.formats.csv.chunker import RECORD_TOO_LONG, UNTERMINATED_QUOTE

if TYPE_CHECKING:
    from collections.abc import Callable

    from ladingd.core.plan import Chunk, Fingerprint, ImportPlan
    from tests.unit.data.conftest import Yard

RECORDS = 30_000
TEXT = "id,amount\n" + "".join(f"{n:06},{n % 90 + 10}.{n % 9}\n" for n in range(RECORDS))


def middle_of(text: str, what: str) -> int:
    """The offset of a piece of text between the head and the tail."""
    return text.index(what, 100_000)


def plus_and_minus_one(text: str) -> str:
    place = middle_of(text, "1,11.")
    other = next(at for at in range(place + 8, place + 8_000, 8) if text[at] in "23456789" and text[at - 1].isdigit())
    digits = list(text)
    digits[place] = str(int(digits[place]) + 1)
    digits[other] = str(int(digits[other]) - 1)
    assert (place - other) % 8 == 0
    return "".join(digits)


def exchanged(text: str, first: int, second: int, size: int = 8) -> str:
    """The text with two pieces exchanged, whose distance is a multiple of eight."""
    one, two = text[first : first + size], text[second : second + size]
    assert (first - second) % size == 0
    assert one != two
    return text[:first] + two + text[first + size : second] + one + text[second + size :]


def words_within_a_chunk(text: str) -> str:
    place = middle_of(text, "000,")
    return exchanged(text, place, place + 8 * 101)


def words_across_chunks(text: str) -> str:
    return exchanged(text, middle_of(text, "000,"), middle_of(text, "000,") + 8 * 12_347)


def one_bit(text: str) -> str:
    place = middle_of(text, "5,")
    return text[:place] + "4" + text[place + 1 :]


@pytest.mark.parametrize("change", [plus_and_minus_one, words_within_a_chunk, words_across_chunks, one_bit])
@pytest.mark.parametrize("when", ["set back", "replaced"])
def test_a_change_of_committed_bytes_is_noticed(yard: Yard, change: Callable[[str], str], when: str) -> None:
    plan = yard.plan_import(TEXT, chunk_bytes=40_000)
    chunks = begin(yard, plan)
    path = yard.directory / "in.csv"
    before, text = path.stat(), change(TEXT)
    assert len(text) == len(TEXT)
    assert text != TEXT
    if when == "replaced":
        (yard.directory / "other.csv").write_text(text)
        os.utime(yard.directory / "other.csv", ns=(before.st_atime_ns, before.st_mtime_ns))
        (yard.directory / "other.csv").replace(path)
    else:
        path.write_text(text)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    yard.transfer.begin("job", 2, plan)
    for look in (
        lambda: yard.transfer.check_source("job", plan, chunks),
        lambda: yard.transfer.finish("job", plan, chunks),
    ):
        with pytest.raises(SourceChanged, match="have changed since they were read"):
            look()


def test_a_worker_notices_that_its_own_chunk_has_changed(yard: Yard) -> None:
    plan = yard.plan_import(TEXT, chunk_bytes=40_000)
    chunks = begin(yard, plan)
    (yard.directory / "in.csv").write_text(plus_and_minus_one(TEXT))
    changed = 0
    for chunk in chunks:
        try:
            yard.transfer.process("job", 1, plan, chunk)
        except SourceChanged:
            changed += 1
    assert changed == 1


@pytest.mark.parametrize("code", [UNTERMINATED_QUOTE, RECORD_TOO_LONG])
def test_a_change_of_a_refused_record_is_noticed(yard: Yard, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut.cut, "__kwdefaults__", {"record_limit": 90_000})
    filler = "".join(f"{n},some words\n" for n in range(12_000))
    odd = "x" * 99_000 + ",long\n" if code == RECORD_TOO_LONG else '7,"' + "y" * 99_000 + "\n"
    text = "id,words\n" + filler + odd + filler
    plan = yard.plan_import(text, chunk_bytes=80_000, types={"id": "text", "words": "text"})
    chunks = begin(yard, plan)
    (refused,) = [chunk for chunk in chunks if chunk.refused]
    assert refused.refused == code
    yard.transfer.process("job", 1, plan, refused)
    yard.transfer.finish("job", plan, chunks)
    (yard.directory / "in.csv").write_text(text.replace("xxxx", "xxzx", 1).replace("yyyy", "yyzy", 1))
    for look in (
        lambda: yard.transfer.check_source("job", plan, chunks),
        lambda: yard.transfer.finish("job", plan, chunks),
        lambda: yard.transfer.begin("other", 1, plan) or yard.transfer.process("other", 1, plan, refused),
    ):
        with pytest.raises(SourceChanged, match="have changed since they were read"):
            look()


@pytest.mark.parametrize("before", ["", "\ufeff", "\n" * 300_000])
def test_what_stands_before_the_records_is_noticed(yard: Yard, before: str) -> None:
    names = [f"name_of_column_{n:05}" for n in range(1_900)]
    names[-1], names[-2] = "aa", "bb"
    row = ",".join(["1"] * len(names)) + "\n"
    text = before + ",".join(names) + "\n" + row * 60
    plan = yard.plan_import(text)
    yard.transfer.begin("job", 1, plan)
    (yard.directory / "in.csv").write_text(text.replace("bb,aa", "aa,bb"))
    with pytest.raises(SourceChanged, match="is not the file the job was planned with"):
        yard.transfer.begin("job", 2, plan)


def test_a_file_that_is_written_while_it_is_planned_is_refused(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    take = fingerprint.take

    def exchange(*args: Any) -> Fingerprint:
        taken = take(*args)
        yard.write("b,a\n1,2\n")
        return taken

    monkeypatch.setattr(fingerprint, "take", exchange)
    with pytest.raises(InvalidSpec, match=r"in\.csv is being written: create the job when it is complete"):
        yard.plan_import("a,b\n1,2\n")


def test_digests_of_earlier_versions_prove_nothing(yard: Yard) -> None:
    """Those digests were sums. A job continues after them only if nobody can have written the file."""
    plan = yard.plan_import(TEXT, chunk_bytes=40_000)
    old = replace(plan, files=(replace(plan.file, fingerprint=replace(plan.file.fingerprint, state="")),))
    chunks = [replace(chunk, digest="0123456789abcdef") for chunk in begin(yard, old)]
    yard.transfer.process("job", 1, old, chunks[0])
    yard.transfer.check_source("job", old, chunks)
    yard.transfer.begin("job", 2, old)
    os.utime(yard.directory / "in.csv")
    with pytest.raises(SourceChanged, match="kept no digest that proves that the bytes are the same"):
        yard.transfer.check_source("job", old, chunks)


def test_a_change_of_an_unfinished_export_is_noticed(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    yard.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 90) INSERT INTO t SELECT i, i FROM n"
    )
    plan = yard.plan_export(chunk_keys=10)
    yard.transfer.begin("job", 1, plan)
    chunks = yard.chunks(plan)
    for chunk in (chunks[0], chunks[1], chunks[3]):
        yard.transfer.process("job", 1, plan, chunk)
    draft, part = yard.directory / ".out.csv.job", yard.work_dir.part("job", 3)
    assert part.exists()
    yard.transfer.begin("job", 2, plan)
    for path, old, new in ((draft, b"12,12", b"13,11"), (part, b"31,31", b"31,32")):
        kept = path.read_bytes()
        path.write_bytes(kept.replace(old, new))
        assert path.read_bytes() != kept
        with pytest.raises(DestinationRefused, match="was changed by somebody else: make a new job"):
            yard.transfer.begin("job", 2, plan)
        path.write_bytes(kept)
    entry = part.with_suffix(".json")
    facts = json.loads(entry.read_text())
    entry.write_text(json.dumps({name: fact for name, fact in facts.items() if name != "digest"}))
    with pytest.raises(DestinationRefused, match="begun by an earlier version of Lading, which kept no digests"):
        yard.transfer.begin("job", 2, plan)
    entry.write_text(json.dumps(facts))
    part.unlink()
    with pytest.raises(DestinationRefused, match="was changed by somebody else"):
        yard.transfer.begin("job", 2, plan)


def test_an_export_that_was_paused_goes_on_where_nothing_has_changed(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    yard.sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 50) INSERT INTO t SELECT i FROM n")
    plan = yard.plan_export(chunk_keys=10)
    yard.transfer.begin("job", 1, plan)
    chunks = yard.chunks(plan)
    for attempt, ordinals in enumerate([(1, 3), (0, 2, 4)], start=1):
        yard.transfer.begin("job", attempt, plan)
        for ordinal in ordinals:
            yard.transfer.process("job", attempt, plan, chunks[ordinal])
    yard.transfer.begin("job", 3, plan)
    yard.transfer.finish("job", plan, chunks)
    assert (yard.directory / "out.csv").read_text() == "a\n" + "".join(f"{n}\n" for n in range(1, 51))


def begin(yard: Yard, plan: ImportPlan) -> list[Chunk]:
    yard.transfer.begin("job", 1, plan)
    return yard.chunks(plan)
