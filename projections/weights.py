"""Which weights are in the blob store, where they came from, which nodes have had them, and who still needs them."""

from datetime import datetime
from typing import Literal

import msgspec

from events.base import BuildId, DeploymentId, ModelId, NodeId, Position, ReplicaId
from events.build import BuildFailed, BuildRequested, BuildStarted, BuildStopped, BuildSucceeded
from events.codec import Recorded
from events.model import DeploymentCopied, DeploymentDeleted, DeploymentPushed, ModelDeleted
from events.node import NodeLeft, WeightsPrefetched
from events.replica import ReplicaAssigned, ReplicaFailed, ReplicaLost, ReplicaStopped, ReplicaWeightsReady
from events.weights import (
    ManifestId,
    Mount,
    WeightsDiscarded,
    WeightsMirrored,
    WeightsMirrorFailed,
    WeightsPinned,
)
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
    position: Position


class Pin(msgspec.Struct, frozen=True):
    """What a deployment means by a source, from the first look at it on."""

    source: str
    mount_location: str
    revision: str
    files: int
    bytes: int
    position: Position
    """Of the last event about it."""
    manifest_id: ManifestId | None = None
    """None: it is not mirrored yet."""
    failed: str = ""
    """Why the last try to mirror it came to nothing."""


class OnNode(msgspec.Struct, frozen=True):
    """A node has had all files of a manifest. Nothing is told when its cache lets them go."""

    node_id: NodeId
    position: Position
    at: datetime
    why: Literal["replica", "prefetch"]
    node_bytes: int
    """What it had already, of all that was fetched then; and what came from elsewhere."""
    peer_bytes: int
    mirror_bytes: int


class Fetching(msgspec.Struct, frozen=True):
    """A replica that has not got its weights yet."""

    node_id: NodeId
    manifests: tuple[ManifestId, ...]


class Weights(msgspec.Struct):
    mirrored: dict[ManifestId, InStore] = {}
    mounts: dict[DeploymentId, tuple[Mount, ...]] = {}
    """Of deployments that are not deleted: each can be brought up, or gone back to."""
    building: dict[BuildId, tuple[ManifestId, ...]] = {}
    """What builds under way have brought so far."""
    model_of: dict[DeploymentId, ModelId] = {}
    pins: dict[DeploymentId, dict[str, Pin]] = {}
    """By the place where they are mounted."""
    on_nodes: dict[ManifestId, dict[NodeId, OnNode]] = {}
    fetching: dict[ReplicaId, Fetching] = {}

    def needed(self) -> set[ManifestId]:
        """What no collection may touch."""
        mounted = {mount.manifest_id for mounts in self.mounts.values() for mount in mounts}
        return mounted.union(*self.building.values())


def evolve(weights: Weights, recorded: Recorded) -> Weights:
    match recorded.event:
        case DeploymentPushed() as event:
            weights.model_of[event.deployment_id] = event.model_id
        case DeploymentCopied() as event if event.original in weights.mounts:
            # It will run what was built for the original, also where that is deleted before this is on record.
            weights.mounts[event.deployment_id] = weights.mounts[event.original]
        case BuildRequested() as event:
            weights.building[event.build_id] = ()
        case BuildStarted(deployment_id=deployment_id):
            for pin in list(weights.pins.get(deployment_id, {}).values()):
                _pin(weights, deployment_id, msgspec.structs.replace(pin, failed=""))
        case WeightsPinned() as event:
            pin = Pin(
                event.source, event.mount_location, event.revision, event.files, event.bytes, recorded.position
            )  # fmt: skip
            _pin(weights, event.deployment_id, pin)
        case WeightsMirrored() as event:
            _mirrored(weights, event, recorded)
        case WeightsMirrorFailed() as event:
            known = weights.pins.get(event.deployment_id, {}).get(event.mount_location)
            pin = known or Pin(event.source, event.mount_location, "", 0, 0, recorded.position)
            changed = msgspec.structs.replace(pin, failed=event.reason, position=recorded.position)
            _pin(weights, event.deployment_id, changed)
        case WeightsDiscarded() as event:
            for manifest_id in event.manifests:
                weights.mirrored.pop(manifest_id, None)
                weights.on_nodes.pop(manifest_id, None)
        case BuildSucceeded() as event:
            weights.building.pop(event.build_id, None)
            if event.weights and event.deployment_id in weights.model_of:
                weights.mounts[event.deployment_id] = event.weights
        case BuildFailed() | BuildStopped() as event:
            weights.building.pop(event.build_id, None)
            for pin in list(weights.pins.get(event.deployment_id, {}).values()):
                if pin.manifest_id is None and not pin.failed:
                    _pin(weights, event.deployment_id, msgspec.structs.replace(pin, failed=event.reason))
        case DeploymentDeleted() as event:
            _forget(weights, event.deployment_id)
        case ModelDeleted() as event:
            for deployment_id in [each for each, model in weights.model_of.items() if model == event.model_id]:
                _forget(weights, deployment_id)
        case _:
            _on_nodes(weights, recorded)
    return weights


def _mirrored(weights: Weights, event: WeightsMirrored, recorded: Recorded) -> None:
    weights.mirrored[event.manifest_id] = InStore(
        event.manifest_id,
        event.source,
        event.revision,
        event.files,
        event.bytes,
        event.chunks,
        recorded.meta.at,
        recorded.position,
    )
    if event.build_id in weights.building:
        weights.building[event.build_id] += (event.manifest_id,)
    pin = Pin(
        event.source, event.mount_location, event.revision, event.files, event.bytes, recorded.position,
        event.manifest_id,
    )  # fmt: skip
    _pin(weights, event.deployment_id, pin)


def _pin(weights: Weights, deployment_id: DeploymentId, pin: Pin) -> None:
    if deployment_id in weights.model_of:
        weights.pins.setdefault(deployment_id, {})[pin.mount_location] = pin


def _on_nodes(weights: Weights, recorded: Recorded) -> None:
    match recorded.event:
        case ReplicaAssigned() as event if event.weights:
            manifests = tuple(dict.fromkeys(mount.manifest_id for mount in event.weights))
            weights.fetching[event.replica_id] = Fetching(event.node_id, manifests)
        case ReplicaWeightsReady() as event:
            fetched = weights.fetching.pop(event.replica_id, None)
            if fetched is not None:
                sizes = (event.node_bytes, event.peer_bytes, event.mirror_bytes)
                for manifest_id in fetched.manifests:
                    there = OnNode(fetched.node_id, recorded.position, recorded.meta.at, "replica", *sizes)
                    weights.on_nodes.setdefault(manifest_id, {})[fetched.node_id] = there
        case WeightsPrefetched() as event:
            sizes = (event.node_bytes, event.peer_bytes, event.mirror_bytes)
            there = OnNode(event.node_id, recorded.position, recorded.meta.at, "prefetch", *sizes)
            weights.on_nodes.setdefault(event.manifest_id, {})[event.node_id] = there
        case ReplicaStopped() | ReplicaFailed() | ReplicaLost() as event:
            weights.fetching.pop(event.replica_id, None)
        case NodeLeft(node_id=node_id):
            for nodes in weights.on_nodes.values():
                nodes.pop(node_id, None)


def _forget(weights: Weights, deployment_id: DeploymentId) -> None:
    weights.model_of.pop(deployment_id, None)
    weights.mounts.pop(deployment_id, None)
    weights.pins.pop(deployment_id, None)


WEIGHTS: Projection[Weights] = Projection("weights", 5, Weights, Weights, evolve)
