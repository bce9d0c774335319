"""From load signals to ten-second records, every busy deployment at once. Pure: times are arguments.

digest.hear(load, now) …; digest.flush(now) -> what to keep of the span that ends now
"""

import msgspec

from events.base import DeploymentId
from events.signals import Load
from events.signals.load_history import SPAN_S, LoadRecord
from handlers.load_window import LoadWindow


class Busy(msgspec.Struct):
    window: LoadWindow
    peaks: dict[str, int] = {}
    """By worker, since the last flush."""
    parked_peak: int = 0


class LoadDigest(msgspec.Struct):
    busy: dict[DeploymentId, Busy] = {}

    def hear(self, load: Load, now: float) -> None:
        busy = self.busy.get(load.deployment_id)
        if busy is None:
            busy = self.busy[load.deployment_id] = Busy(LoadWindow())
        busy.window.hear(load, now)
        level = load.in_flight + load.parked + load.queued
        busy.peaks[load.worker] = max(busy.peaks.get(load.worker, 0), load.peak, level)
        busy.parked_peak = max(busy.parked_peak, busy.window.parked())

    def flush(self, now: float) -> tuple[LoadRecord, ...]:
        """What is idle is not told, and forgotten."""
        records = []
        for deployment_id, busy in list(self.busy.items()):
            window = busy.window
            window.expire(now)
            mean, _ = window.means(now, SPAN_S, SPAN_S)
            parked = window.parked()
            last = window.in_flight() + parked + window.queued()
            if mean > 0 or last:
                peak = max(last, sum(busy.peaks.values()))
                records.append(LoadRecord(deployment_id, round(mean, 4), peak, max(parked, busy.parked_peak), last))
                busy.parked_peak = parked
                busy.peaks = {worker: share.level for worker, share in window.shares.items()}
            else:
                del self.busy[deployment_id]
        return tuple(records)
