"""Access control: roles and their rights, which jobs a role reaches, principals, and tokens."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from ladingd.core.errors import JobNotFound, PermissionDenied, Unauthenticated
from ladingd.core.files import UPLOADS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ladingd.core.job import Job
    from ladingd.core.selection import Selection

SOCKET = "socket"
"""The name of local users without a token. No token or certificate may have this name, because names own jobs."""

TOKEN_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")

_TOKEN = re.compile(r"lading_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_ID_BYTES = 8
_SECRET_BYTES = 32


class Role(StrEnum):
    """The role of a caller. The stored values never change."""

    VIEWER = "viewer"
    """Reads and watches."""
    OPERATOR = "operator"
    """Also starts, pauses, cancels and deletes jobs, and edits their texts."""
    SUBMITTER = "submitter"
    """Also creates jobs and transfers files, with the connections and roots that its token permits."""
    ADMIN = "admin"
    """May do everything, and reads the audit trail."""


class Right(StrEnum):
    """The right that a call needs."""

    READ = "READ"
    OPERATE = "OPERATE"
    SUBMIT = "SUBMIT"
    ADMINISTER = "ADMINISTER"


class CallClass(StrEnum):
    """Calls of one class share a limit on how many run at a time. Error messages contain the value."""

    COMMANDS = "commands"
    """Change something."""
    READS = "reads"
    WATCHES = "watches"
    """Run until something ends them."""
    TRANSFERS = "transfers"
    """Carry the bytes of files."""


HOLDERS: Mapping[Right, tuple[Role, ...]] = MappingProxyType(
    {
        Right.READ: (Role.VIEWER, Role.OPERATOR, Role.SUBMITTER, Role.ADMIN),
        Right.OPERATE: (Role.OPERATOR, Role.SUBMITTER, Role.ADMIN),
        Right.SUBMIT: (Role.SUBMITTER, Role.ADMIN),
        Right.ADMINISTER: (Role.ADMIN,),
    }
)
"""The roles that have each right."""


class Standing(StrEnum):
    """The relation of a caller to a job."""

    OWN = "OWN"
    """The caller's name owns the job."""
    SHARED = "SHARED"
    """Somebody else owns the job and shares it."""
    OTHER = "OTHER"
    """Somebody else owns the job, or nobody: it was made before jobs had owners."""


class Act(StrEnum):
    """What can be done with a job."""

    SEE = "SEE"
    """See its general facts and its journal. They contain no values of records."""
    READ_REJECTS = "READ_REJECTS"
    """Rejects contain records and thus personal data."""
    START = "START"
    PAUSE = "PAUSE"
    CANCEL = "CANCEL"
    DELETE = "DELETE"
    CLONE = "CLONE"
    EDIT_TEXTS = "EDIT_TEXTS"
    """Label and description."""
    EDIT_SPEC = "EDIT_SPEC"
    SHARE = "SHARE"
    """Share the job, or end the sharing."""


_READING = frozenset({Act.SEE, Act.READ_REJECTS})
_OPERATING = frozenset({Act.SEE, Act.START, Act.PAUSE, Act.CANCEL, Act.DELETE, Act.EDIT_TEXTS})
_ALL = frozenset(Act)

