"""The recent load of one deployment, from what gateway workers tell: means over two windows, and the last traffic.

Workers tell means since their last report, so a request shorter than a tick counts. Sums are whole numbers and kept
while time moves on: a report costs the same however long the window is. Times are seconds of the listener's clock.
"""

from collections import deque

import msgspec

from events.base import Position
from events.signals import Load

SHARE_EXPIRES_S = 5.0
"""A worker that fell silent counts on with what it last told, for so long."""
_LATE_S = 0.5
"""A report that comes so much later than it should have: another was lost in between."""


class Share(msgspec.Struct):
    """What one worker last told."""

    heard_at: float
    number: int = 0
    in_flight: int = 0
    parked: int = 0
    queued: int = 0
    position: Position | None = None

    @property
    def waiting(self) -> int:
        return self.parked + self.queued

    @property
    def level(self) -> int:
        return self.in_flight + self.waiting


class Stretch(msgspec.Struct, frozen=True):
    ended_at: float
    span_s: float
    load_ms: int
    """Requests times milliseconds."""


class LoadWindow(msgspec.Struct):
    shares: dict[str, Share] = {}
    older: deque[Stretch] = msgspec.field(default_factory=deque)
    """In the long window only."""
    recent: deque[Stretch] = msgspec.field(default_factory=deque)
    """In the short window too."""
    older_ms: int = 0
    recent_ms: int = 0
    last_traffic_at: float = float("-inf")

    def hear(self, load: Load, now: float) -> None:
        share = self.shares.get(load.worker)
        if share is not None and 0 < load.number <= share.number:  # Said twice, or overtaken.
            return
        self.expire(now)
        share = self.shares.get(load.worker)
        if share is not None:
            missing_s = now - share.heard_at - load.span_s
            if missing_s > _LATE_S and share.level:
                self._add(now - load.span_s, missing_s, share.level)
        if load.mean > 0:
            self._add(now, load.span_s, load.mean)
        told = Share(now, load.number, load.in_flight, load.parked, load.queued, load.position)
        if load.mean > 0 or told.level or (share is not None and share.level):
            self.last_traffic_at = now
        self.shares[load.worker] = told

    def _add(self, ended_at: float, span_s: float, level: float) -> None:
        stretch = Stretch(ended_at, span_s, round(level * span_s * 1000))
        self.recent.append(stretch)
        self.recent_ms += stretch.load_ms

    def expire(self, now: float) -> None:
        """Forgets workers that said nothing for long; what they last told is counted until then."""
        for worker, share in list(self.shares.items()):
            until = share.heard_at + SHARE_EXPIRES_S
            if until <= now:
                if share.level:
                    self._add(until, SHARE_EXPIRES_S, share.level)
                    self.last_traffic_at = max(self.last_traffic_at, until)
                del self.shares[worker]

    def in_flight(self) -> int:
        return sum(share.in_flight for share in self.shares.values())

    def parked(self) -> int:
        return sum(share.parked for share in self.shares.values())

    def queued(self) -> int:
        return sum(share.queued for share in self.shares.values())

    def waiting_since(self, position: Position) -> int:
        """As told by workers that knew of this position. Others say so again within a second, if it is still so."""
        shares = self.shares.values()
        return sum(share.waiting for share in shares if share.position is None or share.position >= position)

    def silent_from(self) -> float | None:
        """When the first of the busy workers expires unless it is heard again."""
        busy = [share.heard_at for share in self.shares.values() if share.level]
        return min(busy) + SHARE_EXPIRES_S if busy else None

    def means(self, now: float, window_s: float, burst_s: float) -> tuple[float, float]:
        """Over the long and the short window up to now. `expire` first."""
        while self.recent and self.recent[0].ended_at <= now - burst_s:
            stretch = self.recent.popleft()
            self.older.append(stretch)
            self.recent_ms -= stretch.load_ms
            self.older_ms += stretch.load_ms
        while self.older and self.older[0].ended_at <= now - window_s:
            self.older_ms -= self.older.popleft().load_ms
        before_ms = self.older_ms - _outside(self.older, now - window_s)
        burst_ms = self.recent_ms - _outside(self.recent, now - burst_s)
        untold_s = [(share.level, now - share.heard_at) for share in self.shares.values() if share.level]
        long_ms = before_ms + self.recent_ms + sum(level * min(s, window_s) * 1000 for level, s in untold_s)
        short_ms = burst_ms + sum(level * min(s, burst_s) * 1000 for level, s in untold_s)
        return long_ms / window_s / 1000, short_ms / burst_s / 1000


def _outside(stretches: deque[Stretch], began_at: float) -> float:
    """What the oldest stretches hold of the time before the window, at an even rate."""
    outside = 0.0
    for stretch in stretches:
        early_s = began_at - (stretch.ended_at - stretch.span_s)
        if early_s > 0:
            outside += stretch.load_ms * min(1.0, early_s / stretch.span_s)
        elif stretch.ended_at - began_at > SHARE_EXPIRES_S:
            break
    return outside
