"""Every reason in the API has an error with this reason and with the code in the reason's comment."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2 as details

from lading.v1 import job_service_pb2
from ladingd.api.status import DOMAIN, internal_status, status_of
from tests.integration.api.answers import unpacked
from tests.integration.api.test_error_answers import EXAMPLES

PROTO = Path(__file__).parents[3] / "protos" / "lading" / "v1" / "job_service.proto"
REASONS = [name for name in job_service_pb2.Reason.keys() if name != "REASON_UNSPECIFIED"]  # noqa: SIM118
_VALUE = re.compile(r"(?P<comment>(?:^ *//.*\n)+)^ *(?P<name>REASON_\w+) = \d+;$", re.MULTILINE)


def documented() -> dict[str, str]:
    """The comment of each reason in the proto, in one line."""
    (enum,) = re.findall(r"^enum Reason \{\n(.*?)^\}", PROTO.read_text(), re.MULTILINE | re.DOTALL)
    return {
        found["name"]: " ".join(line.strip(" /") for line in found["comment"].splitlines())
        for found in _VALUE.finditer(enum)
    }


COMMENTS = documented()
STATUSES = [internal_status("0a1b2c3d"), *(status_of(error) for error, _ in EXAMPLES)]


def test_every_reason_is_documented():
    assert set(COMMENTS) == set(REASONS)


@pytest.mark.parametrize("name", REASONS)
def test_a_reason_is_given_with_the_code_that_its_comment_names(name: str):
    code, _, sentence = COMMENTS[name].partition(": ")
    assert code in grpc.StatusCode.__members__
    assert sentence
    given = []
    for status in STATUSES:
        assert status is not None
        (info,) = unpacked(status, details.ErrorInfo)
        assert info.domain == DOMAIN == "lading"
        if f"REASON_{info.reason}" == name:
            given.append((status, info))
    assert given, "no error gives it"
    for status, info in given:
        assert status.code == grpc.StatusCode[code].value[0]
        documented_facts = set(re.findall(r"`(\w+)`", sentence.partition("metadata ")[2]))
        assert set(info.metadata) == documented_facts


def test_no_error_gives_a_reason_that_is_not_listed():
    given = {f"REASON_{unpacked(status, details.ErrorInfo)[0].reason}" for status in STATUSES if status is not None}
    assert given == set(REASONS)
