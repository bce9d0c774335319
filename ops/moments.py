"""How people name a place in the history: a position, a time, how long ago, or now. Pure."""

import re
from datetime import UTC, datetime, timedelta

from events.base import Position

_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_POSITION = re.compile(r"\d{1,18}")
EXAMPLES = "a position (42), a time (2026-11-21T19:30:00Z, UTC where no zone is given), how long ago (15m, 2h) or `now`"

Moment = Position | datetime | None
"""None: the head of the log."""


class BadMoment(ValueError):
    """The text names no moment; the message says what would."""


def parse_moment(text: str, now: datetime) -> Moment:
    """Raises BadMoment."""
    text = text.strip()
    if text in ("now", "head"):
        return None
    if _POSITION.fullmatch(text):
        return Position(int(text))
    return parse_time(text, now)


def parse_time(text: str, now: datetime) -> datetime:
    """A time or how long ago. Raises BadMoment."""
    text = text.strip()
    try:
        if ago := _AGO.fullmatch(text.removesuffix("ago").strip()):
            return now - timedelta(seconds=float(ago[1]) * _UNIT_S[ago[2]])
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter: before the year 1, after 9999
        raise BadMoment(f"{text!r} names no moment: write {EXAMPLES}") from None
