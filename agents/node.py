"""The node agent: joins the fleet and stays in it, says that it lives, and keeps this machine's replicas as targeted.

Ending the agent ends no replica; the next one takes them over. Joining is level-triggered too: a node that the fleet
holds for lost, while it was only out of reach, joins again by itself. One that a person drains leaves when its last
replica has ended, and stays away until its agent is started again.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import psutil
import structlog

from agents.effects import Effects
from agents.loop import Dispatcher, NodeLoop
from agents.prefetch import Prefetching
from agents.reconcile import PATIENCE, Patience
from agents.weights.fetch import Corrupt
from events.base import Actor, CommandId, CorrelationId, NodeId, derive
from events.log import LogUnavailable
from events.signals import Heartbeat, Signals
from handlers.base import Command
from handlers.clock import Clock
from handlers.deciders.node import JoinNode, LeaveNode, ReportWeightsCorrupt, ResumeNode
from handlers.dispatch import Contended
from projections.fleet import Fleet
from projections.fleet import Node as Member
from projections.replica_targets import ReplicaTargets
from projections.view import View

_log = structlog.get_logger()
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_AGAIN_S = 1.0


class Offer(msgspec.Struct, frozen=True):
    """What this machine brings into the fleet."""

    node_id: NodeId
    boot_id: str
    host: str
    cpu_millicores: int
    memory_bytes: int
    isolation: str
    weights_address: str = ""


def offer_of_this_machine(
    node_id: NodeId,
    *,
    isolation: str,
    host: str = "127.0.0.1",
    cpu_overcommit: float = 4.0,
    weights_address: str = "",
) -> Offer:
    """Models seldom use the CPU that they reserve, hence the overcommitment; memory is never promised twice."""
    return Offer(
        node_id=node_id,
        boot_id=_BOOT_ID.read_text().strip(),
        host=host,
        cpu_millicores=int((os.cpu_count() or 1) * 1000 * cpu_overcommit),
        memory_bytes=int(psutil.virtual_memory().total * 0.9),
        isolation=isolation,
        weights_address=weights_address,
    )


class Node:
    """`incarnation` must differ between any two agents of a node; both views must have been caught up before `run`."""

    def __init__(
        self,
        offer: Offer,
        incarnation: str,
        *,
        targets: View[ReplicaTargets],
        fleet: View[Fleet],
        effects: Effects,
        dispatch: Dispatcher,
        signals: Signals,
        clock: Clock,
        patience: Patience = PATIENCE,
        heartbeat_every_s: float = 2.0,
        corrupt: asyncio.Queue[Corrupt] | None = None,
    ) -> None:
        self.offer = offer
        self.loop = NodeLoop(
            offer.node_id,
            incarnation,
            targets=targets,
            effects=effects,
            dispatch=dispatch,
            clock=clock,
            patience=patience,
        )
        self._incarnation = incarnation
        self._targets, self._fleet = targets, fleet
        self._dispatch, self._signals, self._clock = dispatch, signals, clock
        self._heartbeat_every_s = heartbeat_every_s
        self._corrupt: asyncio.Queue[Corrupt] = corrupt or asyncio.Queue()
        """Weights that were found to be others than they should."""
        self._prefetching = Prefetching(
            offer.node_id, fleet=fleet, effects=effects, report=self._insist, identity=self._identity
        )
        self._has_left = False
        self._changed = asyncio.Event()
        fleet.on_change(self._changed.set)

    async def run(self) -> None:
        """For ever. Cancelling leaves every replica running."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stay_joined(), name="stay joined")
            tasks.create_task(self._beat(), name="heartbeat")
            tasks.create_task(self._tell_corrupt(), name="corrupt weights")
            tasks.create_task(self._prefetching.run(), name="prefetches")
            tasks.create_task(self.loop.run(), name="replicas")

    async def _stay_joined(self) -> None:
        node = self._fleet.state.nodes.get(self.offer.node_id)
        if node is not None and node.status in ("up", "draining") and node.boot_id == self.offer.boot_id:
            resume = self._identity("resume")
            await self._insist(ResumeNode(**resume, node_id=self.offer.node_id, boot_id=self.offer.boot_id))
        while True:
            self._changed.clear()
            node = self._fleet.state.nodes.get(self.offer.node_id)
            if node is not None and node.status == "draining" and node.boot_id == self.offer.boot_id:
                if not self.loop.target:
                    self._has_left = True
                    leave = self._identity("leave", node.position)
                    await self._insist(LeaveNode(**leave, node_id=self.offer.node_id, reason="drained"))
                    continue
            elif not (self._has_left and node is not None and node.status == "left") and not self._is_joined(node):
                identity = self._identity("join", node.position if node else 0)
                await self._insist(JoinNode(**identity, **msgspec.structs.asdict(self.offer)))
                _log.info("joined", node=self.offer.node_id, isolation=self.offer.isolation)
                continue
            await self._changed.wait()

    def _is_joined(self, node: Member | None) -> bool:
        if node is None or node.status != "up":
            return False
        known = (
            node.boot_id,
            node.host,
            node.cpu_millicores,
            node.memory_bytes,
            node.isolation,
            node.weights_address,
        )
        return known == msgspec.structs.astuple(self.offer)[1:]

    async def _tell_corrupt(self) -> None:
        """What a peer or the mirror has is told once, however often it is met; this disk's own each time."""
        told: set[Corrupt] = set()
        number = 0
        while True:
            found = await self._corrupt.get()
            if found.tier != "node" and found in told:
                continue
            told.add(found)
            number += 1
            while self.offer.node_id not in self._fleet.state.nodes:
                self._changed.clear()
                await self._changed.wait()
            report = ReportWeightsCorrupt(
                **self._identity("corrupt", number),
                node_id=self.offer.node_id,
                chunk=found.chunk,
                tier=found.tier,
                source=found.source,
            )
            await self._insist(report)

    async def _beat(self) -> None:
        while True:
            beat = Heartbeat(node_id=self.offer.node_id, boot_id=self.offer.boot_id, at=self._clock.now())
            await self._signals.publish(beat)
            await asyncio.sleep(self._heartbeat_every_s)

    async def _insist(self, command: Command) -> None:
        """Until the log has taken it and we have seen it."""
        while True:
            try:
                outcome = await self._dispatch(command)
            except (LogUnavailable, Contended) as error:
                _log.warning("asked again later", command=type(command).__name__, why=str(error))
                await asyncio.sleep(_AGAIN_S)
                continue
            await self._fleet.reached(outcome.position)
            return

    def _identity(self, *label: str | int) -> dict[str, Any]:
        name = derive("node", self.offer.node_id, self._incarnation, *label, length=24)
        return {
            "id": CommandId(name),
            "actor": Actor(f"agent:{self.offer.node_id}", "internal"),
            "correlation_id": CorrelationId(name),
        }
