"""One invariant a file. A checker folds the log itself and raises Violation at the commit that breaks its rule."""

from tests.sim.checkers import agreement, bounds, capacity, causes, codec, promotions, routed, snapshots
from tests.sim.checkers.base import Checker

EVERY: tuple[type[Checker], ...] = (
    agreement.DecidersAndViewsAgree,
    bounds.TargetsWithinBounds,
    capacity.NoNodeAboveCapacity,
    causes.EveryEventHasACause,
    codec.EventsSurviveTheWire,
    promotions.OneActivePromotion,
    routed.RoutedReplicasAreReady,
    snapshots.SnapshotsEqualFolds,
)
