"""Which weights are in the blob store, where they came from, and who still needs them."""

from datetime import datetime

import msgspec

from events.base import BuildId, DeploymentId, ModelId
from events.build import BuildFailed, BuildRequested, BuildStopped, BuildSucceeded
from events.codec import Recorded
from events.model import DeploymentDeleted, DeploymentPushed, ModelDeleted
from events.weights import ManifestId, Mount, WeightsDiscarded, WeightsMirrored
from projections.base import Projection


class InStore(msgspec.Struct, frozen=True):
    """What was mirrored last under a manifest."""

    manifest_id: ManifestId
    source: str
    revision: str
    files: int
    bytes: int
    chunks: int
    at: datetime


class Weights(msgspec.Struct):
    mirrored: dict[ManifestId, InStore] = {}
    mounts: dict[DeploymentId, tuple[Mount, ...]] = {}
    """Of deployments that are not deleted: each can be brought up, or gone back to."""
    building: dict[BuildId, tuple[ManifestId, ...]] = {}
    """What builds under way have brought so far."""
    model_of: dict[DeploymentId, ModelId] = {}

    def needed(self) -> set[ManifestId]:
        """What no collection may touch."""
        mounted = {mount.manifest_id for mounts in self.mounts.values() for mount in mounts}
        return mounted.union(*self.building.values())


def evolve(weights: Weights, recorded: Recorded) -> Weights:
    match recorded.event:
        case DeploymentPushed() as event:
            weights.model_of[event.deployment_id] = event.model_id
        case BuildRequested() as event:
            weights.building[event.build_id] = ()
        case WeightsMirrored() as event:
            weights.mirrored[event.manifest_id] = InStore(
                event.manifest_id,
                event.source,
                event.revision,
                event.files,
                event.bytes,
                event.chunks,
                recorded.meta.at,
            )
            if event.build_id in weights.building:
                weights.building[event.build_id] += (event.manifest_id,)
        case WeightsDiscarded() as event:
            for manifest_id in event.manifests:
                weights.mirrored.pop(manifest_id, None)
        case BuildSucceeded() as event:
            weights.building.pop(event.build_id, None)
            if event.weights and event.deployment_id in weights.model_of:
                weights.mounts[event.deployment_id] = event.weights
        case BuildFailed() | BuildStopped() as event:
            weights.building.pop(event.build_id, None)
        case DeploymentDeleted() as event:
            _forget(weights, event.deployment_id)
        case ModelDeleted() as event:
            for deployment_id in [each for each, model in weights.model_of.items() if model == event.model_id]:
                _forget(weights, deployment_id)
    return weights


def _forget(weights: Weights, deployment_id: DeploymentId) -> None:
    weights.model_of.pop(deployment_id, None)
    weights.mounts.pop(deployment_id, None)


WEIGHTS: Projection[Weights] = Projection("weights", 2, Weights, Weights, evolve)
