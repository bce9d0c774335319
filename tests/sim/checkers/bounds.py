"""A target lies within the settings that hold at its decision, or what a promotion holds."""

from events.base import DeploymentId
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
        self.held: dict[DeploymentId, int] = {}

    def see(self, recorded: Recorded) -> None:
        match recorded.event:
            case ScalingConfigured() as event:
                self.settings[event.deployment_id] = event.settings
            case ReplicasHeld() as event:
                self.held[event.deployment_id] = event.at_least
            case ReplicaHoldReleased() as event:
                self.held.pop(event.deployment_id)
            case ReplicaTargetRaised() | ReplicaTargetLowered() as event:
                settings = self.settings.get(event.deployment_id, AutoscalingSettings())
                highest = max(settings.max_replica, self.held.get(event.deployment_id, 0))
                if not settings.min_replica <= event.target <= highest:
                    raise Violation(f"{recorded.position}: {event} is outside {settings}")
                raising = isinstance(event, ReplicaTargetRaised)
                if raising != (event.target > event.previous) or event.grounds.settings is None:
                    raise Violation(f"{recorded.position}: {event} is not what its name says, or lacks its grounds")
            case ScaledToZero() as event:
                settings = self.settings.get(event.deployment_id, AutoscalingSettings())
                if event.rule == "quiet" and settings.min_replica > 0:
                    raise Violation(f"{recorded.position}: {event} is below {settings}")
                if event.rule == "quiet" and event.deployment_id in self.held:
                    raise Violation(f"{recorded.position}: {event} while a promotion holds its replicas")
