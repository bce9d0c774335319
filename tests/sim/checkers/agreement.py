"""What deciders believe and what everybody sees is the same: environments, targets, live replicas."""

from typing import Any

from events.base import ModelId, StreamName
from events.codec import Recorded
from events.model import ModelDeleted
from handlers.deciders.environment import EnvironmentState
from handlers.deciders.replica import LIVE, ReplicaState
from handlers.deciders.scaling import ScalingState
from handlers.decisions import DECISIONS
from projections.deployments import DEPLOYMENTS, Catalogue
from projections.environments import ENVIRONMENTS, Environments
from projections.fleet import FLEET, Fleet
from tests.sim.checkers.base import Checker, Violation


class DecidersAndViewsAgree(Checker):
    def __init__(self) -> None:
        self._decisions: Any = DECISIONS.initial()
        self._environments, self._catalogue, self._fleet = Environments(), Catalogue(), Fleet()
        self._last: Recorded | None = None
        self._leftovers: dict[StreamName, None] = {}
        """Environments of a deleted model, until they are cleared away: the views forgot them at once, and a model of
        the same name may be there again before."""

    def see(self, recorded: Recorded) -> None:
        self._decisions = DECISIONS.evolve(self._decisions, recorded)
        self._environments = ENVIRONMENTS.evolve(self._environments, recorded)
        self._catalogue = DEPLOYMENTS.evolve(self._catalogue, recorded)
        self._fleet = FLEET.evolve(self._fleet, recorded)
        self._last = recorded
        state = self._decisions[recorded.stream].state
        if isinstance(recorded.event, ModelDeleted):
            self._leftovers |= dict.fromkeys(self._environments_of(recorded.event.model_id))
        elif isinstance(state, EnvironmentState) and not state.exists and state.promotion is None:
            self._leftovers.pop(recorded.stream, None)

    def _environments_of(self, model_id: ModelId) -> list[StreamName]:
        own = f"{model_id}-"
        return [each for each in self._decisions if each.category == "environment" and each.id.startswith(own)]

    def commit(self) -> None:
        assert self._last is not None
        event: Any = self._last.event
        state = self._decisions[self._last.stream].state
        if isinstance(state, EnvironmentState):
            if event.model_id in self._environments.models and self._last.stream not in self._leftovers:
                self._environment(state, event)
        elif isinstance(state, ScalingState):
            deployment = self._catalogue.deployments.get(event.deployment_id)
            if deployment is not None:
                self._compare((state.target, state.settings), (deployment.target, deployment.settings))
        elif isinstance(state, ReplicaState):
            placed = self._fleet.replicas.get(event.replica_id)
            known = None if placed is None else (placed.phase, placed.draining)
            self._compare((state.phase, state.draining) if state.phase in LIVE else None, known)

    def _environment(self, state: EnvironmentState, event: Any) -> None:
        seen = self._environments.of(event.model_id).get(event.environment)
        known = None
        if seen is not None:
            told = seen.progress if seen.active is not None else None
            known = (seen.current, None if told is None else (told.status, told.percent, told.moves))
        current = state.current if state.current in self._catalogue.deployments else None
        own = state.promotion
        moved = None if own is None else (own.phase, own.percent, own.moves)
        there = state.exists or event.environment == "production"
        self._compare((current, moved) if there else None, known)

    def _compare(self, believed: object, known: object) -> None:
        if believed != known:
            assert self._last is not None
            where = f"{self._last.position} {self._last.stream} {type(self._last.event).__name__}"
            raise Violation(f"{where}: the decider believes {believed}, the view says {known}")
