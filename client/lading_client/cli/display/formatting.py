"""Numbers and times as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta


def number(value: float) -> str:
    """12,345"""
    return f"{value:,.0f}"


def counted(value: int, what: str) -> str:
    """1 reject, 12,345 rejects"""
    return f"{number(value)} {what}" if value == 1 else f"{number(value)} {what}s"


def percent(value: float) -> str:
    """42 %. It rounds down: 100 % means complete."""
    return f"{min(int(value), 99) if value < 100 else 100} %"


def span(value: timedelta) -> str:
    """0.31 s, 12.3 s, 4:07, 1:02:03"""
    seconds = value.total_seconds()
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(value: datetime | None) -> str:
    """2026-03-01 14:05:09, in the local time zone."""
    return "" if value is None else value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
