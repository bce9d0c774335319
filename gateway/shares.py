"""What the other gateway workers have in flight, as they last told. Pure: the time is an argument.

A share that is not told again expires: a worker that died holds no slot for long. What is not known does not count,
so workers that cannot hear each other still serve, each to the full limit.
"""

from collections.abc import Callable
from datetime import datetime

import msgspec

from events.base import DeploymentId, ReplicaId
from events.signals import Load

EXPIRES_S = 5.0


class Told(msgspec.Struct):
    until: float
    replicas: dict[ReplicaId, int]
    waiting_since: datetime | None


class Shares:
    def __init__(self, shift: Callable[[ReplicaId, int], None]) -> None:
        self._shift = shift
        """Told by how much a replica's count changes."""
        self._told: dict[tuple[DeploymentId, str], Told] = {}
        self.waiting: dict[DeploymentId, datetime] = {}
        """Since when the first in line waits in another worker."""

    def heard(self, load: Load, now: float) -> bool:
        """Whether there may be more room than before, or fewer who were first."""
        place = (load.deployment_id, load.worker)
        before = self._told.pop(place, None)
        replicas = {each.replica_id: each.in_flight for each in load.replicas if each.in_flight > 0}
        if replicas or load.waiting_since is not None:
            self._told[place] = Told(now + EXPIRES_S, replicas, load.waiting_since)
        more_room = self._replace(before.replicas if before is not None else {}, replicas)
        return self._line_up(load.deployment_id) or more_room

    def _line_up(self, deployment_id: DeploymentId) -> bool:
        """Whether the first in line elsewhere has gone."""
        waiting = [
            told.waiting_since
            for (each, _), told in self._told.items()
            if each == deployment_id and told.waiting_since is not None
        ]
        before = self.waiting.pop(deployment_id, None)
        if waiting:
            self.waiting[deployment_id] = min(waiting)
        return before is not None and (not waiting or min(waiting) > before)

    def expire(self, now: float) -> set[DeploymentId]:
        """Deployments that may have more room now."""
        over = [place for place, told in self._told.items() if told.until <= now]
        for place in over:
            self._replace(self._told.pop(place).replicas, {})
            self._line_up(place[0])
        return {deployment_id for deployment_id, _ in over}

    @property
    def next_expiry(self) -> float | None:
        return min((told.until for told in self._told.values()), default=None)

    def _replace(self, before: dict[ReplicaId, int], after: dict[ReplicaId, int]) -> bool:
        more_room = False
        for replica_id in before.keys() | after.keys():
            by = after.get(replica_id, 0) - before.get(replica_id, 0)
            if by:
                self._shift(replica_id, by)
                more_room = more_room or by < 0
        return more_room
