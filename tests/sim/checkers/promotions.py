"""At most one active promotion an environment, each ends once, and traffic goes only to what can answer.

An environment that had a healthy deployment routes to one: a switch is to a deployment that was ready a moment before,
and a promotion that does not succeed leaves all traffic where it was.
"""

from events.base import DeploymentId, Position, PromotionId, ReplicaId
from events.codec import Recorded
from events.environment import (
    EnvironmentDeleted,
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionRolledBack,
    PromotionStarted,
    PromotionStepped,
)
from events.replica import ReplicaDraining, ReplicaFailed, ReplicaLost, ReplicaReady, ReplicaStopped, ReplicaUnready
from tests.sim.checkers.base import Checker, Violation

JUST = 40
"""Positions: what a reactor saw may be so old when its command is recorded."""


class OneActivePromotion(Checker):
    def __init__(self) -> None:
        self.active: dict[tuple[str, str], PromotionId] = {}
        self.current: dict[tuple[str, str], DeploymentId] = {}
        self.sharing: set[tuple[str, str]] = set()
        """Environments of which a candidate has a share."""
        self.ready: dict[DeploymentId, set[ReplicaId]] = {}
        self.last_ready: dict[DeploymentId, Position] = {}
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
                self.ready.setdefault(event.deployment_id, set()).add(event.replica_id)
            case ReplicaUnready() | ReplicaDraining() | ReplicaStopped() | ReplicaFailed() | ReplicaLost():
                if event.replica_id in self.ready.get(event.deployment_id, ()):
                    self.ready[event.deployment_id].discard(event.replica_id)
                    self.last_ready[event.deployment_id] = recorded.position
            case PromotionStepped() | PromotionRolledBack():
                key = (event.model_id, event.environment)
                if self.active.get(key) != event.promotion_id:
                    raise Violation(f"{recorded.position}: {event} is not of the active promotion")
                (self.sharing.add if event.percent else self.sharing.discard)(key)
            case PromotionCompleted() | PromotionFailed() | PromotionCancelled():
                key = (event.model_id, event.environment)
                if self.active.pop(key, None) != event.promotion_id or event.promotion_id in self.ended:
                    raise Violation(f"{recorded.position}: {event} is not the active promotion")
                self.ended.add(event.promotion_id)
                self.sharing.discard(key)
                if isinstance(event, PromotionCompleted):
                    self._switched(recorded.position, key, event)
            case EnvironmentDeleted():
                self.active.pop((event.model_id, event.environment), None)
                self.current.pop((event.model_id, event.environment), None)

    def _switched(self, position: Position, key: tuple[str, str], event: PromotionCompleted) -> None:
        """`current` may have been deleted since, with its model; what is named is what the decider believed."""
        if self.current.get(key) != event.previous:
            raise Violation(f"{position}: {event} names another than {self.current.get(key)} as the previous one")
        self.current[key] = event.deployment_id
        was_ready = self.last_ready.get(event.deployment_id, -JUST)
        if not self.ready.get(event.deployment_id) and position - was_ready > JUST:
            raise Violation(f"{position}: {event.deployment_id} has no ready replica, nor had it a moment ago")
