"""At most one active promotion an environment, each ends once, and only a ready deployment becomes current."""

from events.base import DeploymentId, PromotionId
from events.codec import Recorded
from events.environment import (
    EnvironmentDeleted,
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionStarted,
)
from events.replica import ReplicaReady
from tests.sim.checkers.base import Checker, Violation


class OneActivePromotion(Checker):
    def __init__(self) -> None:
        self.active: dict[tuple[str, str], PromotionId] = {}
        self.was_ready: set[DeploymentId] = set()
        self.ended: set[PromotionId] = set()

    def see(self, recorded: Recorded) -> None:
        event = recorded.event
        match event:
            case PromotionStarted():
                key = (event.model_id, event.environment)
                if key in self.active:
                    raise Violation(f"{recorded.position}: {event} while {self.active[key]} is active")
                self.active[key] = event.promotion_id
            case ReplicaReady():
                self.was_ready.add(event.deployment_id)
            case PromotionCompleted() | PromotionFailed() | PromotionCancelled():
                if isinstance(event, PromotionCompleted) and event.deployment_id not in self.was_ready:
                    raise Violation(f"{recorded.position}: {event.deployment_id} was never ready")
                key = (event.model_id, event.environment)
                if self.active.pop(key, None) != event.promotion_id or event.promotion_id in self.ended:
                    raise Violation(f"{recorded.position}: {event} is not the active promotion")
                self.ended.add(event.promotion_id)
            case EnvironmentDeleted():
                self.active.pop((event.model_id, event.environment), None)
