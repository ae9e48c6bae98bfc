"""Transformations: named changes to the text of a value on its way to the target.

A transformation is spelled with its arguments behind colons: ``truncate:20``, ``replace:a:b``. A backslash
before a colon keeps it in an argument. All work on whole columns, and most look first for the values to change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.values.casting import VALUE_CAP, Misfit, shorten
from ladingd.data.values.converters import only

Change = Callable[[pa.Array], pa.Array]
"""Changes a column of text. Nulls stay null; a value that it cannot handle becomes null."""

_LONGEST = 1_000_000
"""The most characters that a value may be cut or filled to."""
_FEW = 1_000
"""So many values tell whether the values of a column recur."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transformation:
    """One transformation with its arguments."""

    change: Change
    code: str = ""
    """The code of a reject whose value the transformation cannot handle. Empty: it handles all values."""
    problem: str = ""
    """``is not an e-mail address``."""


def transformation(spelled: str) -> Transformation:
    """The transformation that is spelled this way. Raises ValueError."""
    name, *arguments = _parts(spelled)
    made = _MAKERS.get(name.strip().lower().replace("-", "_"))
    if made is None:
        close = get_close_matches(name, _MAKERS, 1)
        advice = f"; the closest is {close[0]}" if close else ""
        raise ValueError(f"{name!r} is not a transformation{advice}; all are: {', '.join(sorted(_MAKERS))}")
    try:
        return made(*arguments)
    except TypeError:
        raise ValueError(f"{spelled!r} has {len(arguments)} arguments: write {_FORMS[name]}") from None


def transformed(texts: pa.Array, steps: Sequence[Transformation]) -> tuple[pa.Array, Mapping[int, Misfit]]:
    """A column of text after all transformations, and the values that one of them cannot handle.

    A value that has become empty is null, as an empty field is.
    """
    values = texts
    misfits: dict[int, Misfit] = {}
    for step in steps:
        before = values
        values = step.change(values)
        if step.code and values.null_count > before.null_count:
            rows = pc.indices_nonzero(pc.and_(pc.is_null(values), pc.is_valid(before)))
            for row, value in zip(rows.to_pylist(), before.take(rows).to_pylist(), strict=True):
                shown = shorten(value.encode(), VALUE_CAP)
                misfits[row] = Misfit(value=shown, code=step.code, problem=step.problem)
    if values is not texts:
        lengths = pc.binary_length(values)
        if pc.min(lengths).as_py() == 0:
            emptied = pc.and_(pc.equal(lengths, 0), pc.greater(pc.binary_length(texts), 0))
            values = only(values, pc.invert(emptied))
    return values, misfits


def _parts(spelled: str) -> list[str]:
    """The name and the arguments. A backslash keeps the character after it."""
    found = re.findall(r"((?:\\.|[^:\\])*)(:|$)", spelled, re.DOTALL)
    parts = [re.sub(r"\\([:\\,])", r"\1", text) for text, _ in found]
    return parts[: next(place for place, (_, end) in enumerate(found, 1) if not end)]


# Fast ways: most values of most columns need no change.


def _some(texts: pa.Array, rows: np.ndarray, change: Change) -> pa.Array:
    """The column with these rows changed."""
    if not rows.size:
        return texts
    if rows.size * 2 > len(texts):
        return change(texts)
    mask = np.zeros(len(texts), np.bool_)
    mask[rows] = True
    return pc.replace_with_mask(texts, pa.array(mask), change(texts.take(pa.array(rows))))


def _each_once(change: Change) -> Change:
    """The same change. In a column whose values recur, each different value is changed once."""

    def changed(texts: pa.Array) -> pa.Array:
        if len(texts) < _FEW or 4 * len(texts[:_FEW].unique()) > _FEW:
            return change(texts)
        encoded = texts.dictionary_encode()
        return change(encoded.dictionary).take(encoded.indices)

    return changed


