"""A machine that runs replicas. Facts come from its own agent, except its loss."""

from events.base import Event, NodeId
from events.weights import ChunkHash, ManifestId


class NodeJoined(Event, frozen=True, kw_only=True):
    node_id: NodeId
    boot_id: str
    """Changes when the machine restarts: replicas of an earlier boot are gone."""
    host: str
    """Where its replicas listen."""
    cpu_millicores: int
    memory_bytes: int
    isolation: str
    """bubblewrap or process."""
    weights_address: str = ""
    """`host:port` where other nodes get weights of it; empty: nowhere."""


class NodeResumed(Event, frozen=True, kw_only=True):
    """Its agent began anew after one that did not say goodbye: it was killed, or stopped to be started again. Replicas
    lived on meanwhile, and what was being made or fetched for others goes on where it was.
    """

    node_id: NodeId
    boot_id: str


class NodeDraining(Event, frozen=True, kw_only=True):
    """It takes no new replica and lets those that it runs come to their end, to leave afterwards."""

    node_id: NodeId
    reason: str


class NodeLost(Event, frozen=True, kw_only=True):
    node_id: NodeId
    silent_for_s: float


class NodeLeft(Event, frozen=True, kw_only=True):
    """Its agent said goodbye."""

    node_id: NodeId
    reason: str


class WeightsFoundCorrupt(Event, frozen=True, kw_only=True):
    """Bytes that are not those of the chunk; no model has seen them, and they are fetched again from elsewhere."""

    node_id: NodeId
    """Who found them."""
    chunk: ChunkHash
    """Or the id of a manifest."""
    tier: str
    """node (its own disk), peer, mirror."""
    source: str
    """The node that they are of, or `mirror`."""


class WeightsPrefetchRequested(Event, frozen=True, kw_only=True):
    """The node shall have these weights before a replica needs them. It tries until they are there, they cannot ever
    be, the wish is withdrawn, or the node leaves for good.
    """

    node_id: NodeId
    manifest_id: ManifestId


class WeightsPrefetched(Event, frozen=True, kw_only=True):
    """All of their files are on the node, checked. The wish is fulfilled; nothing keeps them there but their use."""

    node_id: NodeId
    manifest_id: ManifestId
    seconds: float
    """Of the try that succeeded."""
    node_bytes: int
    """What was on this machine."""
    peer_bytes: int
    mirror_bytes: int


class WeightsPrefetchLate(Event, frozen=True, kw_only=True):
    """They cannot be had now; the node goes on trying. Once a wish for each lack."""

    node_id: NodeId
    manifest_id: ManifestId
    lack: str
    """room, mirror, corrupt."""
    reason: str


class WeightsPrefetchFailed(Event, frozen=True, kw_only=True):
    """They can never be had: the wish has ended."""

    node_id: NodeId
    manifest_id: ManifestId
    reason: str


class WeightsPrefetchWithdrawn(Event, frozen=True, kw_only=True):
    """Nobody wants them there any more. What was fetched stays as long as there is room."""

    node_id: NodeId
    manifest_id: ManifestId
