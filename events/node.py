"""A machine that runs replicas. Facts come from its own agent, except its loss."""

from events.base import Event, NodeId
from events.weights import ChunkHash


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