def _content(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of the values, and the bytes of the column."""
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return bounds, np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)


def _bytes(texts: pa.Array) -> bytes:
    bounds, codes = _content(texts)
    return codes[bounds[0] : bounds[-1]].tobytes() if len(texts) else b""


def _is_ascii(texts: pa.Array) -> bool:
    bounds, codes = _content(texts)
    part = codes[bounds[0] : bounds[-1]] if len(texts) else codes[:0]
    return not part.size or int(part.max()) < 128


def _beyond_ascii(texts: pa.Array) -> np.ndarray:
    """The rows with characters that are not ASCII."""
    rows: np.ndarray = pc.indices_nonzero(pc.invert(pc.string_is_ascii(texts))).to_numpy()
    return rows.astype(np.int64)


def _at_ends(texts: pa.Array, *, first: bool, last: bool) -> np.ndarray:
    """The rows that may begin or end with a blank: those with a control character, a space, or what is not ASCII."""
    bounds, codes = _content(texts)
    if not codes.size:
        return np.empty(0, np.int64)
    doubtful = np.zeros(len(texts), np.bool_)
    starts, ends = bounds[:-1], bounds[1:]
    for wanted, places in ((first, starts), (last, ends - 1)):
        if wanted:
            codes_there = codes.take(places, mode="clip")
            doubtful |= (codes_there <= ord(" ")) | (codes_there >= 128)
    return np.flatnonzero(doubtful & (ends > starts))


def _trim(texts: pa.Array) -> pa.Array:
    return _some(texts, _at_ends(texts, first=True, last=True), pc.utf8_trim_whitespace)


def _trim_left(texts: pa.Array) -> pa.Array:
    return _some(texts, _at_ends(texts, first=True, last=False), pc.utf8_ltrim_whitespace)


def _trim_right(texts: pa.Array) -> pa.Array:
    return _some(texts, _at_ends(texts, first=False, last=True), pc.utf8_rtrim_whitespace)


def _by_alphabet(ascii_change: Change, change: Change) -> Change:
    """The same change for a column of ASCII, which is faster, and for any other."""
    return lambda texts: ascii_change(texts) if _is_ascii(texts) else change(texts)


_lower = _by_alphabet(pc.ascii_lower, pc.utf8_lower)
_upper = _by_alphabet(pc.ascii_upper, pc.utf8_upper)
_capitalise = _by_alphabet(pc.ascii_capitalize, pc.utf8_capitalize)
_title = _by_alphabet(pc.ascii_title, pc.utf8_title)


def _collapse_spaces(texts: pa.Array) -> pa.Array:
    data = _bytes(texts)
    if b"  " in data or any(mark in data for mark in b"\t\n\v\f\r") or not _is_ascii(texts):
        several = pc.match_substring_regex(texts, r"[\s\x{A0}\x{2000}-\x{200A}\x{202F}\x{3000}]{2,}|[\t\n\v\f\r]")
        rows = pc.indices_nonzero(several).to_numpy().astype(np.int64)
        blanks = r"[\s\x{A0}\x{2000}-\x{200A}\x{202F}\x{3000}]+"
        texts = _some(texts, rows, lambda some: pc.replace_substring_regex(some, blanks, " "))
    return _trim(texts)


def _without(pattern: str, look: bytes = b"") -> Change:
    """Removes what a pattern matches. ``look``: one of these bytes is in every match; empty: nothing is known."""

    def change(texts: pa.Array) -> pa.Array:
        data = _bytes(texts)
        if look and not any(mark in data for mark in look):
            return texts
        rows = pc.indices_nonzero(pc.match_substring_regex(texts, pattern)).to_numpy().astype(np.int64)
        return _some(texts, rows, lambda some: pc.replace_substring_regex(some, pattern, ""))

    return change


def _normal(form: str) -> Change:
    return lambda texts: _some(texts, _beyond_ascii(texts), lambda some: pc.utf8_normalize(some, form))


def _bare(texts: pa.Array) -> pa.Array:
    apart = pc.utf8_normalize(texts, "NFD")
    return pc.utf8_normalize(pc.replace_substring_regex(apart, r"\p{Mn}+", ""), "NFC")


def _strip_accents(texts: pa.Array) -> pa.Array:
    return _some(texts, _beyond_ascii(texts), _bare)


# RFC 5322 allows more, but no mail provider issues such addresses.
_EMAIL = (
    r"^[^\s@\"(),:;<>\[\]\\.]+(?:\.[^\s@\"(),:;<>\[\]\\.]+)*"
    r"@(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]*[\p{L}\p{N}])?\.)+\p{L}(?:[\p{L}\p{N}-]*[\p{L}\p{N}])$"
)


def _email(texts: pa.Array) -> pa.Array:
    values = _lower(_trim(texts))
    if b"<" in _bytes(values) or b"mailto:" in _bytes(values):
        values = pc.replace_substring_regex(values, r"^(?:mailto:|[^<>]*<)([^<>]*)>?$", r"\1")
    return only(values, pc.or_(pc.match_substring_regex(values, _EMAIL), pc.equal(pc.binary_length(values), 0)))


def _phone(country: str = "") -> Transformation:
    code = country.removeprefix("+").removeprefix("00")
    if country and not re.fullmatch(r"[1-9][0-9]{0,2}", code):
        raise ValueError(f"{country!r} is not a country code: write phone:+49")

    def change(texts: pa.Array) -> pa.Array:
        values = pc.replace_substring(texts, "(0)", "")
        values = pc.replace_substring_regex(values, r"[\s\x{A0}\x{2010}-\x{2015}().\-/]+|^tel:", "")
        values = pc.replace_substring_regex(values, r"^00", "+")
        if code:
            values = pc.replace_substring_regex(values, r"^0?([1-9])", rf"+{code}\1")
        whole = pc.match_substring_regex(values, r"^\+[1-9][0-9]{6,14}$")
        return only(values, pc.or_(whole, pc.equal(pc.binary_length(values), 0)))

    return Transformation(
        change=_each_once(change),
        code="NOT_A_PHONE_NUMBER",
        problem="is not a phone number" + ("" if code else " with a country code"),
    )


def _truncate(length: str) -> Transformation:
    number = _number(length, "truncate:20")

    def change(texts: pa.Array) -> pa.Array:
        bounds, _ = _content(texts)
        rows = np.flatnonzero(np.diff(bounds) > number)
        return _some(texts, rows, lambda some: pc.utf8_slice_codeunits(some, 0, number))

    return Transformation(change=change)


def _pad(kernel: Callable[..., pa.Array], example: str) -> Callable[..., Transformation]:
    def make(length: str, character: str = " ") -> Transformation:
        number = _number(length, example)
        if len(character) != 1:
            raise ValueError(f"{character!r} is not one character: write {example}")
        return Transformation(change=lambda texts: kernel(texts, number, character))

    return make


def _replace(what: str, by: str = "") -> Transformation:
    if not what:
        raise ValueError("there is nothing to replace: write replace:old:new")

    def change(texts: pa.Array) -> pa.Array:
        return pc.replace_substring(texts, what, by) if what.encode() in _bytes(texts) else texts

    return Transformation(change=change)


def _replace_regex(pattern: str, by: str = "") -> Transformation:
    try:  # RE2 has no way to check a pattern alone.
        pc.replace_substring_regex(pa.array(["x"]), pattern, by)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    return Transformation(change=_each_once(lambda texts: pc.replace_substring_regex(texts, pattern, by)))


def _number(text: str, example: str) -> int:
    if not re.fullmatch("[0-9]{1,7}", text) or not 1 <= int(text) <= _LONGEST:
        raise ValueError(f"{text!r} is not a number of characters from 1 to {_LONGEST:,}: write {example}")
    return int(text)


def _plain(change: Change) -> Callable[[], Transformation]:
    return lambda: Transformation(change=change)


def _slow(change: Change) -> Callable[[], Transformation]:
    return lambda: Transformation(change=_each_once(change))


_MAKERS: Mapping[str, Callable[..., Transformation]] = {
    "trim": _plain(_trim),
    "trim_left": _plain(_trim_left),
    "trim_right": _plain(_trim_right),
    "lower": _plain(_lower),
    "upper": _plain(_upper),
    "capitalise": _plain(_capitalise),
    "capitalize": _plain(_capitalise),
    "title": _slow(_title),
    "collapse_spaces": _slow(_collapse_spaces),
    "remove_spaces": _slow(_without(r"[\s\x{A0}\x{2000}-\x{200A}\x{202F}\x{3000}]+")),
    "remove_controls": _slow(_without(r"[\x00-\x1F\x7F-\x{9F}\x{200B}\x{FEFF}]+")),
    "digits_only": _slow(_without(r"[^0-9]+")),
    "letters_only": _slow(_without(r"[^\p{L}]+")),
    "nfc": _slow(_normal("NFC")),
    "nfkc": _slow(_normal("NFKC")),
    "strip_accents": _slow(_strip_accents),
    "email": lambda: Transformation(change=_each_once(_email), code="NOT_AN_EMAIL", problem="is not an e-mail address"),
    "phone": _phone,
    "truncate": _truncate,
    "pad_left": _pad(pc.utf8_lpad, "pad_left:8:0"),
    "pad_right": _pad(pc.utf8_rpad, "pad_right:8"),
    "replace": _replace,
    "replace_regex": _replace_regex,
}
"""What makes each transformation of its arguments."""

_FORMS: Mapping[str, str] = {
    **dict.fromkeys(_MAKERS, "it without arguments"),
    "phone": "phone or phone:+49",
    "truncate": "truncate:20",
    "pad_left": "pad_left:8:0",
    "pad_right": "pad_right:8",
    "replace": "replace:old:new",
    "replace_regex": "replace_regex:pattern:new",
}
"""How each transformation is written."""
