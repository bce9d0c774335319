"""The clock port: the only way by which time enters decisions."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """UTC."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)
