"""Rules of a node: it joins, drains, leaves, or is declared lost by others."""

from collections.abc import Sequence
from typing import Literal, get_args

import msgspec

from events.base import Event, NodeId
from events.node import (
    NodeDraining,
    NodeJoined,
    NodeLeft,
    NodeLost,
    NodeResumed,
    WeightsFoundCorrupt,
    WeightsPrefetched,
    WeightsPrefetchFailed,
    WeightsPrefetchLate,
    WeightsPrefetchRequested,
    WeightsPrefetchWithdrawn,
)
from events.weights import ChunkHash, ManifestId
from handlers.base import Command, Context, Decider, Refused, told


class JoinNode(Command, frozen=True, kw_only=True):
    node_id: NodeId
    boot_id: str
    host: str
    cpu_millicores: int
    memory_bytes: int
    isolation: str
    weights_address: str = ""


class ResumeNode(Command, frozen=True, kw_only=True):
    node_id: NodeId
    boot_id: str


class DrainNode(Command, frozen=True, kw_only=True):
    node_id: NodeId
    reason: str


class LeaveNode(Command, frozen=True, kw_only=True):
    node_id: NodeId
    reason: str


class DeclareNodeLost(Command, frozen=True, kw_only=True):
    node_id: NodeId
    silent_for_s: float


class ReportWeightsCorrupt(Command, frozen=True, kw_only=True):
    node_id: NodeId
    chunk: ChunkHash
    tier: str
    source: str


class PrefetchWeights(Command, frozen=True, kw_only=True):
    node_id: NodeId
    manifest_id: ManifestId


class WithdrawPrefetch(Command, frozen=True, kw_only=True):
    node_id: NodeId
    manifest_id: ManifestId


class ReportPrefetched(Command, frozen=True, kw_only=True):
    node_id: NodeId
    manifest_id: ManifestId
    seconds: float
    node_bytes: int
    peer_bytes: int
    mirror_bytes: int


class ReportPrefetchLate(Command, frozen=True, kw_only=True):
    node_id: NodeId
    manifest_id: ManifestId
    lack: str
    reason: str


class ReportPrefetchFailed(Command, frozen=True, kw_only=True):
    node_id: NodeId
    manifest_id: ManifestId
    reason: str


PrefetchReport = ReportPrefetched | ReportPrefetchLate | ReportPrefetchFailed
NodeCommand = (
    JoinNode
    | ResumeNode
    | DrainNode
    | LeaveNode
    | DeclareNodeLost
    | ReportWeightsCorrupt
    | PrefetchWeights
    | WithdrawPrefetch
    | PrefetchReport
)


class Prefetch(msgspec.Struct, frozen=True):
    """Weights that the node shall have."""

    manifest_id: ManifestId
    late: tuple[str, ...] = ()
    """For which lacks, as was told."""


class NodeState(msgspec.Struct, frozen=True, tag=True):
    status: Literal["unknown", "up", "draining", "lost", "left"] = "unknown"
    joined: NodeJoined | None = None
    prefetches: tuple[Prefetch, ...] = ()

    def prefetch(self, manifest_id: ManifestId) -> Prefetch | None:
        return next((each for each in self.prefetches if each.manifest_id == manifest_id), None)


def evolve(state: NodeState, event: Event) -> NodeState:
    match event:
        case NodeJoined():
            return NodeState("up", event, state.prefetches)
        case NodeDraining():
            return msgspec.structs.replace(state, status="draining")
        case NodeLost():
            return msgspec.structs.replace(state, status="lost")
        case NodeLeft():
            return msgspec.structs.replace(state, status="left", prefetches=())
        case WeightsPrefetchRequested(manifest_id=manifest_id):
            return _with(state, manifest_id, Prefetch(manifest_id))
        case WeightsPrefetchLate(manifest_id=manifest_id, lack=lack):
            known = state.prefetch(manifest_id) or Prefetch(manifest_id)
            return _with(state, manifest_id, Prefetch(manifest_id, (*known.late, lack)))
        case WeightsPrefetched() | WeightsPrefetchFailed() | WeightsPrefetchWithdrawn():
            return _with(state, event.manifest_id)
        case _:
            return state


def _with(state: NodeState, manifest_id: ManifestId, *now: Prefetch) -> NodeState:
    others = tuple(each for each in state.prefetches if each.manifest_id != manifest_id)
    return msgspec.structs.replace(state, prefetches=(*others, *now))


def decide(command: NodeCommand, state: NodeState, ctx: Context) -> Sequence[Event]:
    if isinstance(command, JoinNode):
        if command.cpu_millicores <= 0 or command.memory_bytes <= 0:
            raise Refused("invalid", "a node must offer some CPU and memory", "cpu_millicores")
        joined = told(NodeJoined, command)
        return () if state.status == "up" and state.joined == joined else (joined,)
    if isinstance(command, ReportWeightsCorrupt):
        if state.joined is None:
            raise Refused("not_found", f"there is no node {command.node_id}", "node_id")
        return (told(WeightsFoundCorrupt, command),)
    if isinstance(command, PrefetchWeights):
        return _prefetch(command, state)
    if isinstance(command, WithdrawPrefetch):
        return (told(WeightsPrefetchWithdrawn, command),) if state.prefetch(command.manifest_id) else ()
    if isinstance(command, PrefetchReport):
        return _report(command, state)
    if isinstance(command, DrainNode):
        return _drain(command, state)
    if state.status not in ("up", "draining"):
        return ()
    if isinstance(command, ResumeNode):
        same_boot = state.joined is not None and state.joined.boot_id == command.boot_id
        return (told(NodeResumed, command),) if same_boot else ()
    return (told(NodeLeft if isinstance(command, LeaveNode) else NodeLost, command),)


def _prefetch(command: PrefetchWeights, state: NodeState) -> Sequence[Event]:
    if state.joined is None:
        raise Refused("not_found", f"there is no node {command.node_id}", "node_id")
    if state.status != "up":
        ways = {"draining": "drains and takes nothing new", "lost": "is lost", "left": "has left"}
        raise Refused("precondition", f"node {command.node_id} {ways[state.status]}: choose another", "node_id")
    return () if state.prefetch(command.manifest_id) else (told(WeightsPrefetchRequested, command),)


def _report(command: PrefetchReport, state: NodeState) -> Sequence[Event]:
    """Of a wish that has ended meanwhile there is nothing to tell."""
    known = state.prefetch(command.manifest_id)
    if known is None:
        return ()
    if isinstance(command, ReportPrefetchLate):
        return () if command.lack in known.late else (told(WeightsPrefetchLate, command),)
    kind = WeightsPrefetched if isinstance(command, ReportPrefetched) else WeightsPrefetchFailed
    return (told(kind, command),)


def _drain(command: DrainNode, state: NodeState) -> Sequence[Event]:
    node_id = command.node_id
    match state.status:
        case "up":
            return (told(NodeDraining, command),)
        case "draining":
            return ()
        case "unknown":
            raise Refused("not_found", f"there is no node {node_id}: `causeway node list` names them", "node_id")
        case "lost":
            reason = f"node {node_id} is lost: nothing runs there any more, and what did has been given up"
            raise Refused("precondition", reason, "node_id")
        case "left":
            raise Refused("precondition", f"node {node_id} has left already", "node_id")


NODE: Decider[NodeCommand, NodeState] = Decider(
    category="node",
    commands=get_args(NodeCommand),
    initial=NodeState(),
    aggregate_id=lambda command: command.node_id,
    decide=decide,
    evolve=evolve,
)
