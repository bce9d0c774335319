"""Whom a node asks for a chunk: everybody names the same owners, and changes move little."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as some

from agents.weights.manifest import Chunk, chunk_hash
from agents.weights.owners import OUT_SLOWEST_S, Standing, asked, owners, served, struck
from events.base import NodeId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NODES = some.frozensets(some.sampled_from([NodeId(f"n{number}") for number in range(9)]), min_size=1)
CHUNKS = some.binary(max_size=8).map(lambda body: Chunk(chunk_hash(body), 1))


@given(CHUNKS, NODES)
def test_everybody_names_the_same_owners(chunk: Chunk, nodes: frozenset[NodeId]) -> None:
    named = owners(chunk.hash, nodes)
    assert named == owners(chunk.hash, sorted(nodes, reverse=True))
    assert len(named) == len(set(named)) == min(2, len(nodes)) and set(named) <= nodes


@given(CHUNKS, NODES)
def test_a_node_that_goes_moves_only_what_it_owned(chunk: Chunk, nodes: frozenset[NodeId]) -> None:
    everyone = owners(chunk.hash, nodes, len(nodes))
    for gone in nodes:
        assert owners(chunk.hash, nodes - {gone}, len(nodes)) == tuple(each for each in everyone if each != gone)


@given(CHUNKS, NODES)
def test_only_one_node_reads_the_mirror_and_nobody_waits_in_a_circle(chunk: Chunk, nodes: frozenset[NodeId]) -> None:
    paths = {me: asked(chunk, me, nodes, {}, NOW) for me in nodes}
    assert [me for me, peers in paths.items() if not peers] == [owners(chunk.hash, nodes)[0]]
    for me, peers in paths.items():
        assert me not in peers
        for peer in peers:
            assert me not in paths[peer]


def test_shares_are_even() -> None:
    nodes = [NodeId(f"n{number}") for number in range(4)]
    first = [owners(chunk_hash(str(number).encode()), nodes)[0] for number in range(2000)]
    assert all(400 < first.count(node) < 600 for node in nodes)


def test_a_peer_that_failed_is_left_alone_longer_each_time_and_forgiven_when_it_serves() -> None:
    a, b = NodeId("a"), NodeId("b")
    chunk = next(
        each for number in range(99) if owners((each := Chunk(chunk_hash(bytes([number])), 1)).hash, {a, b})[0] == a
    )
    standing: Standing = {}
    moment, pauses = NOW, []
    for _ in range(12):
        standing = struck(standing, a, moment)
        assert struck(standing, a, moment) is standing, "one fault seen by several counts once"
        pauses.append((standing[a].until - moment).total_seconds())
        assert asked(chunk, b, {a, b}, standing, moment) == ()
        moment = standing[a].until
        assert asked(chunk, b, {a, b}, standing, moment) == (a,)
    assert pauses[:4] == [1, 2, 4, 8] and max(pauses) == OUT_SLOWEST_S
    assert served(standing, a) == {} and served(standing, b) is standing
    assert asked(chunk, b, {a, b}, standing, moment - timedelta(seconds=1)) == ()
