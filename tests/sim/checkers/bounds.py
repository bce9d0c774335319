"""A target lies within the settings that hold at its decision, or what a promotion holds."""

from events.base import DeploymentId, PromotionId
from events.codec import Recorded
from events.scaling import (
    AutoscalingSettings,
    ReplicaHoldReleased,
    ReplicasHeld,
    ReplicaTargetLowered,
    ReplicaTargetRaised,
    ScaledToZero,
    ScalingConfigured,
)
from tests.sim.checkers.base import Checker, Violation


class TargetsWithinBounds(Checker):
    def __init__(self) -> None:
        self.settings: dict[DeploymentId, AutoscalingSettings] = {}
        self.holds: dict[DeploymentId, dict[PromotionId, int]] = {}

    def see(self, recorded: Recorded) -> None:
        match recorded.event:
            case ScalingConfigured() as event:
                self.settings[event.deployment_id] = event.settings
            case ReplicasHeld() as event:
                self.holds.setdefault(event.deployment_id, {})[event.promotion_id] = event.at_least
            case ReplicaHoldReleased() as event:
                del self.holds[event.deployment_id][event.promotion_id]
            case ReplicaTargetRaised() | ReplicaTargetLowered() as event:
                settings = self.settings.get(event.deployment_id, AutoscalingSettings())
                highest = max(settings.max_replica, self._held(event.deployment_id))
                lowest = 1 if event.rule == "promotion" else settings.min_replica
                if event.target < lowest or (isinstance(event, ReplicaTargetRaised) and event.target > highest):
                    raise Violation(f"{recorded.position}: {event} is outside {settings}")
                raising = isinstance(event, ReplicaTargetRaised)
                if raising != (event.target > event.previous) or event.grounds.settings is None:
                    raise Violation(f"{recorded.position}: {event} is not what its name says, or lacks its grounds")
            case ScaledToZero() as event:
                settings = self.settings.get(event.deployment_id, AutoscalingSettings())
                if event.rule == "quiet" and settings.min_replica > 0:
                    raise Violation(f"{recorded.position}: {event} is below {settings}")
                if event.rule == "quiet" and self._held(event.deployment_id):
                    raise Violation(f"{recorded.position}: {event} while a promotion holds its replicas")

    def _held(self, deployment_id: DeploymentId) -> int:
        return max(self.holds.get(deployment_id, {}).values(), default=0)
