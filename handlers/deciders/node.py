"""Rules of a node: it joins, drains, leaves, or is declared lost by others."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from events.base import Event, NodeId
from events.node import NodeDraining, NodeJoined, NodeLeft, NodeLost, WeightsFoundCorrupt
from events.weights import ChunkHash
from handlers.base import Command, Context, Decider, Refused, told


class JoinNode(Command, frozen=True, kw_only=True):
    node_id: NodeId
    boot_id: str
    host: str
    cpu_millicores: int
    memory_bytes: int
    isolation: str
    weights_address: str = ""


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


NodeCommand = JoinNode | DrainNode | LeaveNode | DeclareNodeLost | ReportWeightsCorrupt


class NodeState(msgspec.Struct, frozen=True, tag=True):
    status: Literal["unknown", "up", "draining", "lost", "left"] = "unknown"
    joined: NodeJoined | None = None


def evolve(state: NodeState, event: Event) -> NodeState:
    match event:
        case NodeJoined():
            return NodeState("up", event)
        case NodeDraining():
            return msgspec.structs.replace(state, status="draining")
        case NodeLost():
            return msgspec.structs.replace(state, status="lost")
        case NodeLeft():
            return msgspec.structs.replace(state, status="left")
        case _:
            return state


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
    if isinstance(command, DrainNode):
        return (told(NodeDraining, command),) if state.status == "up" else ()
    if state.status not in ("up", "draining"):
        return ()
    return (told(NodeLeft if isinstance(command, LeaveNode) else NodeLost, command),)


NODE: Decider[NodeCommand, NodeState] = Decider(
    category="node",
    commands=(JoinNode, DrainNode, LeaveNode, DeclareNodeLost, ReportWeightsCorrupt),
    initial=NodeState(),
    aggregate_id=lambda command: command.node_id,
    decide=decide,
    evolve=evolve,
)
