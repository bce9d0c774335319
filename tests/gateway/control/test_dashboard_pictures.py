"""What the dashboard draws, by its numbers: who was ready when, lanes of a graph, scales, what an event changed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from events.base import Actor, CommandId, CorrelationId, DeploymentId, EventId, Metadata, Position, StreamName
from events.codec import Recorded
from events.scaling import Grounds, ReplicaTargetRaised
from gateway.dashboard.axes import nice, ticks
from gateway.dashboard.changes import changes
from gateway.dashboard.chart import story
from gateway.dashboard.graph import family, placed
from gateway.dashboard.moment import World
from projections.audit import AuditRow
from projections.base import Projection, fold
from projections.deployments import DEPLOYMENTS
from projections.environments import ENVIRONMENTS
from projections.fleet import FLEET
from tests.histories import history, two_versions_of_iris

START = datetime(2026, 11, 21, tzinfo=UTC)


def row(
    position: int, kind: str, entity: str, cause: int | None = None, actor: str = "reactor:x", **body: Any
) -> AuditRow:
    return AuditRow(
        position=Position(position), at=START + timedelta(seconds=position), type=kind, category="replica",
        entity=entity, entities=(entity,), actor=actor, actor_how="internal", correlation_id="c",
        causation_id=None if cause is None else f"e{cause}", command_id=f"c{position}",
        event_id=f"e{position}", body={"type": kind, **body},
    )  # fmt: skip


LIFE = (
    row(1, "ReplicaReady", "a"),
    row(2, "ReplicaTargetRaised", "d", previous=1, target=2, rule="load", grounds={"mean": 2.5}),
    row(3, "ReplicaReady", "b"),
    row(4, "ReplicaReady", "b"),
    row(5, "ReplicaDraining", "a"),
    row(6, "ReplicaStopped", "a"),
)


@pytest.mark.parametrize("since", range(8))
def test_how_many_were_ready_does_not_depend_on_where_one_begins_to_look(since: int) -> None:
    told = story(LIFE, START + timedelta(seconds=since), ready_now=1, target_now=2)
    counts = {1: 1, 3: 2, 5: 1}
    assert told.ready == tuple((START + timedelta(seconds=at), n) for at, n in counts.items() if at >= since)
    assert told.ready_before == next((n for at, n in reversed(counts.items()) if at < since), 0)
    assert told.target_before == (1 if since <= 2 else 2)


def test_who_was_ready_before_all_that_is_known_is_counted() -> None:
    told = story(LIFE[2:4], START, ready_now=3, target_now=3)
    assert (told.ready_before, [count for _, count in told.ready]) == (2, [3])


TREE = (
    row(1, "A", "a"),
    row(2, "B", "b", cause=1),
    row(3, "C", "c", cause=1),
    row(4, "D", "d", cause=2),
    row(5, "E", "e", cause=2),
    row(6, "F", "f", cause=3),
    row(7, "G", "g"),
)


def test_a_family_is_what_led_there_and_what_followed() -> None:
    def names(event_id: str) -> str:
        return "".join(each.type for each, _ in family(TREE, event_id))

    assert [names(f"e{n}") for n in range(1, 8)] == ["ABCDEF", "ABDE", "ACF", "ABD", "ABE", "ACF", "G"]
    assert [parent for _, parent in family(TREE, "e1")] == [None, "e1", "e1", "e2", "e2", "e3"]


def test_no_two_lines_of_a_graph_run_in_one_lane_at_once() -> None:
    shown = placed(family(TREE, "e1"))
    assert [each.lane for each in shown] == [0, 0, 1, 0, 2, 1]
    for below, each in enumerate(shown):
        if each.parent is not None:
            between = shown[each.parent + 1 : below]
            assert all(other.lane != each.lane for other in between), (below, each.lane)


def test_an_agents_next_report_follows_from_the_one_before() -> None:
    rows = (
        row(1, "A", "r", cause=0),
        row(2, "B", "r", cause=1, actor="agent:n"),
        row(3, "C", "r", cause=1, actor="agent:n"),
    )
    assert [parent for _, parent in family(rows, "e3")] == ["e0", "e1", "e2"]


@pytest.mark.parametrize("most", [0, 0.3, 1, 1.5, 2, 3, 4, 7, 9.5, 31, 100, 12345])
def test_scales_are_round_few_and_hold_all(most: float) -> None:
    top = nice(most)
    marks = ticks(top)
    assert top >= most and marks[0] == 0 and marks[-1] == top and 2 <= len(marks) <= 5


async def test_what_each_event_changed_is_what_differs() -> None:
    async with history() as plane:
        await plane.join()
        deployment = await plane.push("iris")
        await plane.build(deployment)
        await plane.bring_ready(deployment)
        events = await plane.log.read()
    told = [
        " ".join(str(change) for change in _changes(DEPLOYMENTS, events[:n], events[n])) for n in range(len(events))
    ]
    ready = next(n for n, each in enumerate(events) if type(each.event).__name__ == "ReplicaReady")
    assert f"deployments.{deployment}.status: LOADING_MODEL -> ACTIVE" in told[ready]
    assert "deployments." not in told[0] and all(each.count("status:") <= 1 for each in told)


def _changes(projection: Projection[Any], before: Any, event: Recorded) -> Any:
    state = projection.initial()
    for each in before:
        state = projection.evolve(state, each)
    return changes(projection, state, event)


def test_an_event_that_a_fold_passes_over_changes_nothing() -> None:
    raised = ReplicaTargetRaised(
        deployment_id=DeploymentId("d"), previous=0, target=1, rule="load", grounds=Grounds()
    )  # fmt: skip
    meta = Metadata(
        id=EventId("e"), command_id=CommandId("c"), correlation_id=CorrelationId("c"), causation_id=None,
        actor=Actor("a", "internal"), at=START,
    )  # fmt: skip
    event = Recorded(Position(1), StreamName("scaling", "d"), raised, meta)
    assert changes(DEPLOYMENTS, DEPLOYMENTS.initial(), event) == ()


async def test_what_has_a_name_is_called_by_it_and_found_by_it() -> None:
    events = await (await two_versions_of_iris()).read()
    world = World(fold(DEPLOYMENTS, events), fold(ENVIRONMENTS, events), fold(FLEET, events))
    (model_id,) = world.catalogue.models
    named = {model_id: "iris", f"{model_id}-production": "iris/production"}
    for deployment in world.catalogue.deployments.values():
        named[deployment.deployment_id] = f"iris/{deployment.name}"
        named[f"{deployment.deployment_id}-2"] = f"iris/{deployment.name}-2"
    for entity, name in named.items():
        assert (world.label(entity), world.id_of(name), world.id_of(entity)) == (name, entity, entity)
    for other in ("", "-", "node-1", "nobody-production", "iris/", "iris/nothing", "iris/deployment-1-x"):
        assert world.label(other) == world.id_of(other) == other
