"""No node holds more than it offers.

Two control processes that place at once may overfill one for a moment (nothing but the fleet's view guards a node):
then, and only then, it must be relieved.
"""

from events.base import NodeId
from events.codec import Recorded
from projections.fleet import FLEET, Fleet
from tests.sim.checkers.base import Checker, Violation


class NoNodeAboveCapacity(Checker):
    def __init__(self) -> None:
        self.fleet = Fleet()
        self.several_place = False
        self._overfull: set[NodeId] = set()

    def see(self, recorded: Recorded) -> None:
        self.fleet = FLEET.evolve(self.fleet, recorded)

    def commit(self) -> None:
        overfull: set[NodeId] = set()
        for node in self.fleet.nodes.values():
            own = [each for each in self.fleet.replicas.values() if each.node_id == node.node_id]
            cpu, memory = sum(r.cpu_millicores for r in own), sum(r.memory_bytes for r in own)
            if cpu > node.cpu_millicores or memory > node.memory_bytes:
                if not self.several_place and node.node_id not in self._overfull:
                    raise Violation(f"{node.node_id} holds {len(own)} replicas: {cpu} millicores, {memory} bytes")
                overfull.add(node.node_id)
            if (cpu, memory) != (node.cpu_used, node.memory_used):
                raise Violation(f"{node.node_id}: the fold counts {node.cpu_used}, its replicas add up to {cpu}")
        self._overfull = overfull
