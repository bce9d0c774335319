"""Deployments that would get more replicas if their max_replica let them, by the load of the last minute.

The autoscaler raises no further and has nothing to record then, so this is read from the load, not from the log.
"""

import msgspec

from events.base import DeploymentId
from events.log import Log
from events.scaling import AutoscalingSettings
from events.signals.load_history import SPAN_S, LoadHistory, Moment
from handlers.scaling_rule import need, need_at_full
from ops.replay import state_at
from projections.deployments import DEPLOYMENTS

RECENT_S = 3 * SPAN_S
"""Older load says nothing about now."""


class HeldBack(msgspec.Struct, frozen=True):
    deployment_id: DeploymentId
    name: str
    """`model/deployment`."""
    max_replica: int
    wanted: int
    waiting: int
    """The most that waited at a time, of late."""

    def __str__(self) -> str:
        waits = f"{self.waiting} requests waiting" if self.waiting else f"load for {self.wanted} replicas"
        fix = f"causeway scale {self.name} --set max_replica={self.wanted}"
        return f"{self.name} is at max_replica {self.max_replica} with {waits}; raise it with `{fix}`"


def wanted_by(settings: AutoscalingSettings, loads: list[Moment], now: float) -> tuple[int, int]:
    """Replicas that the load calls for, and how many requests waited."""
    recent = [record for ended_at, record in loads if ended_at > now - RECENT_S]
    if not recent:
        return 0, 0
    window_s = max(float(settings.autoscaling_window_s), SPAN_S)
    mean = sum(record.mean * SPAN_S for ended_at, record in loads if ended_at > now - window_s) / window_s
    waiting = max(record.parked_peak for record in recent)
    return max(need(mean, settings), need_at_full(recent[-1].last, settings) if waiting else 0), waiting


async def held_back(log: Log, history: LoadHistory, now: float) -> tuple[HeldBack, ...]:
    """`now`: seconds since the epoch. Raises LoadsUnavailable."""
    catalogue = await state_at(log, DEPLOYMENTS)
    found = []
    for deployment in catalogue.deployments.values():
        settings = deployment.settings
        if not 0 < settings.max_replica <= deployment.target:
            continue
        since = now - max(settings.autoscaling_window_s, RECENT_S)
        loads = await history.read(deployment.deployment_id, since, now + SPAN_S)
        wanted, waiting = wanted_by(settings, loads, now)
        if wanted > settings.max_replica:
            name = f"{catalogue.models[deployment.model_id].name}/{deployment.name}"
            found.append(HeldBack(deployment.deployment_id, name, settings.max_replica, wanted, waiting))
    return tuple(found)
