"""What one webhook still has to deliver, and what it may send now. Pure: time and chance come in as data.

Events of one aggregate are a lane: one after the other, each sent only when the one before it has arrived or was given
up. Lanes do not wait for each other. A receiver that cannot be asked at all (`away`), or that fails one lane after the
other, is asked one event at a time, ever more rarely, and nothing counts against the events meanwhile when it is away.
"""

import heapq
from bisect import insort
from collections import deque

import msgspec

from events.base import Position, StreamName
from events.codec import Recorded
from events.signals.deliveries import Open
from handlers.backoff import backoff_s


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    attempts_max: int = 14
    """Then an event is a dead letter: with these pauses after an hour and a half to three hours."""
    first_pause_s: float = 2.0
    pause_max_s: float = 3600.0
    """Of a lane."""
    away_pause_max_s: float = 60.0
    """Of a receiver."""
    concurrency: int = 8
    window: int = 1000
    """So many events may be open; then the log is read no further."""
    streak_max: int = 5
    """So many failures in a row, none of them in the lane of the one before, and the receiver is asked singly."""
    deadline_s: float = 15.0
    """For a whole answer."""


class Job(msgspec.Struct, eq=False):
    recorded: Recorded
    attempts: int = 0
    asked: int = 0
    """Of a dead letter that was asked for again: the how-manieth request that was. 0: the ordinary delivery."""


class _Lane(msgspec.Struct, eq=False):
    stream: StreamName
    jobs: list[Job] = []


class Lanes:
    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._lanes: dict[StreamName, _Lane] = {}
        self._ready: deque[_Lane] = deque()
        self._waiting: list[tuple[float, int, _Lane]] = []
        self._jobs: dict[tuple[Position, int], Job] = {}
        self._flying = 0
        self._count = 0
        self._streak = 0
        self._last_failed: StreamName | None = None
        self._paused_until = 0.0

    @property
    def room(self) -> bool:
        return len(self._jobs) < self._policy.window

    @property
    def open(self) -> tuple[Open, ...]:
        """What a restart must deliver; dead letters that were asked for again are in the log."""
        return tuple(Open(position, job.attempts) for (position, asked), job in self._jobs.items() if not asked)

    def add(self, job: Job) -> bool:
        """False: it is here already."""
        key = (job.recorded.position, job.asked)
        if key in self._jobs:
            return False
        self._jobs[key] = job
        lane = self._lanes.get(job.recorded.stream)
        if lane is None:
            lane = self._lanes[job.recorded.stream] = _Lane(job.recorded.stream, [])
            self._ready.append(lane)
        insort(lane.jobs, job, key=lambda each: each.recorded.position)
        return True

    def take(self, now: float) -> Job | None:
        """The next to send; its lane waits until one of the methods below says what became of it."""
        single = self._streak >= self._policy.streak_max
        if now < self._paused_until or self._flying >= (1 if single else self._policy.concurrency):
            return None
        self._ripen(now)
        if not self._ready:
            return None
        self._flying += 1
        return self._ready.popleft().jobs[0]

    def next_at(self) -> float | None:
        """When to ask again though nothing happens; None: not before something does."""
        if self._ready:
            return self._paused_until
        return max(self._waiting[0][0], self._paused_until) if self._waiting else None

    def settled(self, job: Job) -> None:
        """It has arrived."""
        self._streak, self._paused_until, self._last_failed = 0, 0.0, None
        self.dropped(job)

    def dropped(self, job: Job) -> None:
        """Given up, or not wanted any more."""
        self._flying -= 1
        lane = self._lanes[job.recorded.stream]
        lane.jobs.remove(job)
        del self._jobs[(job.recorded.position, job.asked)]
        if lane.jobs:
            self._ready.append(lane)
        else:
            del self._lanes[lane.stream]

    def failed(self, job: Job, now: float, chance: float) -> bool:
        """False: that was once too often; give it up, and say `dropped`."""
        policy = self._policy
        job.attempts += 1
        if job.recorded.stream != self._last_failed:
            self._streak += 1
        self._last_failed = job.recorded.stream
        over = self._streak - policy.streak_max
        if over > 0:
            self._paused_until = now + backoff_s(over, policy.first_pause_s, policy.away_pause_max_s, chance)
        if job.attempts >= policy.attempts_max:
            return False
        self.postponed(job, now + backoff_s(job.attempts, policy.first_pause_s, policy.pause_max_s, chance))
        return True

    def away(self, job: Job, now: float, chance: float, at_least_s: float = 0.0) -> None:
        policy = self._policy
        # Those that were under way at the same time have learnt nothing more.
        if now >= self._paused_until:
            self._streak = max(self._streak + 1, policy.streak_max)
            failures = self._streak - policy.streak_max + 1
            self._paused_until = now + max(
                at_least_s, backoff_s(failures, policy.first_pause_s, policy.away_pause_max_s, chance)
            )
        self._flying -= 1
        self._ready.append(self._lanes[job.recorded.stream])

    def postponed(self, job: Job, until: float) -> None:
        self._flying -= 1
        self._count += 1
        heapq.heappush(self._waiting, (until, self._count, self._lanes[job.recorded.stream]))

    def at_once(self) -> None:
        """The receiver has a new address: nothing that the old one did counts."""
        self._streak, self._paused_until, self._last_failed = 0, 0.0, None
        self._ripen(float("inf"))

    def paused(self, now: float) -> bool:
        return now < self._paused_until

    def _ripen(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            self._ready.append(heapq.heappop(self._waiting)[2])
