"""A machine that runs replicas. Facts come from its own agent, except its loss."""

from events.base import Event, NodeId


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
