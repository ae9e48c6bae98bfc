"""Texts in all encodings arrive as they are, by detection or by option, and what does not fit costs its record only."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import CsvFormat
from ladingd.data.files.encoding import converted, find, keeps_ascii, misfit, named, readable, title, to_utf8
from tests.unit.data.imports.test_import import rejects_of

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard

GERMAN = [("Jörg", "Malmö"), ("Zoë", "Köln"), ("Müller", "Straße"), ("Günther", "Weißenfels"), ("Anna", "Ulm")]
FRENCH = [("Hélène", "Orléans"), ("François", "Besançon"), ("Noël", "12 €"), ("Thérèse", "Nîmes")]
POLISH = [("Zuzanna", "Łódź"), ("Stanisław", "Gdańsk"), ("Żaneta", "Poznań"), ("Michał", "Kraków")]
RUSSIAN = [("Иван", "Москва"), ("Мария", "Санкт-Петербург"), ("Ольга", "Новосибирск"), ("Пётр", "Казань")]
GREEK = [("Γιώργος", "Αθήνα"), ("Ελένη", "Θεσσαλονίκη"), ("Νίκος", "Πάτρα")]
TURKISH = [("Ayşe", "İstanbul"), ("Çağlar", "Muğla"), ("Gül", "Eskişehir")]
HEBREW = [("דוד", "ירושלים"), ("שרה", "חיפה")]
JAPANESE = [("田中太郎", "東京"), ("鈴木花子", "大阪"), ("佐藤一郎", "名古屋")]
CHINESE = [("王小明", "北京"), ("李华", "上海"), ("张伟", "广州")]
TAIWANESE = [("王小明", "臺北"), ("李華", "高雄"), ("陳美玲", "臺中")]

WIDE = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8", "utf-8-sig"]


def table(rows: list[tuple[str, str]]) -> str:
    return "name,city\n" + "".join(f"{name},{city}\n" for name, city in rows)


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("rows", [GERMAN, POLISH, RUSSIAN, JAPANESE, [("\U0001f6a2", "\U00010348"), ("a", "b")]])
def test_unicode_is_detected(yard: Yard, encoding: str, rows: list[tuple[str, str]]) -> None:
    plan = yard.plan_import(table(rows).encode(encoding))
    assert yard.run(plan) == Counts(read=len(rows), inserted=len(rows))
    assert yard.sql("SELECT name, city FROM t") == rows


@pytest.mark.parametrize("place", range(10, 18))
def test_a_nul_byte_makes_no_text_utf_16(yard: Yard, place: int) -> None:
    data = bytearray(b"name,city\nAnn,Bonn\nBob,Bern\n")
    data[place] = 0
    plan = yard.plan_import(bytes(data))
    assert plan.file.content.encoding == "utf-8"
    assert yard.run(plan).read == 2


@pytest.mark.parametrize(
    ("encoding", "rows"),
    [
        ("latin-1", GERMAN),
        ("cp1252", FRENCH),
        ("cp1250", POLISH),
        ("cp1251", RUSSIAN),
        ("koi8-r", RUSSIAN),
        ("cp1253", GREEK),
        ("cp932", JAPANESE),
        ("gbk", CHINESE),
        ("big5", TAIWANESE),
    ],
)
def test_other_encodings_are_guessed_and_the_guess_is_shown(
    yard: Yard, encoding: str, rows: list[tuple[str, str]]
) -> None:
    plan = yard.plan_import(table(rows).encode(encoding))
    assert yard.run(plan) == Counts(read=len(rows), inserted=len(rows))
    assert yard.sql("SELECT name, city FROM t") == rows
    assert re.search(
        r"encoding: \S+ \(guessed: 0x[0-9A-F]{2} in line [12]\b.*; --encoding to override\)", plan.detected
    )


@pytest.mark.parametrize(
    ("encoding", "rows", "shown"),
    [
        ("ISO-8859-1", GERMAN, "ISO-8859-1 (Latin-1)"),
        ("latin1", GERMAN, "ISO-8859-1 (Latin-1)"),
        ("windows-1252", FRENCH, "Windows-1252"),
        ("iso-8859-15", FRENCH, "ISO-8859-15"),
        ("iso-8859-2", POLISH, "ISO-8859-2"),
        ("mac-roman", GERMAN, "Mac Roman"),
        ("cp850", GERMAN, "CP850"),
        ("windows-1254", TURKISH, "Windows-1254"),
        ("windows-1255", HEBREW, "Windows-1255"),
        ("iso-8859-5", RUSSIAN, "ISO-8859-5"),
        ("koi8-r", RUSSIAN, "KOI8-R"),
        ("Shift_JIS", JAPANESE, "Shift-JIS"),
        ("gbk", CHINESE, "GBK"),
        ("gb18030", CHINESE, "GB18030"),
        ("big5", TAIWANESE, "Big5"),
        ("euc-jp", JAPANESE, "EUC-JP"),
        ("utf-16-be", RUSSIAN, "UTF-16BE"),
        ("cp500", GERMAN, "CP500"),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [30, 8 << 20])
def test_an_encoding_that_is_named_is_used(
    yard: Yard, encoding: str, rows: list[tuple[str, str]], shown: str, chunk_bytes: int
) -> None:
    plan = yard.plan_import(table(rows).encode(encoding), encoding=encoding, chunk_bytes=chunk_bytes)
    assert f"encoding: {shown};" in plan.detected
    assert yard.run(plan) == Counts(read=len(rows), inserted=len(rows))
    assert yard.sql("SELECT name, city FROM t") == rows


@pytest.mark.parametrize(("name", "order"), [("utf-16", "utf-16-be"), ("utf-16", "utf-16-le"), ("utf-32", "utf-32-be")])
@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_the_byte_order_of_a_named_encoding_is_detected(yard: Yard, name: str, order: str, mark: str) -> None:
    plan = yard.plan_import((mark + table(GERMAN)).encode(order), encoding=name)
    assert plan.file.content.encoding == order
    yard.run(plan)
    assert yard.sql("SELECT name, city FROM t") == GERMAN


@pytest.mark.parametrize(
    ("encoding", "rows", "bad"),
    [
        ("cp1252", GERMAN, b"\x81\x8d"),
        ("cp1251", RUSSIAN, b"\x98"),
        ("cp932", JAPANESE, b"\x81 "),
        ("gbk", CHINESE, b"\xff\xff"),
        ("big5", TAIWANESE, b"\xff\xff"),
    ],
)
def test_bytes_that_do_not_fit_cost_their_record_and_not_the_encoding(
    yard: Yard, encoding: str, rows: list[tuple[str, str]], bad: bytes
) -> None:
    usual = (rows * 100)[:100]
    plan = yard.plan_import(table(usual).encode(encoding) + b"x," + bad + b"\n")
    assert "not all of it fits, and such records are rejected" in plan.detected
    assert yard.run(plan) == Counts(read=101, inserted=100, rejected=1, errors=1)
    assert yard.sql("SELECT name, city FROM t") == usual


@pytest.mark.parametrize("name", ["utf-17", "", "base64", "idna", "zlib"])
def test_an_unknown_encoding_is_refused(yard: Yard, name: str) -> None:
    with pytest.raises(InvalidSpec, match="there is no encoding") as caught:
        named(name) if not name else yard.plan_import("a\n1\n", encoding=name)
    assert caught.value.field == "encoding"


@pytest.mark.parametrize(
    ("encoding", "bad", "code"),
    [
        ("utf-8", b"\xff", "is not UTF-8: its byte 4 is 0xFF"),
        ("cp1252", b"\x81", "has the byte 0x81 as character 4, which does not exist in the file's encoding"),
        ("iso8859-7", b"\xae", "has the byte 0xAE as character 4"),
        ("shift_jis", b"\xfd", "has the byte 0xFD as character 4"),
        ("utf-16-le", b"\x00\xd8", "has the byte 0x00 as character 4"),
    ],
)
def test_a_byte_that_does_not_fit_rejects_its_record_only(yard: Yard, encoding: str, bad: bytes, code: str) -> None:
    lines = ["id,name\n", "1,first\n", "2,zwo", "\n", "3,third\n"]
    parts = [line.encode(encoding) for line in lines]
    plan = yard.plan_import(parts[0] + parts[1] + parts[2] + bad + parts[3] + parts[4], encoding=encoding)
    assert yard.run(plan) == Counts(read=3, inserted=2, rejected=1, errors=1)
    assert yard.sql("SELECT name FROM t ORDER BY id") == [("first",), ("third",)]
    yard.transfer.begin("job", 2, plan)  # The spool was removed with the end of the job.
    (reject,) = rejects_of(yard, plan)
    assert (reject.line, reject.code, reject.column) == (3, "NOT_UTF8", "name")
    assert reject.raw.startswith("2,zwo\ufffd")
    assert code in reject.message


def test_utf8_with_a_few_bad_bytes_stays_utf8(yard: Yard) -> None:
    good = table(GERMAN + POLISH).encode()
    plan = yard.plan_import(good + b"x,\xe4\n")
    assert yard.run(plan) == Counts(read=10, inserted=9, rejected=1, errors=1)
    assert "encoding: UTF-8 (but not all of it: 0xE4 in line 11" in plan.detected


def test_bytes_beyond_the_sample_decide(yard: Yard) -> None:
    plan = yard.plan_import("name,city\n" + "a,b\n" * 600_000 + table(GERMAN)[10:], encoding="")
    assert "encoding: UTF-8;" in plan.detected
    plan = yard.plan_import(b"name,city\n" + b"a,b\n" * 600_000 + table(GERMAN)[10:].encode("cp1252"), table="u")
    assert "encoding: Windows-1252 (guessed: 0xF6 in line 600,002" in plan.detected
    assert yard.run(plan).inserted == 600_005


def test_places_of_records_are_those_of_the_file(yard: Yard) -> None:
    text = "größe;id\nä;1\nö;x\n" + "ü;2\n" * 50
    plan = yard.plan_import(text.encode("latin-1"), encoding="latin-1", types={"id": "integer"}, chunk_bytes=7)
    assert (plan.file.start, plan.file.end) == (9, len(text))
    assert yard.run(plan) == Counts(read=52, inserted=51, rejected=1, errors=1)
    (reject,) = rejects_of(yard, plan)
    assert (reject.line, reject.record, reject.raw) == (3, 2, "ö;x")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_delimiter_beyond_ascii(yard: Yard, encoding: str) -> None:
    plan = yard.plan_import("a§§b\nä§§1\nö§§2\n".encode(encoding), encoding=encoding, csv=CsvFormat(delimiter="§§"))
    assert plan.file.content.spooled == (encoding == "latin-1")
    yard.run(plan)
    assert yard.sql("SELECT a, b FROM t") == [("ä", 1), ("ö", 2)]


def test_every_byte_of_every_single_byte_encoding() -> None:
    every = bytes(byte for byte in range(256) if byte not in b"\n\r")
    for number in [*range(1250, 1259), 437, 850, 866]:
        encoding = f"cp{number}"
        assert keeps_ascii(encoding), encoding
        data = to_utf8(every, encoding)
        back = data.decode(errors="surrogatepass") if b"\xed\xb2" in data else data.decode()
        assert len(back) == len(every)
        assert [char for char in back if not "\udc00" <= char <= "\udcff"] == list(every.decode(encoding, "ignore"))


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_characters_may_be_cut_anywhere_while_spooling(size: int) -> None:
    text = table(JAPANESE)
    for encoding in ("shift_jis", "euc_jp", "utf-16", "utf-32"):
        data = text.encode(encoding)
        blocks = [data[place : place + size] for place in range(0, len(data), size)]
        assert b"".join(converted(blocks, codecs.lookup(encoding).name)).decode() == text


def test_a_line_end_after_half_a_character_stays_a_line_end() -> None:
    data = b"".join(converted([b"\x82\xa0\x81\n\x82\xa2\n"], "shift_jis"))
    assert data.count(b"\n") == 2
    assert readable(data) == "あ\ufffd\nい\n"


def test_misfits_are_not_found_in_utf8() -> None:
    with pytest.raises(ValueError, match="are UTF-8"):
        misfit(b"abc")


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 99, b"PAR1\x15\0\x15\xff\xfe", b"a\0b\0c"])
def test_a_binary_file_is_left_to_others(data: bytes) -> None:
    found = find(data, [(0, data)])
    assert found is not None
    assert found.encoding == "utf-8"


def test_titles_are_names() -> None:
    for name in ("windows-1252", "iso-8859-15", "utf-16le", "koi8-r", "gbk", "big5", "shift_jis"):
        assert named(title(named(name)).replace(" (Latin-1)", "")) == named(name)


DECLARED = [
    ("ISO-8859-1", "latin-1", "ISO-8859-1 (Latin-1) (declared)"),
    ("iso-8859-15", "iso-8859-15", "ISO-8859-15 (declared)"),
    ("windows-1252", "cp1252", "Windows-1252 (declared)"),
    ("UTF-8", "utf-8", "UTF-8"),
    ("utf-16", "utf-16", "UTF-16LE (declared)"),
    ("UTF-16", "utf-16-le", "UTF-16LE (declared)"),
    ("utf-8", "utf-16", "UTF-16LE (byte order mark; the XML declaration says UTF-8, which the bytes contradict)"),
    ("UTF-16", "utf-8", "UTF-8 (the XML declaration says UTF-16, which the bytes contradict)"),
    ("ISO-8859-1", "utf-8", "UTF-8 (the XML declaration says ISO-8859-1 (Latin-1), which the bytes contradict)"),
    ("cp037", "utf-8", "UTF-8 (the XML declaration says CP037, which the bytes contradict)"),
    ("no such", "utf-8", "UTF-8"),
    ("nonsense", "utf-8", "UTF-8 (there is no encoding 'nonsense', which the XML declaration names)"),
]


@pytest.mark.parametrize(("declared", "encoding", "shown"), DECLARED)
def test_an_xml_declaration_is_believed_unless_the_bytes_contradict_it(
    declared: str, encoding: str, shown: str
) -> None:
    text = f'<?xml version="1.0" encoding="{declared}"?><a><b>é Jörg Müller</b></a>'.encode(encoding)
    assert str(find(text, [(0, text)])) == shown


@pytest.mark.parametrize(("declared", "found"), [("ISO-8859-1", "iso8859-1"), ("us-ascii", "utf-8"), ("big5", "big5")])
def test_a_declared_encoding_counts_even_if_nothing_shows_it(declared: str, found: str) -> None:
    text = f"<?xml version='1.0' encoding='{declared}'?><a/>".encode()
    finding = find(text, [(0, text)])
    assert finding is not None
    assert finding.encoding == found


def test_bytes_that_contradict_a_declaration_are_guessed() -> None:
    text = '<?xml version="1.0" encoding="UTF-8"?><a>é Jörg Müller Straße</a>'.encode("cp1252")
    found = str(find(text, [(0, text)]))
    assert found.startswith("Windows-1252 (guessed: 0xE9 in line 1")
    assert found.endswith("the XML declaration says UTF-8, which the bytes contradict)")
