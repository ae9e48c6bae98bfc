"""Who may do what: roles and their rights, whose jobs they reach, those who call, and the tokens that prove it."""

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
"""The name of local users without a token. No token and no certificate may have it: a name is an owner of jobs."""

TOKEN_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")

_TOKEN = re.compile(r"lading_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_ID_BYTES = 8
_SECRET_BYTES = 32


class Role(StrEnum):
    """What a caller is to the daemon. The stored values never change."""

    VIEWER = "viewer"
    """Reads and watches."""
    OPERATOR = "operator"
    """Also starts, pauses, cancels and deletes jobs, and edits their texts."""
    SUBMITTER = "submitter"
    """Also makes jobs and moves files, with the connections and roots that it was given."""
    ADMIN = "admin"
    """Everything, and reads who did what."""


class Right(StrEnum):
    """What a call can take."""

    READ = "READ"
    OPERATE = "OPERATE"
    SUBMIT = "SUBMIT"
    ADMINISTER = "ADMINISTER"


class CallClass(StrEnum):
    """Calls of one class share a limit on how many run at a time. Callers are told the value."""

    COMMANDS = "commands"
    """Change something."""
    READS = "reads"
    WATCHES = "watches"
    """Stay until something ends them."""
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
"""Who has a right. What is not here nobody has."""


class Standing(StrEnum):
    """What a job is to a caller."""

    OWN = "OWN"
    """The caller made it, under this name."""
    SHARED = "SHARED"
    """Somebody else's, who shares it."""
    OTHER = "OTHER"
    """Somebody else's, or nobody's: it was made before jobs had owners."""


class Act(StrEnum):
    """What can be done with a job."""

    SEE = "SEE"
    """Its general facts and its journal. They hold no value of any record."""
    READ_REJECTS = "READ_REJECTS"
    """They are records, and so personal data."""
    START = "START"
    PAUSE = "PAUSE"
    CANCEL = "CANCEL"
    DELETE = "DELETE"
    CLONE = "CLONE"
    EDIT_TEXTS = "EDIT_TEXTS"
    """Label and description."""
    EDIT_SPEC = "EDIT_SPEC"
    SHARE = "SHARE"
    """Change whether it is shared."""


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
"""What a role may do with whose jobs. Every role sees its own and shared jobs. What is not here nobody may do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """Who calls. Connections and roots count for a submitter alone: others have no need of them, or have all.

    ``name`` is the owner of the jobs that the caller makes. It counts whatever proves it: tokens of one name over time,
    certificates and a token of one name are one owner.
    """

    name: str
    role: Role
    connections: Set[str] = frozenset()
    roots: Set[str] = frozenset()

    def require(self, right: Right) -> None:
        """Raises PermissionDenied where the role lacks the right."""
        if self.role not in HOLDERS[right]:
            raise PermissionDenied(self.role, " or ".join(HOLDERS[right]))

    @property
    def sees_all(self) -> bool:
        """Whether the role sees jobs of everybody."""
        return Act.SEE in REACH[self.role][Standing.OTHER]

    def standing(self, job: Job) -> Standing:
        """What a job is to this caller."""
        if job.owner and job.owner == self.name:
            return Standing.OWN
        return Standing.SHARED if job.shared else Standing.OTHER

    def may(self, act: Act, job: Job) -> bool:
        """Whether the role allows this with such a job."""
        return act in REACH[self.role][self.standing(job)]

    def require_act(self, act: Act, job: Job) -> None:
        """Raises JobNotFound for a job that the caller may not see, as if there were none, and PermissionDenied for one
        that the caller may see, but not treat like this."""
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
        """Raises PermissionDenied where a submitter was not given the connection."""
        if self.role is Role.SUBMITTER and name not in self.connections:
            raise PermissionDenied(self.role, f"the right to use the connection {name[:80]!r}")

    def require_root(self, name: str) -> None:
        """Raises PermissionDenied where a submitter was not given the root. That of uploads all have been given."""
        if self.role is Role.SUBMITTER and name not in self.roots and name != UPLOADS:
            raise PermissionDenied(self.role, f"the right to use the root {name[:80]!r}")

    def require_upload(self, owner: str) -> None:
        """Raises PermissionDenied where an upload is not a submitter's own. Without an owner there is none."""
        if self.role is Role.SUBMITTER and owner not in ("", self.name):
            raise PermissionDenied(self.role, "the right to use what somebody else has uploaded or exported")


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A secret that somebody proves with who they are. Only its SHA-256 is kept.

    ``id`` is the part of the token that finds it, and no secret. Names are those of people or programs; only one token
    of a name is in force at a time.
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
        """Whom the token stands for."""
        connections, roots = frozenset(self.connections), frozenset(self.roots)
        return Principal(name=self.name, role=self.role, connections=connections, roots=roots)

    def matches(self, text: str) -> bool:
        """Whether this is the token with its secret; takes as long whatever is wrong with it."""
        return hmac.compare_digest(_digest(text), self.digest)

    def in_force(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
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
    """A new token, and the text that its owner shows, which is nowhere kept."""
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
    """The part of a token that finds it. Raises Unauthenticated for what is no token."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise Unauthenticated("what was sent is no token of Lading")
    return match[1]


def recognise(text: str, token: Token | None, now: datetime) -> Principal:
    """Whom a text stands for, where this is the token that was found for it. Raises Unauthenticated.

    Nobody learns more about a token than its owner: what is wrong is said only to who has the secret.
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
    """A call that changed something, was to, or was refused for want of a right."""

    time: datetime
    principal: str
    """Empty where nobody knows who it was."""
    role: str
    peer: str
    method: str
    resource: str
    outcome: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEntry:
    """A deed as the store keeps it; ``sequence`` grows with every entry."""

    sequence: int
    deed: Deed
