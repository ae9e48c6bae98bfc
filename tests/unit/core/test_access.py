"""Roles and their rights, and the form and validity of tokens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from ladingd.core.access import HOLDERS, Act, Principal, Right, Role, Standing, Token, issue, recognise, token_id
from ladingd.core.errors import JobNotFound, PermissionDenied, Unauthenticated
from ladingd.core.selection import Selection
from tests.integration.api.fakes import a_job

if TYPE_CHECKING:
    from collections.abc import Set

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)

MAY = {
    Role.VIEWER: {Right.READ},
    Role.OPERATOR: {Right.READ, Right.OPERATE},
    Role.SUBMITTER: {Right.READ, Right.OPERATE, Right.SUBMIT},
    Role.ADMIN: {Right.READ, Right.OPERATE, Right.SUBMIT, Right.ADMINISTER},
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("right", Right)
def test_a_role_has_its_rights_and_no_others(role: Role, right: Right) -> None:
    principal = Principal(name="x", role=role)
    if right in MAY[role]:
        principal.require(right)
        return
    with pytest.raises(PermissionDenied) as refused:
        principal.require(right)
    assert (refused.value.role, refused.value.needed) == (role, " or ".join(HOLDERS[right]))


def test_a_submitter_has_what_it_was_given() -> None:
    principal = Principal(name="x", role=Role.SUBMITTER, connections={"crm"}, roots={"in"})
    principal.require_connection("crm")
    principal.require_root("in")
    principal.require_root("uploads")
    for wrong in ("in", "CRM", "", "crm "):
        with pytest.raises(PermissionDenied):
            principal.require_connection(wrong)
    for wrong in ("crm", "IN", "", "local"):
        with pytest.raises(PermissionDenied):
            principal.require_root(wrong)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.SUBMITTER])
def test_others_have_no_bounds(role: Role) -> None:
    principal = Principal(name="x", role=role)
    principal.require_connection("crm")
    principal.require_root("in")


def a_token(**more: object) -> tuple[Token, str]:
    return issue("robot", Role.SUBMITTER, NOW, connections=("crm",), roots=("in",), **more)  # type: ignore[arg-type]


def test_a_token_is_known_by_its_text() -> None:
    token, text = a_token()
    assert token_id(text) == token.id
    principal = recognise(text, token, NOW)
    assert principal == Principal(name="robot", role=Role.SUBMITTER, connections={"crm"}, roots={"in"})


def test_a_token_holds_256_bits_and_shows_none_of_them() -> None:
    tokens = [a_token() for _ in range(50)]
    secrets = {text.rpartition(token.id)[2] for token, text in tokens}
    assert len(secrets) == len({token.id for token, _ in tokens}) == 50
    assert all(len(secret) == 1 + 43 for secret in secrets), "256 bits in Base64 take 43 characters"
    token, text = tokens[0]
    assert text not in repr(token)
    assert text[-43:] not in str(vars_of(token))
    assert token.digest not in repr(token)


def vars_of(token: Token) -> list[object]:
    return [getattr(token, name) for name in token.__slots__]


def test_another_secret_is_another_token() -> None:
    token, text = a_token()
    _, other = issue("robot", Role.ADMIN, NOW)
    for wrong in (text[:-1], text + "A", other, text.upper()):
        assert not token.matches(wrong)
        with pytest.raises(Unauthenticated, match="not known"):
            recognise(wrong, token, NOW)
    with pytest.raises(Unauthenticated, match="not known"):
        recognise(text, None, NOW)


def test_a_token_expires_on_the_second() -> None:
    token, text = a_token(expire_time=NOW + timedelta(days=1))
    assert recognise(text, token, NOW + timedelta(days=1, microseconds=-1)).name == "robot"
    with pytest.raises(Unauthenticated, match="expired"):
        recognise(text, token, NOW + timedelta(days=1))


def test_only_the_owner_hears_what_is_wrong_with_a_token() -> None:
    token, text = a_token(expire_time=NOW)
    with pytest.raises(Unauthenticated) as refused:
        recognise(text[:-1] + "~", token, NOW)
    assert "robot" not in refused.value.message
    assert "expired" not in refused.value.message


@pytest.mark.parametrize("text", ["", "lading", "lading__", "lading_0123456789abcdef_short", "x" * 10_000, "lading_é"])
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(Unauthenticated):
        token_id(text)


# Whose jobs

EVERYTHING = frozenset(Act)
READING = {Act.SEE, Act.READ_REJECTS}
OPERATING = {Act.SEE, Act.START, Act.PAUSE, Act.CANCEL, Act.DELETE, Act.EDIT_TEXTS}

REACHES: dict[Role, dict[Standing, Set[Act]]] = {
    Role.VIEWER: {Standing.OWN: READING, Standing.SHARED: READING, Standing.OTHER: {Act.SEE}},
    Role.OPERATOR: {
        Standing.OWN: OPERATING | {Act.READ_REJECTS, Act.SHARE},
        Standing.SHARED: OPERATING | {Act.READ_REJECTS},
        Standing.OTHER: OPERATING,
    },
    Role.SUBMITTER: {Standing.OWN: EVERYTHING, Standing.SHARED: READING | {Act.CLONE}, Standing.OTHER: frozenset()},
    Role.ADMIN: {Standing.OWN: EVERYTHING, Standing.SHARED: EVERYTHING, Standing.OTHER: EVERYTHING},
}


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize("standing", Standing)
@pytest.mark.parametrize("role", Role)
def test_a_role_reaches_what_it_may(role: Role, standing: Standing, act: Act) -> None:
    principal = Principal(name="anna", role=role)
    job = a_job(owner="anna" if standing is Standing.OWN else "ben", shared=standing is Standing.SHARED)
    assert principal.standing(job) is standing
    may = act in REACHES[role][standing]
    assert principal.may(act, job) is may
    if may:
        principal.require_act(act, job)
    elif Act.SEE in REACHES[role][standing]:
        with pytest.raises(PermissionDenied) as refused:
            principal.require_act(act, job)
        assert refused.value.role == role
        assert "admin" in refused.value.needed
    else:
        with pytest.raises(JobNotFound):
            principal.require_act(act, job)


@pytest.mark.parametrize("role", Role)
def test_whoever_may_not_see_all_sees_own_and_shared_jobs(role: Role) -> None:
    """Lists and watches use this."""
    principal = Principal(name="anna", role=role)
    jobs = [a_job(owner=owner, shared=shared) for owner in ("anna", "ben", "") for shared in (False, True)]
    selection = principal.visible(Selection())
    assert [selection.holds(job) for job in jobs] == [principal.may(Act.SEE, job) for job in jobs]
    assert (selection == Selection()) is principal.sees_all


@pytest.mark.parametrize("owner", ["", "Anna", "anna "])
def test_a_job_is_owned_by_the_very_name(owner: str) -> None:
    assert Principal(name="anna", role=Role.SUBMITTER).standing(a_job(owner=owner)) is Standing.OTHER
    assert Principal(name="", role=Role.SUBMITTER).standing(a_job(owner="")) is Standing.OTHER


def test_what_proves_a_name_does_not_count() -> None:
    first, text = a_token()
    second, again = a_token()
    certified = Principal(name="robot", role=Role.SUBMITTER)
    mine = a_job(owner="robot")
    for principal in (recognise(text, first, NOW), recognise(again, second, NOW), certified):
        assert principal.standing(mine) is Standing.OWN


def test_no_token_is_the_socket() -> None:
    token, text = issue("socket", Role.SUBMITTER, NOW)
    with pytest.raises(Unauthenticated, match="reserved"):
        recognise(text, token, NOW)
