"""A fold that goes on from a snapshot equals the fold from zero, and what a process folded equals it too."""

from typing import Any

import msgspec

from events.codec import Recorded
from projections.access import ACCESS
from projections.base import Projection
from projections.deployments import DEPLOYMENTS
from projections.environments import ENVIRONMENTS
from projections.fleet import FLEET
from projections.replica_targets import REPLICA_TARGETS
from projections.routing import ROUTING
from projections.webhooks import WEBHOOKS
from tests.sim.checkers.base import Checker, Violation

FOLDS: tuple[Projection[Any], ...] = (ACCESS, DEPLOYMENTS, ENVIRONMENTS, FLEET, REPLICA_TARGETS, ROUTING, WEBHOOKS)
EVERY = 97
"""Positions between two snapshots: not a multiple of anything."""


class SnapshotsEqualFolds(Checker):
    def __init__(self) -> None:
        self.whole = [fold.initial() for fold in FOLDS]
        self.resumed = [fold.initial() for fold in FOLDS]
        self.position = 0

    def see(self, recorded: Recorded) -> None:
        self.whole = [fold.evolve(state, recorded) for fold, state in zip(FOLDS, self.whole, strict=True)]
        self.resumed = [fold.evolve(state, recorded) for fold, state in zip(FOLDS, self.resumed, strict=True)]
        self.position = recorded.position

    def commit(self) -> None:
        if self.position % EVERY:
            return
        for index, fold in enumerate(FOLDS):
            if self.resumed[index] != self.whole[index]:
                raise Violation(f"{fold.name}: going on from a snapshot gives another state at {self.position}")
            content = msgspec.msgpack.encode(self.resumed[index])
            self.resumed[index] = msgspec.msgpack.decode(content, type=fold.state_type)
