"""The errors of the domain: their messages, and pickling."""

from __future__ import annotations

import pickle
import re
from inspect import getdoc, signature
from typing import TYPE_CHECKING

import pytest

from ladingd.core import errors
from ladingd.core.errors import CommandNotAllowed, InvalidRequest, InvalidSpec, LadingError, Refusal, TechnicalError

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLES = {"revision": 3, "oldest": 8, "allowed": ("pause", "cancel"), "seconds": 2.5, "size": 7, "limit": 9}


def tree(kind: type[LadingError]) -> Iterator[type[LadingError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


KINDS = [kind for kind in tree(LadingError) if kind.__module__ == errors.__name__]
NAMED = [kind for kind in KINDS if kind not in (LadingError, Refusal)]


def sample(kind: type[LadingError]) -> LadingError:
    """An error of this class, each fact a different value."""
    if kind in (LadingError, Refusal):
        return kind("what is wrong")
    return kind(*(SAMPLES.get(name, f"the {name}") for name in signature(kind).parameters))


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_crosses_a_process_border_whole(kind: type[LadingError]) -> None:
    error = sample(kind)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert again.args == error.args
    assert vars(again) == vars(error)
    assert (again.code, again.message) == (error.code, error.message)


@pytest.mark.parametrize("kind", NAMED)
def test_an_error_keeps_its_facts(kind: type[LadingError]) -> None:
    error = sample(kind)
    if issubclass(kind, TechnicalError):
        assert error.message == "the problem"
        return
    for name in signature(kind).parameters:
        assert getattr(error, name) == SAMPLES.get(name, f"the {name}")


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in NAMED]
    assert len(codes) == len(set(codes))
    for kind in NAMED:
        words = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).upper()
        assert kind.code == words


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = re.findall(r"^ *(?:\| +)?(?:\+-- )?([A-Z][A-Za-z]+)(?: |$)", (getdoc(errors) or "").split("\n\n")[1], re.M)
    assert drawn == [kind.__name__ for kind in KINDS]


def test_messages_say_what_people_need() -> None:
    refused = CommandNotAllowed("a", "QUEUED", "start", ("pause", "cancel"))
    assert refused.message == "cannot start jobs/a: it is QUEUED, which allows pause or cancel"
    over = CommandNotAllowed("a", "FINISHED", "start", ())
    assert over.message == "cannot start jobs/a: it is FINISHED, which is final; clone the job to run it again"
    assert InvalidRequest("page_size", "is negative").message == "page_size: is negative"
    assert InvalidSpec("job.spec", "is missing").message == "is missing"
