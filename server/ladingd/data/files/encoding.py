"""Encodings of text: their names, conversion to UTF-8, and how the encoding of a file is found."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import UTF8

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

_TITLES = {
    "utf-8": "UTF-8",
    "utf-16-le": "UTF-16LE",
    "utf-16-be": "UTF-16BE",
    "utf-32-le": "UTF-32LE",
    "utf-32-be": "UTF-32BE",
    "iso8859-1": "ISO-8859-1 (Latin-1)",
    "mac-roman": "Mac Roman",
    "shift_jis": "Shift-JIS",
    "cp932": "Shift-JIS",
    "gbk": "GBK",
    "gb18030": "GB18030",
    "big5": "Big5",
    "euc_jp": "EUC-JP",
    "euc_kr": "EUC-KR",
    "koi8-r": "KOI8-R",
    "koi8-u": "KOI8-U",
}
"""How people write encodings, by the name of Python's codec. Others are spelled by a rule."""

_GUESSED = (
    "cp1252",
    "cp1250",
    "cp1251",
    "cp932",
    "gb18030",
    "big5",
    "euc_jp",
    "euc_kr",
    "koi8-r",
    "cp1253",
    "cp1254",
    "cp1257",
    "cp1255",
    "cp1256",
    "mac-roman",
    "cp850",
    "cp437",
)
"""What a file that is not UTF-8 may be. Of several that fit equally well, the first is taken."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks. UTF-32 comes first: its mark begins with that of UTF-16."""

_NOT_FOR_FILES = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined"})

_MISFIT = "lading.misfit"
_FIRST_MISFIT = 0xDC00
_MISFIT_MARK = re.compile(rb"\xed([\xb0-\xb3])([\x80-\xbf])")
"""A byte that does not fit its encoding, in converted text. No valid UTF-8 contains these bytes."""

USUAL = "cp1252"
"""The encoding of text that nothing tells, such as a single accent in a short file: the one of most such files."""

SAMPLE = 64 << 10
"""How many bytes of lines that are not ASCII are enough for a guess."""

_NULS = 20
"""In UTF-16 without a mark, at least one unit in this many has a zero byte: line ends, delimiters and digits have."""
_RARER = 3
"""So many times as often as the other byte of a unit is the high one zero."""
_PAIRS = 2
_WRITTEN = frozenset({*b"\t\n\r", *range(32, 127)})
"""At most one unit in so many is two characters of ASCII. In another text with a NUL byte, most are."""
_CONTROLS = 50
"""Text has less than one control character in this many."""
_UNFIT = 20
"""In an encoding that fits a text, at most one line in this many has bytes that do not fit."""
_WORSE = 0.1
"""By so much is an encoding worse if a line does not fit it."""
_ALIKE = 0.02
"""A guess is uncertain if another one is worse by no more than this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The encoding of a file, and how it was found; empty: there is nothing to explain."""

    encoding: str
    evidence: str = ""

    def __str__(self) -> str:
        return f"{title(self.encoding)} ({self.evidence})" if self.evidence else title(self.encoding)


def named(name: str) -> str:
    """The codec that a user's name of an encoding means. Raises InvalidSpec."""
    try:
        found = codecs.lookup(name).name
        text = found not in _NOT_FOR_FILES and "a".encode(found).decode(found) == "a"
    except (LookupError, ValueError):
        text = False
    if not text:
        raise InvalidSpec(
            "encoding",
            f"there is no encoding {name!r}; some that there are: utf-8, utf-16, windows-1252, iso-8859-15, mac-roman, "
            "shift_jis, gbk, big5, koi8-r",
        )
    return UTF8 if found == "utf-8-sig" else found


def title(encoding: str) -> str:
    """The name of an encoding for people."""
    if found := _TITLES.get(encoding):
        return found
    if match := re.fullmatch(r"cp(125\d)", encoding):
        return f"Windows-{match[1]}"
    if match := re.fullmatch(r"iso8859-(\d+)", encoding):
        return f"ISO-8859-{match[1]}"
    return encoding.upper()


@lru_cache(maxsize=64)
def keeps_ascii(encoding: str) -> bool:
    """Whether every byte is one character, and every ASCII byte stands for itself. Such text can be cut as it is."""
    if encoding == UTF8:
        return True
    every = bytes(range(256)).decode(encoding, "replace")
    return len(every) == 256 and every[:128] == bytes(range(128)).decode("ascii")


def to_utf8(data: bytes, encoding: str) -> bytes:
    """Text in an encoding that keeps ASCII, as UTF-8. A byte that does not fit becomes bytes that are not UTF-8."""
    if encoding == UTF8 or data.isascii():
        return data
    try:
        return data.decode(encoding).encode()
    except UnicodeDecodeError:
        return data.decode(encoding, _MISFIT).encode(UTF8, "surrogatepass")


def converted(blocks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Text in any encoding, as UTF-8 without a byte order mark. A byte that does not fit becomes bytes that are not
    UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)(_MISFIT)
    first = True
    for block in blocks:
        text = decoder.decode(block)
        if text and first and encoding.startswith("utf"):
            text = text.removeprefix("\ufeff")
        first = first and not text
        if text:
            yield text.encode(UTF8, "surrogatepass")
    if text := decoder.decode(b"", final=True):
        yield text.encode(UTF8, "surrogatepass")


