"""No request is answered by a deployment that was not what it asked for, at the position at which it was routed.

Folds the names itself, without the routing table that it judges.
"""

from bisect import bisect_right
from typing import Any

from events.base import DeploymentId, Position
from events.codec import Recorded
from events.environment import (
    EnvironmentDeleted,
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionRolledBack,
    PromotionStepped,
)
from events.model import DeploymentActivated, DeploymentDeactivated, DeploymentDeleted, ModelDeleted, ModelRegistered
from tests.sim.checkers.base import Checker, Violation


class Timeline:
    """A value over positions."""

    def __init__(self) -> None:
        self._positions: list[Position] = []
        self._values: list[Any] = []

    def set(self, position: Position, value: Any) -> None:
        self._positions.append(position)
        self._values.append(value)

    def at(self, position: Position) -> Any:
        index = bisect_right(self._positions, position)
        return self._values[index - 1] if index else None


class AnswersAreByWhatWasAskedFor(Checker):
    def __init__(self) -> None:
        self._current: dict[tuple[str, str], Timeline] = {}
        self._share: dict[tuple[str, str], Timeline] = {}
        self._away: dict[DeploymentId, Timeline] = {}
        self.count = 0

    def see(self, recorded: Recorded) -> None:
        event, position = recorded.event, recorded.position
        match event:
            case PromotionCompleted():
                self._named(event.model_id, event.environment).set(position, event.deployment_id)
                self._sharing(event.model_id, event.environment).set(position, None)
            case PromotionStepped() | PromotionRolledBack():
                sharing = event.deployment_id if event.percent else None
                self._sharing(event.model_id, event.environment).set(position, sharing)
            case PromotionFailed() | PromotionCancelled():
                self._sharing(event.model_id, event.environment).set(position, None)
            case EnvironmentDeleted():
                self._named(event.model_id, event.environment).set(position, None)
                self._sharing(event.model_id, event.environment).set(position, None)
            case ModelRegistered() | ModelDeleted():
                for (model_id, _), timeline in (*self._current.items(), *self._share.items()):
                    if model_id == event.model_id:
                        timeline.set(position, None)
            case DeploymentDeleted() | DeploymentDeactivated():
                self._away.setdefault(event.deployment_id, Timeline()).set(position, True)
            case DeploymentActivated():
                self._away.setdefault(event.deployment_id, Timeline()).set(position, False)

    def _named(self, model_id: str, environment: str) -> Timeline:
        return self._current.setdefault((model_id, environment), Timeline())

    def _sharing(self, model_id: str, environment: str) -> Timeline:
        """The candidate, while it has a share of the traffic."""
        return self._share.setdefault((model_id, environment), Timeline())

    def answered(self, record: Any) -> None:
        """`record`: a CallRecord of the simulated gateway that has been answered."""
        self.count += 1
        target, position = record.target, record.routed_at
        wanted: set[Any] = {target.name}
        if target.by == "environment":
            sharing = self._sharing(target.model_id, target.name).at(position)
            wanted = {self._named(target.model_id, target.name).at(position), sharing} - {None}
        if record.deployment_id not in wanted:
            raise Violation(f"call {record.number} for {target} was answered by {record.deployment_id}, not {wanted}")
        if record.deployment_id in self._away and self._away[record.deployment_id].at(position):
            raise Violation(f"call {record.number} was answered by {record.deployment_id}, which was deactivated")
