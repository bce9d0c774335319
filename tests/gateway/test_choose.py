"""Admission and balance, pure: who gets a slot, who waits, and in what order they go."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from events.base import DeploymentId, ModelId, ReplicaId
from gateway.addresses import Target
from gateway.choose import Park, Route, Unroutable, affinity_of, choose
from gateway.errors import Problem
from gateway.parking import Parking, Rank
from projections.routing import Candidate, DeploymentRoutes, ModelRoutes, ReplicaRoute, RoutingTable

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
        self.waiting_elsewhere: set[DeploymentId] = set()


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


# An environment whose traffic is shared by two


OTHER = DeploymentId("e")


def shared(percent: int, current: int = 2, candidate: int = 2, limit: int = 1) -> RoutingTable:
    routes = table(current, limit)
    replicas = {ReplicaId(f"e{n}"): ReplicaRoute(ReplicaId(f"e{n}"), f"h:9{n}") for n in range(candidate)}
    routes.deployments[OTHER] = DeploymentRoutes(MODEL, OTHER, False, limit, replicas=replicas)
    routes.models[MODEL].deployments.add(OTHER)
    routes.models[MODEL].candidates["production"] = Candidate(OTHER, percent, promoted=True)
    return routes


@given(st.integers(0, 99), st.integers(0, 10**9))
def test_of_a_hundred_requests_the_candidate_gets_its_share_exactly(percent: int, turn: int) -> None:
    routes = shared(percent)
    chosen = [choose(routes, PRODUCTION, Now({}, turn=turn + n)) for n in range(100)]
    assert sum(isinstance(each, Route) and each.deployment_id == OTHER for each in chosen) == percent


@given(st.integers(0, 99), st.integers(0, 99), st.binary(min_size=1, max_size=20))
def test_a_session_stays_with_one_version_and_changes_over_at_most_once(low: int, more: int, said: bytes) -> None:
    """As the share grows."""
    affinity = affinity_of(said)
    before, after = (choose(shared(each), PRODUCTION, Now({}), affinity=affinity) for each in (low, max(low, more)))
    assert isinstance(before, Route) and isinstance(after, Route)
    assert before.deployment_id == after.deployment_id or after.deployment_id == OTHER


@given(st.integers(1, 99), LOADS, st.booleans())
def test_nobody_waits_while_one_of_the_two_has_room(percent: int, load: Now, turn_has_come: bool) -> None:
    choice = choose(shared(percent, current=1, candidate=1), PRODUCTION, load, turn_has_come=turn_has_come)
    if load.in_flight.get(ReplicaId("r0"), 0) and not isinstance(choice, Park):
        assert choice == Route(OTHER, ReplicaRoute(ReplicaId("e0"), "h:90"), OTHER if percent >= 50 else ONE)
    assert isinstance(choice, Route)


def test_who_waits_stands_in_one_line_that_of_the_larger_share() -> None:
    full = {ReplicaId(name): 1 for name in ("r0", "r1", "e0", "e1")}
    assert choose(shared(20), PRODUCTION, Now(full)) == Park(ONE, full=True)
    assert choose(shared(80), PRODUCTION, Now(full)) == Park(OTHER, full=True)
    some_wait = Now({})
    some_wait.waiting = {ONE}
    assert choose(shared(80), PRODUCTION, some_wait) == Park(OTHER, full=True), "behind those who came before"
    assert isinstance(choose(shared(80), PRODUCTION, some_wait, turn_has_come=True), Route)


def test_a_candidate_without_replicas_or_without_a_share_gets_nothing() -> None:
    for routes in (shared(90, candidate=0), shared(0)):
        chosen = [choose(routes, PRODUCTION, Now({}, turn=n)) for n in range(100)]
        assert all(isinstance(each, Route) and each.deployment_id == ONE for each in chosen)
    assert choose(shared(0, current=0), PRODUCTION, Now({})) == Park(ONE)
    chosen_alone = choose(shared(5, current=0), PRODUCTION, Now({}))
    assert isinstance(chosen_alone, Route) and chosen_alone.deployment_id == OTHER


def test_a_share_is_of_the_environment_alone() -> None:
    by_id = [choose(shared(99), BY_ID, Now({}, turn=n)) for n in range(100)]
    assert all(isinstance(each, Route) and each.deployment_id == ONE for each in by_id)


def test_an_environment_that_is_about_to_get_its_first_deployment_lets_requests_wait_for_it() -> None:
    routes = table(2, 1)
    staging = Target(MODEL, "environment", "staging")
    routes.models[MODEL].environments["staging"] = None
    assert isinstance(choose(routes, staging, Now({})), Unroutable)
    routes.models[MODEL].candidates["staging"] = Candidate(ONE)
    assert choose(routes, staging, Now({})) == Park(ONE), "it has replicas, and is not to answer before the switch"
    routes.deployments[ONE].refusal = "the build failed"
    assert isinstance(choose(routes, staging, Now({})), Unroutable)


def test_after_a_change_of_shares_all_stand_in_the_line_of_the_larger_one() -> None:
    parking, routes = Parking(10, 1000), shared(20)
    for number in range(3):
        parking.park((False, number), PRODUCTION, Waiting(), ONE)
    routes.models[MODEL].candidates["production"] = Candidate(OTHER, 80, promoted=True)
    parking.follow(lambda target: choose(routes, target, Now({}), turn_has_come=True))
    assert list(parking.lots) == [OTHER]


class Waiting:
    def unparked(self) -> None:
        raise AssertionError("it is not its turn")

    def moved(self, deployment_id: DeploymentId) -> None:
        self.moved_to = deployment_id
