"""Commands about weights that a node shall have before a replica needs them: wish, wait, look, withdraw."""

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from events.base import NodeId, Position
from events.log import Log
from events.node import (
    NodeLeft,
    WeightsPrefetched,
    WeightsPrefetchFailed,
    WeightsPrefetchLate,
    WeightsPrefetchWithdrawn,
)
from events.union import AnyEvent, UnknownEvent
from events.weights import ManifestId
from ops import render
from ops.cli.failures import Failure
from ops.cli.options import Format, Output, session_of
from ops.cli.session import Session
from ops.cli.stored import weights_and_names
from ops.names import resolve_deployment

PATH = "/v1/causeway/weights/prefetches"
Wish = tuple[NodeId, ManifestId]
_ENDS = (WeightsPrefetched, WeightsPrefetchFailed, WeightsPrefetchWithdrawn)

What = Annotated[
    str,
    typer.Argument(
        metavar="WHAT", help="A manifest's id or its beginning, or a deployment: iris/deployment-2, iris if it has one."
    ),
]
Nodes = Annotated[list[str] | None, typer.Option("--node", help="Only this node. May be repeated. Else all.")]


def prefetch(
    context: typer.Context,
    what: What,
    nodes: Nodes = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Nobody wants them there any more.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until the nodes have them, or cannot.")] = True,
    output: Output = Format.table,
) -> None:
    """Bring weights to nodes before a replica needs them. A node tries until it has them or you withdraw the wish."""
    session = session_of(context)
    body = {**_named(session, what), **({"node_ids": nodes} if nodes else {})}
    if withdraw:
        ended = session.call("POST", f"{PATH}/withdraw", body)
        if output is Format.json:
            render.as_json(session.out, ended)
            return
        session.out.print(f"{len(ended['withdrawn'])} wishes were withdrawn")
        return
    wishes: list[dict[str, Any]] = session.call("POST", PATH, body)["prefetches"]
    if wait:
        what = "1 wish" if len(wishes) == 1 else f"{len(wishes)} wishes"
        session.err.print(f"{what}; waiting until they are fulfilled (Ctrl-C leaves them) …", style="dim")
        wishes = session.with_log(lambda log: ends_of(session, log, wishes))
    _print(session, output, wishes, "no node")
    failed = [each for each in wishes if each.get("result") not in (None, "here")]
    if failed:
        raise Failure(f"{len(failed)} of {len(wishes)} wishes were not fulfilled", "see the reasons above")


def prefetches(context: typer.Context, output: Output = Format.table) -> None:
    """What nodes shall have and have not got yet, and why it waits."""
    session = session_of(context)
    _print(session, output, session.call("GET", PATH)["prefetches"], "every node has what was wished for")


def _print(session: Session, output: Format, wishes: list[dict[str, Any]], nothing: str) -> None:
    if output is Format.json:
        render.as_json(session.out, wishes)
        return
    rows = ((each["node_id"], each["manifest_id"][:12], str(each["position"]), _said(each)) for each in wishes)
    render.table(session.out, ("node", "manifest", "position", ""), rows, nothing)


def _said(wish: dict[str, Any]) -> str:
    if wish.get("result") == "here":
        tiers = ", ".join(f"{wish[f'{tier}_bytes']:,} from {tier}" for tier in ("node", "peer", "mirror"))
        return f"here after {render.seconds(wish['seconds'])}: bytes {tiers}"
    if "result" in wish:
        return f"{wish['result']}: {wish['reason']}"
    return f"waits: {wish['waits']}" if wish.get("waits") else "wished for"


def _named(session: Session, text: str) -> dict[str, str]:
    """As the API wants it. Raises UnknownName, Failure."""
    state, names = session.with_log(weights_and_names)
    found = [each for each in state.mirrored if each.startswith(text)] if text not in names.models else []
    if len(found) > 1:
        raise Failure(f"{len(found)} manifests begin with {text!r}", "write more of it: `causeway weights ls -o json`")
    return {"manifest_id": found[0]} if found else {"deployment_id": resolve_deployment(names, text)}


async def ends_of(session: Session, log: Log, wishes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How each ended; what it waits for meanwhile is said."""
    waiting = {(NodeId(each["node_id"]), ManifestId(each["manifest_id"])): each for each in wishes}
    begin = {wish: each["position"] for wish, each in waiting.items()}
    ended: list[dict[str, Any]] = []
    async for batch in log.follow(Position(min(begin.values()))):
        for recorded in batch:
            for wish in _about(recorded.event, waiting):
                if recorded.position <= begin[wish]:
                    continue
                if isinstance(recorded.event, WeightsPrefetchLate):
                    session.err.print(f"{wish[0]} waits: {recorded.event.reason}", soft_wrap=True)
                else:
                    ended.append({**waiting.pop(wish), **_end(recorded.event), "position": recorded.position})
        if not waiting:
            return ended
    raise asyncio.CancelledError


def _about(event: AnyEvent | UnknownEvent, waiting: dict[Wish, dict[str, Any]]) -> Iterator[Wish]:
    if isinstance(event, (*_ENDS, WeightsPrefetchLate)):
        yield from (wish for wish in list(waiting) if wish == (event.node_id, event.manifest_id))
    elif isinstance(event, NodeLeft):
        yield from (wish for wish in list(waiting) if wish[0] == event.node_id)


def _end(event: AnyEvent | UnknownEvent) -> dict[str, Any]:
    match event:
        case WeightsPrefetched():
            sizes = {name: getattr(event, name) for name in ("seconds", "node_bytes", "peer_bytes", "mirror_bytes")}
            return {"result": "here", **sizes}
        case WeightsPrefetchFailed():
            return {"result": "failed", "reason": event.reason}
        case WeightsPrefetchWithdrawn():
            return {"result": "withdrawn", "reason": "somebody withdrew the wish"}
        case _:
            return {"result": "failed", "reason": "the node has left"}