def _marked(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(_FIRST_MISFIT + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_MISFIT, _marked)


def readable(text: bytes) -> str:
    """Bytes that were to be UTF-8 as text, with U+FFFD for each byte that does not fit the encoding of the file."""
    return _MISFIT_MARK.sub("\ufffd".encode(), text).decode(errors="replace")


def misfit(text: bytes) -> str:
    """What is wrong with bytes that are not UTF-8, as the rest of a sentence after what they are."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        place = len(text[: error.start].decode(errors="replace").encode()) + 1
        if mark := _MISFIT_MARK.match(text, error.start):
            byte = ((mark[1][0] & 0x03) << 6) | (mark[2][0] & 0x3F)
            place = len(readable(text[: error.start])) + 1
            return f"has the byte 0x{byte:02X} as character {place:,}, which does not exist in the file's encoding"
        return f"is not UTF-8: its byte {place:,} is 0x{text[error.start]:02X}"
    raise ValueError("the bytes are UTF-8")


def find(head: bytes, pieces: Iterable[tuple[int, bytes]]) -> Finding | None:
    """The encoding of a file by its mark, by its zero bytes, by its XML declaration, because it is UTF-8, or guessed;
    None: no guess fits.

    ``head`` is its beginning. ``pieces`` are whole lines and the place where each piece begins; bytes beyond ASCII are
    looked for in them. A binary file is called UTF-8: whoever reads it says what is wrong.
    """
    beyond_ascii = False

    def watched() -> Iterator[tuple[int, bytes]]:
        nonlocal beyond_ascii
        for start, piece in pieces:
            beyond_ascii = beyond_ascii or not piece.isascii()
            yield start, piece

    found = _by_bytes(head, watched())
    shown = _declared(head.decode(found.encoding if found else UTF8, "replace"))
    if not shown:
        return found
    try:
        declared = named(shown)
    except InvalidSpec:
        return _contradicted(found, f"there is no encoding {shown!r}, which the XML declaration names")
    if found is not None and (found.encoding == declared or found.encoding.startswith(f"{declared}-")):
        return replace(found, evidence="" if declared == UTF8 else "declared")
    if declared == "ascii" and not beyond_ascii:
        return found
    is_unicode = found is not None and (beyond_ascii or found.encoding != UTF8) and found.encoding.startswith("utf")
    can_be = not declared.startswith(("utf", "ascii")) and b"<?xml".decode(declared, "replace") == "<?xml"
    if can_be and not is_unicode:
        return Finding(encoding=declared, evidence="declared")
    return _contradicted(found, f"the XML declaration says {title(declared)}, which the bytes contradict")


_DECLARATION = re.compile(r"""\ufeff?\s*<\?xml\s[^>]*?\sencoding\s*=\s*["']([\w.:-]+)["']""")


def _declared(head: str) -> str:
    """The encoding that an XML declaration names; empty: none."""
    match = _DECLARATION.match(head)
    return match[1] if match else ""


def _contradicted(found: Finding | None, how: str) -> Finding | None:
    if found is None:
        return None
    return replace(found, evidence="; ".join(filter(None, (found.evidence, how))))


def _by_bytes(head: bytes, pieces: Iterable[tuple[int, bytes]]) -> Finding | None:
    """The encoding of a file, without its XML declaration."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return Finding(encoding=encoding, evidence="" if encoding == UTF8 else "byte order mark")
    if wide := _without_mark(head):
        return Finding(encoding=wide, evidence="by its zero bytes")
    if b"\0" in head[:1024]:
        return Finding(encoding=UTF8)
    lines = bytearray()
    first: tuple[int, str] | None = None
    number, behind = 1, 0
    for start, piece in pieces:
        if not piece.isascii() and (wrong := _first_wrong(piece)) is not None:
            if first is None:
                line = number + piece.count(b"\n", 0, wrong)
                first = piece[wrong], f"in line {line:,}" if start == behind else f"at byte {start + wrong:,}"
            lines += _beyond_ascii(piece, SAMPLE - len(lines))
            if len(lines) >= SAMPLE:
                break
        if first is None and start == behind:
            number, behind = number + piece.count(b"\n"), start + len(piece)
    if first is None:
        return Finding(encoding=UTF8)
    return _guess(bytes(lines), *first)


def _without_mark(head: bytes) -> str:
    """UTF-16 or UTF-32 without a byte order mark; empty: neither."""
    if len(head) % 2:
        return ""
    head = head[: len(head) // 4 * 4]
    zeros = [head[place::4].count(0) for place in range(4)]
    units, even, odd = len(head) // 4, zeros[0] + zeros[2], zeros[1] + zeros[3]
    pairs = sum(first in _WRITTEN and second in _WRITTEN for first, second in zip(head[::2], head[1::2], strict=True))
    if pairs * _PAIRS > 2 * units:
        return ""
    candidates = [
        encoding
        for encoding, fits in (
            ("utf-32-le", 0 < units == zeros[3]),
            ("utf-32-be", 0 < units == zeros[0]),
            ("utf-16-le", odd * _NULS >= 2 * units > 0 and odd >= _RARER * even),
            ("utf-16-be", even * _NULS >= 2 * units > 0 and even >= _RARER * odd),
        )
        if fits
    ]
    for encoding in candidates:
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(head)
        except UnicodeDecodeError:
            continue
        if _is_text(text.encode(errors="replace")):
            return encoding
    return ""


def _is_text(text: bytes) -> bool:
    """Whether text has few control characters."""
    controls = len(text.translate(None, bytes({*range(256)} - {*range(9), *range(14, 27), *range(28, 32)})))
    return controls * _CONTROLS <= len(text)


def _first_wrong(block: bytes) -> int | None:
    """The first byte that is not UTF-8; None: all are."""
    try:
        codecs.utf_8_decode(block, "strict", False)
    except UnicodeDecodeError as error:
        return error.start
    return None


def _beyond_ascii(block: bytes, limit: int) -> bytes:
    """The lines with bytes beyond ASCII."""
    found = bytearray()
    for line in block.splitlines(keepends=True):
        if not line.isascii():
            found += line[:limit]
            if len(found) >= limit:
                break
    return bytes(found)


def _guess(lines: bytes, byte: int, place: str) -> Finding | None:
    """The encoding of lines that are not all UTF-8. ``byte`` is the first that is not, and ``place`` says where."""
    text = lines.decode(errors="surrogateescape")
    wrong = sum("\udc80" <= char <= "\udcff" for char in text)
    right = sum(char > "\x7f" for char in text) - wrong
    if right > wrong:
        return Finding(
            encoding=UTF8,
            evidence=f"but not all of it: 0x{byte:02X} {place}; such records are rejected; --encoding to override",
        )
    if not _is_text(lines):
        return None
    rows = lines.splitlines(keepends=True)
    unfit = {encoding: _misfits(rows, encoding) for encoding in _GUESSED}
    unfit = {encoding: misfits for encoding, misfits in unfit.items() if len(misfits) * _UNFIT <= len(rows)}
    left_out = set().union(*unfit.values())
    fit = b"".join(row for number, row in enumerate(rows) if number not in left_out)
    candidates = _candidates(fit, unfit) or ([USUAL] if USUAL in unfit and not unfit[USUAL] else [])
    if not candidates:
        return None
    best, others = candidates[0], candidates[1:]
    also = f", or {' or '.join(title(each) for each in others[:2])}" if others else ""
    also += "; not all of it fits, and such records are rejected" if unfit[best] else ""
    sign = _shown(lines, byte, best)
    return Finding(encoding=best, evidence=f"guessed: 0x{byte:02X} {place}{sign}{also}; --encoding to override")


def _misfits(rows: Sequence[bytes], encoding: str) -> Collection[int]:
    """The lines that have bytes which do not exist in an encoding."""
    if _decodes(b"".join(rows), encoding):
        return ()
    return {number for number, row in enumerate(rows) if not _decodes(row, encoding)}


def _decodes(lines: bytes, encoding: str) -> bool:
    try:
        lines.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _shown(lines: bytes, byte: int, encoding: str) -> str:
    """The character that a byte is, if it is one by itself."""
    if not keeps_ascii(encoding):
        return ""
    char = bytes([byte]).decode(encoding, "replace")
    return f" is {char!r}" if char.isprintable() else ""


def _candidates(lines: bytes, unfit: Mapping[str, Collection[int]]) -> Sequence[str]:
    """The encodings that make sense of these lines, the best first, without those that are clearly worse.

    All encodings in ``unfit`` fit these lines. It has the other lines that do not fit each of them.
    """
    from charset_normalizer import from_bytes  # 40 ms, which UTF-8 does not pay.

    isolated = [name.replace("-", "_") for name in _GUESSED]
    scores: dict[str, tuple[float, float]] = {}
    for match in from_bytes(lines, cp_isolation=isolated):
        for name in {match.encoding, *match.could_be_from_charset}:
            encoding = codecs.lookup(name).name
            if encoding in unfit:
                chaos = match.chaos + _oddness(lines, encoding) + (_WORSE if unfit[encoding] else 0)
                scores.setdefault(encoding, (chaos, -match.coherence))
    if not scores:
        return ()
    least = min(chaos for chaos, _ in scores.values())
    alike = {name: coherence for name, (chaos, coherence) in scores.items() if chaos <= least + _ALIKE}
    return sorted(alike, key=lambda name: (round(alike[name], 1), _GUESSED.index(name)))


def _oddness(lines: bytes, encoding: str) -> float:
    """The share of characters beyond ASCII that are odd where they are: a symbol within a word, a capital after a
    small letter."""
    text = lines.decode(encoding, "replace")
    beyond = sum(char > "\x7f" for char in text)
    odd = sum(
        char > "\x7f"
        and ((not char.isalpha() and (before.isalpha() or after.isalpha())) or (before.islower() and char.isupper()))
        for before, char, after in zip(" " + text, text, text[1:] + " ", strict=False)
    )
    return odd / max(beyond, 1)
