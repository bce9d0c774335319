"""No node holds more than it offers."""

from events.codec import Recorded
from projections.fleet import FLEET, Fleet
from tests.sim.checkers.base import Checker, Violation


class NoNodeAboveCapacity(Checker):
    def __init__(self) -> None:
        self.fleet = Fleet()

    def see(self, recorded: Recorded) -> None:
        self.fleet = FLEET.evolve(self.fleet, recorded)

    def commit(self) -> None:
        for node in self.fleet.nodes.values():
            own = [each for each in self.fleet.replicas.values() if each.node_id == node.node_id]
            cpu, memory = sum(r.cpu_millicores for r in own), sum(r.memory_bytes for r in own)
            if cpu > node.cpu_millicores or memory > node.memory_bytes:
                raise Violation(f"{node.node_id} holds {len(own)} replicas: {cpu} millicores, {memory} bytes")
            if (cpu, memory) != (node.cpu_used, node.memory_used):
                raise Violation(f"{node.node_id}: the fold counts {node.cpu_used}, its replicas add up to {cpu}")
