"""The pure half: addresses, choosing, framing, keys."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.base import DeploymentId, KeyId, ModelId, ReplicaId
from gateway.addresses import Address, Target, parse
from gateway.choose import Park, Route, Unroutable, choose
from gateway.circuit import Circuits, CircuitSettings
from gateway.dataplane.framing import LAST_CHUNK, BadFraming, Chunked, Sized, chunk
from gateway.dataplane.heads import BadHead, read_request
from gateway.errors import Problem
from gateway.keys import KeyRefused, check, hash_of, identify
from gateway.load import Loads
from gateway.parking import Parking, Ticket
from gateway.resolve import resolve
from projections.access import Access, Key
from projections.routing import DeploymentRoutes, ModelRoutes, ReplicaRoute, RoutingTable

IDS = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=1, max_size=12)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz-_0123456789", min_size=1, max_size=12)
PREFIXES = st.one_of(
    st.just(("", "environment", "production")),
    st.just(("/production", "environment", "production")),
    st.just(("/development", "development", "")),
    NAMES.map(lambda name: (f"/environments/{name}", "environment", name)),
    IDS.map(lambda name: (f"/deployment/{name}", "deployment", name)),
)
VERBS = st.sampled_from(
    [
        ("/predict", "predict", "/v1/models/model:predict"),
        ("/wake", "wake", ""),
        ("/sync/a/b", "sync", "/a/b"),
        ("/sync", "sync", "/"),
        ("/websocket", "websocket", "/v1/websocket"),
        ("/v1/chat/completions", "openai", "/v1/chat/completions"),
    ]
)


@given(IDS, PREFIXES, VERBS, st.booleans())
def test_both_forms_of_an_address_mean_the_same(
    model: str, prefix: tuple[str, str, str], verb: tuple[str, str, str], port: bool
) -> None:
    path = prefix[0] + verb[0]
    by_host = parse("POST", f"Model-{model}.Plane.example{':8000' if port else ''}", path, "plane.example")
    by_path = parse("POST", "anything", f"/model-{model}{path}", "plane.example")
    target = Target(ModelId(model), prefix[1], prefix[2])  # type: ignore[arg-type]
    assert by_host == by_path == Address(target, verb[1], verb[2])  # type: ignore[arg-type]


@given(IDS, NAMES.filter(lambda name: not name.startswith("-")), VERBS)
def test_a_host_may_name_the_environment(model: str, environment: str, verb: tuple[str, str, str]) -> None:
    found = parse("POST", f"model-{model}-{environment}.x.y", verb[0], "x.y")
    assert isinstance(found, Address)
    assert found.target == Target(ModelId(model), "environment", environment)
    other = parse("POST", f"model-{model}-{environment}.x.y", "/development" + verb[0], "x.y")
    assert isinstance(other, Problem) and other.status == 404


@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from(["GET", "POST", "PUT"]))
def test_no_host_or_path_confuses_the_parser(host: str, path: str, method: str) -> None:
    found = parse(method, host, "/" + path, "localhost")
    if not path.startswith("model-") and not host.lower().startswith("model-"):
        assert found is None


@pytest.mark.parametrize("target", ["/v1/models", "/graphql/", "/s3/model-a/x", "/models/model-1", "/", "*"])
def test_what_names_no_model_is_left_to_the_control_plane(target: str) -> None:
    assert parse("GET", "localhost:8000", target, "localhost") is None


class Now:
    """The load at a moment."""

    def __init__(self, in_flight: dict[ReplicaId, int], avoided: set[ReplicaId], turn: int) -> None:
        self.in_flight, self.avoided, self.turn = in_flight, avoided, turn
        self.resting: set[ReplicaId] = set()
        self.waiting: set[DeploymentId] = set()
        self.waiting_elsewhere: set[DeploymentId] = set()


MODEL, ONE = ModelId("m"), DeploymentId("d")
PRODUCTION = Target(MODEL, "environment", "production")


def table(replicas: int, **more: object) -> RoutingTable:
    routes = {ReplicaId(f"r{n}"): ReplicaRoute(ReplicaId(f"r{n}"), f"h:{n}") for n in range(replicas)}
    deployment = DeploymentRoutes(MODEL, ONE, False, 10, replicas=routes)
    for name, value in more.items():
        setattr(deployment, name, value)
    model = ModelRoutes(MODEL, "iris", {"production": ONE, "empty": None}, None, {ONE})
    return RoutingTable({MODEL: model}, {ONE: deployment})


LOADS = st.builds(
    Now,
    st.dictionaries(st.integers(0, 5).map(lambda n: ReplicaId(f"r{n}")), st.integers(0, 9)),
    st.sets(st.integers(0, 5).map(lambda n: ReplicaId(f"r{n}"))),
    st.integers(0, 10**9),
)


@given(st.integers(1, 5), LOADS)
def test_the_least_busy_of_the_trusted_replicas_is_chosen(replicas: int, load: Now) -> None:
    routes = table(replicas)
    choice = choose(routes, PRODUCTION, load)
    assert isinstance(choice, Route)
    names = routes.deployments[ONE].replicas
    trusted = [name for name in names if name not in load.avoided] or list(names)
    assert choice.replica.replica_id in trusted
    least = min(load.in_flight.get(name, 0) for name in trusted)
    assert load.in_flight.get(choice.replica.replica_id, 0) == least


@given(LOADS)
def test_a_request_waits_only_where_a_replica_may_come(load: Now) -> None:
    assert choose(table(0), PRODUCTION, load) == Park(ONE)
    refused = choose(table(0, refusal="the build failed"), PRODUCTION, load)
    assert isinstance(refused, Unroutable) and refused.problem.status == 503
    assert "the build failed" in refused.problem.reason
    gone = choose(table(2, gone=True, refusal="the deployment is deactivated"), PRODUCTION, load)
    assert isinstance(gone, Unroutable) and gone.problem.status == 404


@given(st.builds(Target, IDS.map(ModelId), st.sampled_from(["environment", "development", "deployment"]), NAMES))
def test_every_target_is_a_deployment_or_a_problem_with_words(target: Target) -> None:
    found = resolve(table(1), target)
    assert isinstance(found, DeploymentRoutes) or (found.status == 404 and len(found.reason) > 20)


def cut(raw: bytes, at: list[int]) -> list[bytes]:
    edges = sorted({0, len(raw), *(each % (len(raw) + 1) for each in at)})
    return [raw[a:b] for a, b in itertools.pairwise(edges)]


@given(st.lists(st.binary(min_size=1, max_size=50)), st.binary(max_size=20), st.lists(st.integers(0, 999)))
def test_chunks_are_read_alike_however_they_are_cut(parts: list[bytes], after: bytes, edges: list[int]) -> None:
    raw = b"".join(chunk(part) for part in parts) + LAST_CHUNK
    body, payload, left = Chunked(), b"", b""
    for piece in cut(raw + after, edges):
        pieces, used = body.take(piece) if not body.done else ([], 0)
        payload += b"".join(pieces)
        left += piece[used:]
    assert (body.done, payload, left) == (True, b"".join(parts), after)


PLAIN_OR_NEARLY = st.lists(
    st.sampled_from(
        [chunk(b"a"), chunk(b"b" * 17), b"A\r\n0123456789\r\n", LAST_CHUNK, b"1;x\r\nc\r\n", b"01\r\nd\r\n", b"2\r\ne",
         b"\r\n", b"1\r\nfg\r\n", b"1\nh\r\n"]
    ),
    max_size=5,
)  # fmt: skip


@given(PLAIN_OR_NEARLY, PLAIN_OR_NEARLY)
def test_chunks_that_go_on_as_they_are_are_those_that_would_be_written_alike(
    before: list[bytes], then: list[bytes]
) -> None:
    body, arrived = Chunked(), b"".join(then)
    try:
        body.take(b"".join(before))
    except BadFraming:
        return
    size = None if body.done else body.plain(arrived)
    if size is not None:
        pieces, used = body.take(arrived)
        assert used == len(arrived) and not body.done
        assert b"".join(chunk(piece) for piece in pieces) == arrived.replace(b"A\r\n0", b"a\r\n0")
        assert sum(map(len, pieces)) == size


@given(st.binary(max_size=80), st.lists(st.integers(0, 999)))
def test_garbage_for_chunks_is_refused_or_read_alike_however_it_is_cut(raw: bytes, edges: list[int]) -> None:
    def read(pieces: list[bytes]) -> tuple[bytes, bool] | None:
        body, payload = Chunked(), b""
        try:
            for piece in pieces:
                if not body.done:
                    payload += b"".join(body.take(piece)[0])
        except BadFraming:
            return None
        return payload, body.done

    assert read([raw]) == read(cut(raw, edges))


@given(st.integers(0, 50), st.binary(max_size=100), st.lists(st.integers(0, 999)))
def test_a_sized_body_takes_what_is_its_own(length: int, raw: bytes, edges: list[int]) -> None:
    body, payload, left = Sized(length), b"", b""
    for piece in cut(raw, edges):
        pieces, used = body.take(piece) if not body.done else ([], 0)
        payload += b"".join(pieces)
        left += piece[used:]
    assert (payload, left, body.done) == (raw[:length], raw[length:], len(raw) >= length)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader_of_heads(raw: bytes) -> None:
    for head in (raw + b"\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\n" + raw + b"\r\n\r\n"):
        try:
            read_request(head)
        except BadHead as bad:
            assert 400 <= bad.problem.status < 600


def test_only_a_right_key_with_the_right_scope_comes_in() -> None:
    key = "k1.secret"
    access = Access({KeyId("k1"): Key(KeyId("k1"), "mine", hash_of(key), ("invoke",), "")})
    for good in ("Api-Key k1.secret", "Bearer k1.secret", "bearer  k1.secret"):
        assert check(access, good, "invoke").key_id == "k1"
        assert identify(access, good) is not None
    refusals: tuple[tuple[str | None, str, int], ...] = (
        (None, "invoke", 401),
        ("", "invoke", 401),
        ("k1.secret", "invoke", 401),
        ("Basic k1.secret", "invoke", 401),
        ("Bearer k1.secre", "invoke", 401),
        ("Bearer k1.", "invoke", 401),
        ("Bearer k2.secret", "invoke", 401),
        ("Bearer k1.secret", "manage", 403),
    )
    for header, scope, status in refusals:
        with pytest.raises(KeyRefused) as refused:
            check(access, header, scope)  # type: ignore[arg-type]
        assert refused.value.status == status


class Waiter:
    def __init__(self, parking: Parking, order: list[int]) -> None:
        self.parking, self.order = parking, order
        self.ticket: Ticket | None = None

    def park(self, arrival: int, target: Target) -> None:
        ticket = self.parking.park((False, arrival), target, self, ONE)
        assert isinstance(ticket, Ticket)
        self.ticket = ticket

    def unparked(self) -> None:
        assert self.ticket is not None
        self.parking.leave(self.ticket)
        self.order.append(self.ticket.rank[1])

    def moved(self, deployment_id: DeploymentId) -> None: ...


@given(st.permutations(range(8)), st.lists(st.booleans(), min_size=8, max_size=8))
def test_parked_requests_go_in_the_order_of_arrival_whatever_they_asked_for(
    arrivals: list[int], direct: list[bool]
) -> None:
    parking, order = Parking(100, 100), list[int]()
    for arrival, by_id in zip(arrivals, direct, strict=True):
        Waiter(parking, order).park(arrival, Target(MODEL, "deployment", ONE) if by_id else PRODUCTION)
    parking.freed(ONE, lambda target: Park(ONE))
    assert not order
    parking.freed(ONE, lambda target: choose(table(1), target, Now({}, set(), 0)))
    assert order == sorted(order) and len(order) == 8
    assert parking.count == 0


def test_load_is_told_at_once_for_the_first_request_and_the_first_parked_one_only() -> None:
    told: list[tuple[int, int]] = []
    loads = Loads(
        lambda deployment, busy: told.append((busy.in_flight, busy.parked)),
        Circuits(CircuitSettings()),
        Parking(10, 10),
        lambda: 0.0,
    )
    loads.enter(ONE, parked=False)
    loads.enter(ONE, parked=False)
    loads.enter(ONE, parked=True)
    loads.enter(ONE, parked=True)
    assert told == [(1, 0), (2, 1)]
    assert [(busy.in_flight, busy.parked) for _, busy in loads.tell()] == [(2, 2)]
    for parked in (True, True, False, False):
        loads.leave(ONE, parked=parked)
    assert [(each, busy.in_flight, busy.parked) for each, busy in loads.tell()] == [(ONE, 0, 0)]
    assert loads.tell() == []


def test_a_report_weighs_by_time_and_misses_no_request_that_was_shorter_than_a_tick() -> None:
    clock = [100.0]
    loads = Loads(lambda deployment, busy: None, Circuits(CircuitSettings()), Parking(10, 10), lambda: clock[0])
    loads.enter(ONE, parked=False)
    busy = loads.deployments[ONE]
    assert busy.told(100.0) == (0.0, 1, 0.0)
    clock[0] = 100.25
    loads.enter(ONE, parked=True)
    clock[0] = 100.5
    loads.leave(ONE, parked=True)
    loads.leave(ONE, parked=False)
    assert busy.told(101.0) == (0.75, 2, 1.0)
    assert busy.told(102.0) == (0.0, 0, 1.0)
