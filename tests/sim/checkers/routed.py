"""A replica that may be routed to is ready, not draining, and at the address that its agent gave."""

from events.codec import Recorded
from projections.fleet import FLEET, Fleet
from projections.routing import ROUTING, RoutingTable
from tests.sim.checkers.base import Checker, Violation


class RoutedReplicasAreReady(Checker):
    def __init__(self) -> None:
        self.fleet, self.table = Fleet(), RoutingTable()

    def see(self, recorded: Recorded) -> None:
        self.fleet = FLEET.evolve(self.fleet, recorded)
        self.table = ROUTING.evolve(self.table, recorded)

    def commit(self) -> None:
        for deployment in self.table.deployments.values():
            for route in deployment.replicas.values():
                placed = self.fleet.replicas.get(route.replica_id)
                if placed is None or placed.phase != "ready" or placed.draining or placed.address != route.address:
                    raise Violation(f"{route} is routed to, but the fleet says {placed}")
