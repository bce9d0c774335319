"""Admission and balance, pure: who gets a slot, who waits, and in what order they go."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from events.base import DeploymentId, ModelId, ReplicaId
from gateway.addresses import Target
from gateway.choose import Park, Route, Unroutable, choose
from gateway.errors import Problem
from gateway.parking import Parking, Rank
from projections.routing import DeploymentRoutes, ModelRoutes, ReplicaRoute, RoutingTable

MODEL, ONE = ModelId("m"), DeploymentId("d")
PRODUCTION, BY_ID = Target(MODEL, "environment", "production"), Target(MODEL, "deployment", ONE)
NAMES = st.integers(0, 5).map(lambda n: ReplicaId(f"r{n}"))


def table(replicas: int, limit: int) -> RoutingTable:
    routes = {ReplicaId(f"r{n}"): ReplicaRoute(ReplicaId(f"r{n}"), f"h:{n}") for n in range(replicas)}
    deployment = DeploymentRoutes(MODEL, ONE, False, limit, replicas=routes)
    return RoutingTable({MODEL: ModelRoutes(MODEL, "iris", {"production": ONE}, None, {ONE})}, {ONE: deployment})


class Now:
    def __init__(
        self,
        in_flight: dict[ReplicaId, int],
        avoided: set[ReplicaId] = frozenset(),  # type: ignore[assignment]
        resting: set[ReplicaId] = frozenset(),  # type: ignore[assignment]
        turn: int = 0,
    ) -> None:
        self.in_flight, self.avoided, self.resting, self.turn = in_flight, avoided, resting, turn
        self.waiting: set[DeploymentId] = set()


LOADS = st.builds(Now, st.dictionaries(NAMES, st.integers(0, 4)), st.sets(NAMES), st.sets(NAMES), st.integers(0, 10**9))


@given(st.integers(1, 6), st.integers(1, 4), LOADS, st.none() | st.binary(min_size=1, max_size=20))
def test_no_replica_gets_more_than_its_limit_and_nobody_waits_while_there_is_room(
    replicas: int, limit: int, load: Now, affinity: bytes | None
) -> None:
    routes = table(replicas, limit)
    choice = choose(routes, PRODUCTION, load, affinity=affinity)
    names = set(routes.deployments[ONE].replicas)
    free = {name for name in names if load.in_flight.get(name, 0) < limit}
    if isinstance(choice, Route):
        assert choice.replica.replica_id in free
        standing = free - load.resting
        assert choice.replica.replica_id in standing or not names - load.resting or replicas == 1
        assert choice.replica.replica_id not in load.avoided or not standing - load.avoided
    else:
        assert choice == Park(ONE, full=True)
        assert not free - load.resting


def test_who_comes_between_the_first_ready_replica_and_its_promotion_waits_for_it() -> None:
    routes = table(1, 1)
    routes.models[MODEL].environments["production"] = None
    assert choose(routes, PRODUCTION, Now({})) == Park(ONE)
    assert isinstance(choose(routes, Target(MODEL, "environment", "staging"), Now({})), Unroutable)
    routes.deployments[ONE].replicas.clear()
    assert isinstance(choose(routes, PRODUCTION, Now({})), Unroutable)


@given(st.integers(2, 6), st.binary(min_size=1, max_size=20), NAMES)
def test_an_affinity_stays_with_its_replica_until_that_is_full_or_gone(
    replicas: int, affinity: bytes, other: ReplicaId
) -> None:
    routes = table(replicas, 2)
    chosen = choose(routes, PRODUCTION, Now({}), affinity=affinity)
    assert isinstance(chosen, Route)
    home = chosen.replica.replica_id
    for turn in range(3):
        again = choose(routes, PRODUCTION, Now({home: 1}, turn=turn), affinity=affinity)
        assert again == chosen
    elsewhere = choose(routes, PRODUCTION, Now({home: 2}), affinity=affinity)
    assert isinstance(elsewhere, Route) and elsewhere.replica.replica_id != home
    if other != home and other in routes.deployments[ONE].replicas:
        del routes.deployments[ONE].replicas[other]
        assert choose(routes, PRODUCTION, Now({}), affinity=affinity) == chosen, "others' leaving moves nobody"


def test_affinities_spread_over_all_replicas() -> None:
    routes = table(4, 1000)
    chosen = [choose(routes, PRODUCTION, Now({}), affinity=b"%d" % n) for n in range(400)]
    homes = [choice.replica.replica_id for choice in chosen if isinstance(choice, Route)]
    assert min(homes.count(ReplicaId(f"r{n}")) for n in range(4)) > 60


def test_who_comes_while_others_wait_waits_behind_them() -> None:
    load = Now({})
    load.waiting.add(ONE)
    assert choose(table(1, 1), PRODUCTION, load) == Park(ONE, full=True)
    assert isinstance(choose(table(1, 1), PRODUCTION, load, turn_has_come=True), Route)


def test_equals_take_turns() -> None:
    routes = table(3, 5)
    chosen = [choose(routes, PRODUCTION, Now({}, turn=turn)) for turn in range(6)]
    assert [choice.replica.replica_id for choice in chosen if isinstance(choice, Route)] == ["r0", "r1", "r2"] * 2


class Waiter:
    """A request that takes a slot when its turn has come."""

    def __init__(self, parking: Parking, load: Now, routes: RoutingTable, gone: list[Rank]) -> None:
        self.parking, self.load, self.routes, self.gone = parking, load, routes, gone

    def park(self, rank: Rank, target: Target) -> None:
        ticket = self.parking.park(rank, target, self, ONE)
        assert not isinstance(ticket, Problem)
        self.ticket = ticket

    def unparked(self) -> None:
        self.parking.leave(self.ticket)
        choice = choose(self.routes, self.ticket.target, self.load, turn_has_come=True)
        assert isinstance(choice, Route)
        name = choice.replica.replica_id
        self.load.in_flight[name] = self.load.in_flight.get(name, 0) + 1
        self.gone.append(self.ticket.rank)

    def moved(self, deployment_id: DeploymentId) -> None: ...


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_slots_go_to_sync_before_async_and_then_by_arrival_however_they_were_addressed(
    asked: list[tuple[bool, bool]], chance: Random, replicas: int, limit: int
) -> None:
    routes, load, gone = table(replicas, limit), Now({}), list[Rank]()
    parking = Parking(100, 100)
    ranks = [(asynchronous, arrival) for arrival, (asynchronous, _) in enumerate(asked)]
    for at in chance.sample(range(len(asked)), len(asked)):
        Waiter(parking, load, routes, gone).park(ranks[at], BY_ID if asked[at][1] else PRODUCTION)

    def chosen(target: Target) -> object:
        return choose(routes, target, load, turn_has_come=True)

    parking.freed(ONE, chosen)  # type: ignore[arg-type]
    assert len(gone) == min(len(asked), replicas * limit)
    while parking.count:
        before = len(gone)
        name = chance.choice(sorted(name for name, count in load.in_flight.items() if count))
        load.in_flight[name] -= 1
        parking.freed(ONE, chosen)  # type: ignore[arg-type]
        assert len(gone) == before + 1, "one slot, one request"
        assert max(load.in_flight.values()) <= limit
    assert gone == sorted(ranks)
