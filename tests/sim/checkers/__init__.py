"""One invariant a file. A checker folds the log itself and raises Violation at the commit that breaks its rule.

`answers` and `capacity` are told more than the log by the world, which makes them itself.
"""

from tests.sim.checkers import agreement, bounds, causes, codec, patches, promotions, routed, scaling, seals, snapshots
from tests.sim.checkers.base import Checker

EVERY: tuple[type[Checker], ...] = (
    agreement.DecidersAndViewsAgree,
    bounds.TargetsWithinBounds,
    causes.EveryEventHasACause,
    codec.EventsSurviveTheWire,
    patches.PatchesFormAChain,
    promotions.OneActivePromotion,
    routed.RoutedReplicasAreReady,
    scaling.DecisionsFollowFromTheirGrounds,
    seals.SealsFollowEachOther,
    snapshots.SnapshotsEqualFolds,
)
