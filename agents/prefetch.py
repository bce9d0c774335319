"""Weights that somebody wants on this node before a replica needs them: fetched one after the other, tried until there.

Level-triggered: the fleet says what is wished for, so an agent that dies is followed by one that goes on. A wish ends
with what the node tells of it, or is withdrawn; then what is under way for it is given up.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from agents.effects import Effects, WeightsHere
from agents.weights.fetch import pause_s
from events.base import NodeId, Position
from events.weights import ManifestId
from handlers.base import Command
from handlers.deciders.node import PrefetchReport, ReportPrefetched, ReportPrefetchFailed, ReportPrefetchLate
from projections.fleet import Fleet, Prefetch
from projections.view import View

Wish = tuple[ManifestId, Position]
Report = Callable[[Command], Awaitable[None]]
Identity = Callable[..., dict[str, Any]]


class Prefetching:
    """`report` returns when the fleet has seen it; `identity` gives what a command of this agent is known by."""

    def __init__(
        self, node_id: NodeId, *, fleet: View[Fleet], effects: Effects, report: Report, identity: Identity
    ) -> None:
        self._node_id, self._fleet, self._effects = node_id, fleet, effects
        self._report, self._identity = report, identity
        self._changed = asyncio.Event()
        self._turn = asyncio.Semaphore(1)
        fleet.on_change(self._changed.set)

    async def run(self) -> None:
        """For ever. Cancelling leaves what was fetched to the next agent."""
        under_way: dict[Wish, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._changed.clear()
                wishes = {(manifest_id, wish.position) for manifest_id, wish in self._wished().items()}
                for ended in under_way.keys() - wishes:
                    under_way.pop(ended).cancel()
                for new in sorted(wishes - under_way.keys(), key=lambda wish: wish[1]):
                    under_way[new] = tasks.create_task(self._fulfil(new), name=f"prefetch {new[0]}")
                await self._changed.wait()

    def _wished(self) -> Mapping[ManifestId, Prefetch]:
        node = self._fleet.state.nodes.get(self._node_id)
        return {} if node is None else node.prefetches

    async def _fulfil(self, wish: Wish) -> None:
        manifest_id, failures = wish[0], 0
        while True:
            async with self._turn:
                result = await self._effects.prefetch(manifest_id)
            if isinstance(result, WeightsHere):
                sizes = {name: getattr(result, name) for name in ("node_bytes", "peer_bytes", "mirror_bytes")}
                await self._tell(ReportPrefetched, wish, "here", seconds=result.seconds, **sizes)
                return
            if result.lack == "missing":
                await self._tell(ReportPrefetchFailed, wish, "failed", reason=result.reason)
                return
            failures += 1
            await self._tell(ReportPrefetchLate, wish, result.lack, lack=result.lack, reason=result.reason)
            await asyncio.sleep(pause_s(failures))

    async def _tell(self, kind: type[PrefetchReport], wish: Wish, what: str, **fields: Any) -> None:
        """Told again it changes nothing."""
        identity = self._identity("prefetch", *wish, what)
        await self._report(kind(**identity, node_id=self._node_id, manifest_id=wish[0], **fields))
