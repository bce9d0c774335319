"""Steps: each event with all that it changed and nothing else, forwards and back."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.log.closed import ClosedLog
from events.model import DeploymentPushed
from ops.past import Past
from ops.replay import VIEWS, snapshot_at, within
from ops.stepping import Stepped, Walk, Walked, steps
from projections.diff import Change, apply, diff, diff_about
from projections.entities import entities
from projections.stores.kept import KeptSnapshots
from projections.view import View
from tests.histories import copied, random_history, two_versions_of_iris
from tests.properties.history import history as simulated

choices = st.lists(st.integers(0, 63), max_size=20)


@settings(max_examples=20, deadline=None)
@given(choices, st.integers(0, 10**6), st.sampled_from([None, "routing", "fleet", "deployments"]))
def test_the_changes_of_all_steps_lead_from_the_first_state_to_the_last(
    picks: list[int], begin: int, what: str | None
) -> None:
    async def check() -> None:
        events = await random_history(picks)
        log = await copied(events)
        after = Position(begin % (len(events) + 1))
        state = (await snapshot_at(log, what, after)).state
        seen: list[Position] = []
        async for step in steps(log, what, after, Position(len(events))):
            state = apply(state, step.changes)
            seen.append(step.event.position)
            assert state == (await snapshot_at(log, what, step.event.position)).state
        assert what is not None or seen == list(range(after + 1, len(events) + 1))
        assert state == (await snapshot_at(log, what)).state

    asyncio.run(check())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_step_has_the_whole_difference_and_nothing_else(seed: int) -> None:
    """Of everything, of each view, and of things of every kind."""

    events = simulated(seed)

    async def check() -> None:
        log = ClosedLog(ORIGIN, events)
        kinds = {each.stream.category: each.stream.id for each in reversed(events)}
        deployment = next(each.event.deployment_id for each in events if isinstance(each.event, DeploymentPushed))
        whole = {None: VIEWS} | {name: {name: view} for name, view in VIEWS.items()}
        for what in (None, *VIEWS, *kinds.values(), deployment):
            views, walk = whole.get(what, VIEWS), Walk(log, what)
            await walk.begin(ORIGIN)
            states = {name: projection.initial() for name, (projection, _) in views.items()}
            trees = {name: shown(states[name]) for name, (_, shown) in views.items()}
            for recorded in events:
                expected: list[Change] = []
                for name, (projection, shown) in views.items():
                    states[name] = projection.evolve(states[name], recorded)
                    before, trees[name] = trees[name], shown(states[name])
                    found = (
                        diff(before, trees[name])
                        if what is None or what in whole
                        else diff_about(before, trees[name], what)
                    )
                    expected += within(name, found) if len(views) > 1 else found
                assert list(walk.on(recorded)) == expected, (what, recorded.position)

    asyncio.run(check())


@pytest.fixture(params=[0, 1])
def lived(request: pytest.FixtureRequest) -> tuple[Recorded, ...]:
    """The simulator has a loop of its own, so it runs before that of the test."""
    return simulated(request.param)


async def test_steps_from_a_kept_state_are_those_from_zero(lived: tuple[Recorded, ...], tmp_path: Path) -> None:
    whole, kept, middle = ClosedLog(ORIGIN, lived), KeptSnapshots(tmp_path), Position(len(lived) // 2)
    views = [View(projection) for projection, _ in VIEWS.values()]
    for view in views:
        view.fold(lived[:middle])
    await kept.save(views)
    ids = {each for recorded in lived for each in entities(recorded.stream, recorded.event)}
    for what in (None, "targets", *sorted(ids)[::3]):
        here, there = Walk(Past(whole, kept), what), Walk(whole, what)
        await here.begin(middle)
        await there.begin(middle)
        for recorded in lived[middle:]:
            assert here.on(recorded) == there.on(recorded), (what, recorded.position)


async def test_steps_of_one_thing_are_those_that_concern_or_change_it() -> None:
    log = await two_versions_of_iris()
    head = await log.head()
    replica = next(each.stream.id for each in await log.read() if each.stream.category == "replica")
    found = [each async for each in steps(log, replica, ORIGIN, head)]
    assert found[0].event.type == "ReplicaAssigned" and found[-1].event.type == "ReplicaStopped"
    assert all(each.changes or replica in each.event.entities for each in found)
    assert any(change.path[0] == "routing" for each in found for change in each.changes)


async def test_one_goes_back_over_what_one_has_seen_and_stays_at_both_ends() -> None:
    log = await two_versions_of_iris()
    walked = Walked(steps(log, None, Position(1), Position(3)))
    assert walked.previous() is None
    seen: list[Stepped] = []
    while (step := await walked.next()) is not None:
        seen.append(step)
    assert walked.number == len(seen) == 2 and await walked.next() is None
    assert walked.previous() == seen[-2] and await walked.next() == seen[-1]
    while walked.previous() is not None:
        pass
    assert walked.number == 1