REACH: Mapping[Role, Mapping[Standing, Set[Act]]] = MappingProxyType(
    {
        Role.VIEWER: {Standing.OWN: _READING, Standing.SHARED: _READING, Standing.OTHER: frozenset({Act.SEE})},
        Role.OPERATOR: {
            Standing.OWN: _OPERATING | _READING | {Act.SHARE},
            Standing.SHARED: _OPERATING | _READING,
            Standing.OTHER: _OPERATING,
        },
        Role.SUBMITTER: {Standing.OWN: _ALL, Standing.SHARED: _READING | {Act.CLONE}, Standing.OTHER: frozenset()},
        Role.ADMIN: {Standing.OWN: _ALL, Standing.SHARED: _ALL, Standing.OTHER: _ALL},
    }
)
"""The acts that a role may perform, by standing. Every role sees its own and shared jobs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """A caller. Connections and roots restrict only submitters: the other roles cannot use them or may use all.

    ``name`` becomes the owner of the jobs that the caller makes. Tokens and certificates of the same name stand for the
    same owner.
    """

    name: str
    role: Role
    connections: Set[str] = frozenset()
    roots: Set[str] = frozenset()

    def require(self, right: Right) -> None:
        """Raises PermissionDenied if the role lacks the right."""
        if self.role not in HOLDERS[right]:
            raise PermissionDenied(self.role, " or ".join(HOLDERS[right]))

    @property
    def sees_all(self) -> bool:
        """Whether the role sees everybody's jobs."""
        return Act.SEE in REACH[self.role][Standing.OTHER]

    def standing(self, job: Job) -> Standing:
        """The caller's relation to a job."""
        if job.owner and job.owner == self.name:
            return Standing.OWN
        return Standing.SHARED if job.shared else Standing.OTHER

    def may(self, act: Act, job: Job) -> bool:
        """Whether the caller may perform this act on the job."""
        return act in REACH[self.role][self.standing(job)]

    def require_act(self, act: Act, job: Job) -> None:
        """Raises PermissionDenied if the caller may not perform this act, and JobNotFound if the caller may not even
        see the job."""
        if not self.may(Act.SEE, job):
            raise JobNotFound(job.id)
        if not self.may(act, job):
            standing = self.standing(job)
            roles = [role for role in Role if act in REACH[role][standing]]
            owner = () if standing is Standing.OWN else (f"the owner of jobs/{job.id}",)
            raise PermissionDenied(self.role, " or ".join((*owner, *roles)))

    def visible(self, selection: Selection) -> Selection:
        """The jobs of a selection that the caller may see."""
        return selection if self.sees_all else replace(selection, visible_to=self.name)

    def require_connection(self, name: str) -> None:
        """Raises PermissionDenied if a submitter may not use the connection."""
        if self.role is Role.SUBMITTER and name not in self.connections:
            raise PermissionDenied(self.role, f"the right to use the connection {name[:80]!r}")

    def require_root(self, name: str) -> None:
        """Raises PermissionDenied if a submitter may not use the root. Everybody may use the root of uploads."""
        if self.role is Role.SUBMITTER and name not in self.roots and name != UPLOADS:
            raise PermissionDenied(self.role, f"the right to use the root {name[:80]!r}")

    def require_upload(self, owner: str) -> None:
        """Raises PermissionDenied if a submitter does not own the upload. Everybody may use an upload without an
        owner."""
        if self.role is Role.SUBMITTER and owner not in ("", self.name):
            raise PermissionDenied(self.role, "the right to use what somebody else has uploaded or exported")


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A secret that identifies a caller. Only its SHA-256 is stored.

    ``id`` is the public part of the token, by which it is found. ``name`` is that of a person or program. At most one
    token of a name is in force.
    """

    id: str
    name: str
    role: Role
    connections: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    digest: str = field(repr=False)
    create_time: datetime
    expire_time: datetime | None = None
    revoke_time: datetime | None = None

    @property
    def principal(self) -> Principal:
        """The principal that the token stands for."""
        connections, roots = frozenset(self.connections), frozenset(self.roots)
        return Principal(name=self.name, role=self.role, connections=connections, roots=roots)

    def matches(self, text: str) -> bool:
        """Whether the text is this token. Takes the same time for every wrong text."""
        return hmac.compare_digest(_digest(text), self.digest)

    def in_force(self, now: datetime) -> bool:
        """Whether the token is neither revoked nor expired."""
        return self.revoke_time is None and (self.expire_time is None or now < self.expire_time)


def issue(
    name: str,
    role: Role,
    now: datetime,
    *,
    connections: tuple[str, ...] = (),
    roots: tuple[str, ...] = (),
    expire_time: datetime | None = None,
) -> tuple[Token, str]:
    """A new token, and the text that its owner sends. The text is not stored anywhere."""
    text = f"lading_{secrets.token_hex(_ID_BYTES)}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    token = Token(
        id=token_id(text),
        name=name,
        role=role,
        connections=connections,
        roots=roots,
        digest=_digest(text),
        create_time=now,
        expire_time=expire_time,
    )
    return token, text


def token_id(text: str) -> str:
    """The public part of a token. Raises Unauthenticated if the text is not a token."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise Unauthenticated("this is not a token of Lading")
    return match[1]


def recognise(text: str, token: Token | None, now: datetime) -> Principal:
    """The principal that a text stands for; ``token`` was found by the text's id. Raises Unauthenticated.

    Only a caller with the right secret learns why a token is not accepted.
    """
    if token is None or not token.matches(text):
        raise Unauthenticated("the token is not known")
    if token.name == SOCKET:
        raise Unauthenticated(f"the name {SOCKET} is reserved for local users without a token; make another token")
    if token.revoke_time is not None:
        raise Unauthenticated(f"the token {token.name} was revoked")
    if not token.in_force(now):
        raise Unauthenticated(f"the token {token.name} has expired")
    return token.principal


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Deed:
    """A call that changed something or tried to, or that was refused because the caller lacks a right."""

    time: datetime
    principal: str
    """Empty if the caller is unknown."""
    role: str
    peer: str
    method: str
    resource: str
    outcome: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEntry:
    """A deed in the store. ``sequence`` grows with every entry."""

    sequence: int
    deed: Deed
