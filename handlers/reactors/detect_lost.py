"""Silence: a node whose heartbeats stop is declared lost, and so are the replicas of nodes that are gone.

Only what this process could have heard counts: after a start, or after the channel was interrupted, every node has a
whole grace period again. Times are this process's own: the grace of a node that joins begins when anything at all is
heard after that, not at the time by the node's clock, which may be wrong.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from events.base import Actor, CommandId, CorrelationId, NodeId, ReplicaId, derive
from events.codec import Recorded
from events.node import NodeJoined, NodeLeft, NodeLost
from events.signals import Heartbeat, Resumed, Signal
from handlers.base import NOW, Cause, Due, Reactor, cause, caused_by
from handlers.deciders.node import DeclareNodeLost
from handlers.deciders.replica import DeclareReplicaLost
from projections.fleet import FLEET, Fleet

NAME = "detect_lost"
GRACE_S = 15.0


class Watch(msgspec.Struct):
    since: datetime
    """Silence before this moment says nothing."""
    fleet: Fleet
    heard: dict[NodeId, datetime] = {}
    joining: dict[NodeId, None] = {}
    """Joined, and nothing has been heard from anybody since."""
    gone: dict[NodeId, Cause] = {}
    """Nodes that are lost or have left; and those that are back, while replicas of the time before count as live."""


def evolve(state: Watch, recorded: Recorded) -> Watch:
    event = recorded.event
    if isinstance(event, NodeJoined):
        before = state.fleet.nodes.get(event.node_id)
        restarted = before is not None and before.boot_id != event.boot_id
        state.joining[event.node_id] = None
        if restarted:
            state.gone[event.node_id] = cause(recorded)
    if isinstance(event, NodeLost | NodeLeft):
        state.gone[event.node_id] = cause(recorded)
    FLEET.evolve(state.fleet, recorded)
    for node_id in tuple(state.gone):
        if _is_back(state, node_id) and not _orphans(state, node_id):
            del state.gone[node_id]
    return state


def _is_back(state: Watch, node_id: NodeId) -> bool:
    return state.fleet.nodes[node_id].status in ("up", "draining")


def _orphans(state: Watch, node_id: NodeId) -> list[ReplicaId]:
    """Live replicas of a node that is gone: also one that a scheduler who did not know it yet has put there since."""
    own = [each for each in state.fleet.replicas.values() if each.node_id == node_id]
    if _is_back(state, node_id):
        own = [each for each in own if each.position < state.gone[node_id].position]
    return [each.replica_id for each in own]


def hear(state: Watch, signal: Signal, now: datetime) -> Watch:
    for node_id in state.joining:
        state.heard[node_id] = now
    state.joining.clear()
    match signal:
        case Heartbeat(node_id=node_id):
            state.heard[node_id] = now
        case Resumed():
            state.since = now
    return state


def due(state: Watch) -> Iterable[Due]:
    for node in state.fleet.nodes.values():
        if node.status in ("up", "draining") and node.node_id not in state.joining:
            last = max(state.heard.get(node.node_id, state.since), state.since)
            yield Due(
                last + timedelta(seconds=GRACE_S),
                DeclareNodeLost(
                    id=CommandId(derive(NAME, node.node_id, last.isoformat(), length=24)),
                    actor=Actor(f"reactor:{NAME}", "internal"),
                    correlation_id=CorrelationId(derive(NAME, node.node_id, last.isoformat())),
                    node_id=node.node_id,
                    silent_for_s=GRACE_S,
                ),
            )
    for node_id, why in state.gone.items():
        for replica_id in _orphans(state, node_id):
            fields = caused_by(why, NAME, replica_id)
            yield Due(NOW, DeclareReplicaLost(**fields, replica_id=replica_id, reason=f"its node {node_id} is gone"))


def _initial(now: datetime) -> Watch:
    return Watch(now, Fleet())


DETECT_LOST: Reactor[Watch] = Reactor(NAME, _initial, evolve, due, hear)
