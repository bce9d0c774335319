"""`causeway weights pointers`: links to weights on a node, for a program that fetches them with truss_transfer."""

from typing import Annotated

import msgspec
import typer

from agents.effects.weights_peer_wire import Keyring
from agents.weights.fetch import contents
from agents.weights.manifest import Manifest
from agents.weights.pointers import pointers
from agents.weights.store import manifest_of
from events.base import NodeId
from events.log import Log
from ops import render
from ops.cli.failures import Failure
from ops.cli.options import session_of
from ops.cli.stored import Which, manifest_named, with_store
from ops.local.peer_secret import peer_secret
from ops.replay import state_at
from projections.fleet import FLEET, Fleet
from projections.stores.objects import Objects


def links(
    context: typer.Context,
    manifest: Which,
    node: Annotated[
        str | None, typer.Option("--node", help="Which node serves them. Else the first that is up.")
    ] = None,
    hours: Annotated[float, typer.Option("--for", min=0.01, max=168, help="Hours for which the links are good.")] = 1.0,
) -> None:
    """Print a manifest for truss_transfer (/bptr/bptr-manifest): short-lived signed links to files that a node has."""
    session = session_of(context)
    manifest_id = manifest_named(session, manifest)
    address = _address(session.with_log(_fleet), node)

    async def read(objects: Objects) -> Manifest:
        return await manifest_of(objects, manifest_id)

    until_s = int(session.now().timestamp() + hours * 3600)
    keyring = Keyring(NodeId("command line"), peer_secret(session.settings))
    found = pointers(
        contents(with_store(session, read)),
        lambda number: f"http://{address}{keyring.link(manifest_id, number, until_s)}",
        until_s,
    )
    render.as_json(session.out, msgspec.to_builtins(found))


def _address(fleet: Fleet, node: str | None) -> str:
    up = {each.node_id: each.weights_address for each in fleet.nodes.values() if each.status == "up"}
    if node is not None and not up.get(NodeId(node)):
        raise Failure(f"node {node} gives no weights now", f"these are up: {', '.join(up) or 'none'}")
    found = up[NodeId(node)] if node is not None else next(filter(None, up.values()), "")
    if not found:
        raise Failure("no node gives weights now", "`causeway status` says which nodes there are")
    return found


async def _fleet(log: Log) -> Fleet:
    return await state_at(log, FLEET, await log.head())
