"""Any state at any moment: what a fold from zero gives, however the replay gets there."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.base import ORIGIN, Position
from events.codec import Recorded, event_type
from events.log.closed import ClosedLog
from ops import replay
from ops.past import NoSuchPosition, Past
from ops.replay import VIEWS, Replay, difference, part_in, position_of, snapshot_at, state_at
from projections.base import fold
from projections.diff import Tree, apply, diff, part_about
from projections.entities import entities
from projections.routing import ROUTING
from projections.stores.kept import KeptSnapshots
from projections.view import View
from tests.histories import START, copied, random_history, two_versions_of_iris
from tests.properties.history import history as simulated

choices = st.lists(st.integers(0, 63), max_size=25)


@settings(max_examples=30, deadline=None)
@given(choices, st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_state_reached_in_steps_equals_a_fold_from_zero(picks: list[int], first: int, second: int) -> None:
    async def check() -> None:
        events = await random_history(picks)
        log = await copied(events)
        a, b = sorted(Position(each % (len(events) + 1)) for each in (first, second))
        for name, (projection, shown) in VIEWS.items():
            steps = Replay(log, name)
            assert (await steps.to(a)).state == shown(fold(projection, events[:a]))
            reached = await steps.to(b)
            assert reached.state == shown(fold(projection, events[:b]))
            assert reached == await snapshot_at(log, name, b)
            assert (await difference(log, name, a, a))[2] == ()
            there, back = (await difference(log, name, a, b))[2], (await difference(log, name, b, a))[2]
            assert apply((await snapshot_at(log, name, a)).state, there) == reached.state
            assert apply(reached.state, back) == (await snapshot_at(log, name, a)).state
            assert (await difference(log, name, b, a))[2] == diff(
                reached.state, (await snapshot_at(log, name, a)).state
            )

    asyncio.run(check())


@settings(max_examples=20, deadline=None)
@given(choices)
def test_every_event_moves_a_replay_as_it_moves_the_live_fold(picks: list[int]) -> None:
    async def check() -> None:
        events = await random_history(picks)
        log = await copied(events)
        stepwise = Replay(log, "routing")
        for recorded in events:
            await stepwise.to(recorded.position)
        assert await stepwise.to(Position(len(events))) == await snapshot_at(log, "routing")

    asyncio.run(check())


async def test_a_log_longer_than_a_piece_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "CHUNK", 4)
    log = await two_versions_of_iris()
    events = await log.read()
    assert len(events) > 4 * 4
    assert (await snapshot_at(log, "fleet")).state == VIEWS["fleet"][1](fold(VIEWS["fleet"][0], events))
    assert await position_of(log, events[1].meta.at) == 2


async def test_a_time_means_all_that_had_been_decided_by_then() -> None:
    log = await two_versions_of_iris()
    events = await log.read()
    for recorded in events:
        at = recorded.meta.at
        last = max(each.position for each in events if each.meta.at <= at)
        assert await position_of(log, at) == last
        assert await position_of(log, at + timedelta(microseconds=1)) == last
    assert await position_of(log, START - timedelta(days=1)) == ORIGIN
    assert await position_of(log, START + timedelta(days=99)) == len(events)
    assert await position_of(log, datetime.max.replace(tzinfo=UTC)) == len(events)


async def test_a_position_beyond_the_log_is_refused_and_says_where_it_ends() -> None:
    log = await two_versions_of_iris()
    head = await log.head()
    with pytest.raises(NoSuchPosition, match=f"ends at position {head}"):
        await snapshot_at(log, "routing", Position(head + 1))
    assert (await snapshot_at(log, "routing", ORIGIN)).state == {
        "models": {},
        "deployments": {},
        "draining": [],
        "names": {},
    }


async def test_the_routing_table_before_and_after_a_promotion_differs_by_the_environment() -> None:
    log = await two_versions_of_iris()
    completed = [each.position for each in await log.read() if event_type(each.event) == "PromotionCompleted"][-1]
    _, _, changes = await difference(log, "routing", Position(completed - 1), Position(completed))
    (change,) = (each for each in changes if each.path[2:] == ("environments", "production"))
    assert all(each.path[0] == "models" for each in changes)
    table = await state_at(log, ROUTING, Position(completed))
    assert change.after == next(iter(table.models.values())).environments["production"]


async def test_a_replica_is_shown_in_every_view_that_knows_it() -> None:
    log = await two_versions_of_iris()
    ready = [each for each in await log.read() if event_type(each.event) == "ReplicaReady"][-1]
    shown = (await snapshot_at(log, ready.stream.id)).state
    assert set(shown) == {"routing", "targets", "fleet", "deployments"}
    assert shown["fleet"]["replicas"][ready.stream.id]["phase"] == "ready"
    before_it = await snapshot_at(log, ready.stream.id, Position(1))
    assert before_it.state == {}


@settings(max_examples=20, deadline=None)
@given(choices)
def test_the_part_of_an_entity_is_the_part_of_the_whole_state(picks: list[int]) -> None:
    events = asyncio.run(random_history(picks))
    ids = {each for recorded in events for each in entities(recorded.stream, recorded.event)}
    assert_parts(events, ids)


def test_the_part_of_a_node_says_nothing_of_other_nodes() -> None:
    events = simulated(0)
    nodes = {each.stream.id for each in events if each.stream.category == "node"}
    assert len(nodes) > 1
    assert_parts(events, nodes)


def assert_parts(events: tuple[Recorded, ...], ids: set[str]) -> None:
    for name, (projection, shown) in VIEWS.items():
        state = fold(projection, events)
        for entity in sorted(ids):
            assert part_in(name, state, entity) == part_about(shown(state), entity)


@pytest.fixture(params=[0, 1, 2])
def events(request: pytest.FixtureRequest) -> tuple[Recorded, ...]:
    """The simulator has a loop of its own, so it runs before that of the test."""
    return simulated(request.param)


async def test_an_entity_looks_the_same_from_a_kept_state_and_from_zero(
    tmp_path: Path, events: tuple[Recorded, ...]
) -> None:
    whole, kept = ClosedLog(ORIGIN, events), KeptSnapshots(tmp_path)
    middle = len(events) // 2
    views = [View(projection) for projection, _ in VIEWS.values()]
    for view in views:
        view.fold(events[:middle])
    await kept.save(views)
    ids = {each for recorded in events for each in entities(recorded.stream, recorded.event)}
    for entity in sorted(ids):
        at = Position(middle + len(entity) * 7 % (len(events) - middle))
        found = await snapshot_at(Past(whole, kept), entity, at)
        assert found == await snapshot_at(whole, entity, at)
    assert (await snapshot_at(Past(whole, kept), None)).state == (await snapshot_at(whole, None)).state


@settings(max_examples=20, deadline=None)
@given(choices)
def test_a_state_is_shown_in_one_order_whatever_the_order_in_its_sets(picks: list[int]) -> None:
    events = asyncio.run(random_history(picks))
    for projection, shown in VIEWS.values():
        state = fold(projection, events)
        tree = shown(state)
        for deployment in tree.get("deployments", {}).values():
            if isinstance(deployment, dict):
                deployment.pop("status", None)  # worked out, and not in the state
        assert in_order(tree) == in_order(msgspec.to_builtins(state, order="deterministic"))


def in_order(tree: Tree) -> bytes:
    """Mappings are the same in any order; lists are not."""
    return msgspec.json.encode(tree, order="sorted")
