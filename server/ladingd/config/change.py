"""What a reload changes: some settings take effect at once, the others at the next start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from ladingd.config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


M = TypeVar("M", bound=BaseModel)

LIVE = frozenset(
    {
        "socket_role",
        "slots",
        "shutdown_grace",
        "cancel_grace",
        "pause_grace",
        "target_patience",
        "log_level",
        "connections",
        "roots",
        "upload_limit",
        "uploads_limit",
        "disk_reserve",
        "retention",
        "tls.clients",
    }
)
"""Keys that a reload applies. ``Parts.adjust`` applies them: a new key is added here and there."""

RESTART = frozenset(
    {
        "state_dir",
        "socket",
        "workers",
        "workers_idle_exit",
        "idle_exit",
        "log_format",
        "metrics",
        "tls.listen",
        "tls.listen_mutual",
        # The daemon reads these files again when they change. This key is about naming other files.
        "tls.certificate",
        "tls.key",
        "tls.client_ca",
    }
)
"""Keys that take effect at the next start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """The effect of new settings on a running daemon."""

    settings: Settings
    """The settings from now on."""
    applied: tuple[str, ...]
    """The keys that have changed."""
    pending: tuple[str, ...]
    """The keys that will change at a restart."""

    def __str__(self) -> str:
        said = f"changed: {', '.join(self.applied)}" if self.applied else "nothing has changed"
        return f"{said}; a restart is needed for: {', '.join(self.pending)}" if self.pending else said


def change(in_force: Settings, wanted: Settings) -> Change:
    """Compare the settings in force with those of the file."""
    settings = _taken(in_force, wanted, ())
    return Change(
        settings=settings,
        applied=tuple(_differing(in_force, settings, ())),
        pending=tuple(_differing(settings, wanted, ())),
    )


def is_live(path: Sequence[str]) -> bool:
    """Whether a reload applies a key. Raises KeyError if the key is in neither list."""
    for length in range(1, len(path) + 1):
        key = ".".join(path[:length])
        if key in LIVE or key in RESTART:
            return key in LIVE
    raise KeyError(".".join(path))


def _taken(old: M, new: M, above: tuple[str, ...]) -> M:
    """The old settings with the live keys of the new ones."""
    taken: dict[str, Any] = {}
    for name in type(old).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if isinstance(before, BaseModel) and isinstance(after, BaseModel):
            taken[name] = _taken(before, after, (*above, name))
        elif before != after and not isinstance(before or after, BaseModel) and is_live((*above, name)):
            taken[name] = after
    return old.model_copy(update=taken)


def _differing(old: BaseModel, new: BaseModel, above: tuple[str, ...]) -> Iterator[str]:
    """The keys that differ. For a table whose keys are names that the user chooses, those names."""
    for name in type(old).model_fields:
        key = ".".join((*above, name))
        before, after = getattr(old, name), getattr(new, name)
        if isinstance(before, BaseModel) and isinstance(after, BaseModel):
            yield from _differing(before, after, (*above, name))
        elif isinstance(before, dict) and isinstance(after, dict):
            yield from (f"{key}.{one}" for one in {**before, **after} if before.get(one) != after.get(one))
        elif before != after:
            yield key
