"""Rules of a node: it joins, leaves, or is declared lost by others."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from events.base import Event, NodeId
from events.node import NodeJoined, NodeLeft, NodeLost
from handlers.base import Command, Context, Decider, Refused, told


class JoinNode(Command, frozen=True, kw_only=True):
    node_id: NodeId
    boot_id: str
    host: str
    cpu_millicores: int
    memory_bytes: int
    isolation: str


class LeaveNode(Command, frozen=True, kw_only=True):
    node_id: NodeId
    reason: str


class DeclareNodeLost(Command, frozen=True, kw_only=True):
    node_id: NodeId
    silent_for_s: float


NodeCommand = JoinNode | LeaveNode | DeclareNodeLost


class NodeState(msgspec.Struct, frozen=True, tag=True):
    status: Literal["unknown", "up", "lost", "left"] = "unknown"
    joined: NodeJoined | None = None


def evolve(state: NodeState, event: Event) -> NodeState:
    match event:
        case NodeJoined():
            return NodeState("up", event)
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
    if state.status != "up":
        return ()
    return (told(NodeLeft if isinstance(command, LeaveNode) else NodeLost, command),)


NODE: Decider[NodeCommand, NodeState] = Decider(
    category="node",
    commands=(JoinNode, LeaveNode, DeclareNodeLost),
    initial=NodeState(),
    aggregate_id=lambda command: command.node_id,
    decide=decide,
    evolve=evolve,
)
