"""Blame: the event that set a field is the last one that changed it, and without it the field is another."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from events.base import Position
from events.codec import Recorded, event_type
from ops.blame import blame
from ops.names import UnknownName
from ops.past import Past
from ops.replay import VIEWS
from projections.base import fold
from projections.entities import entities
from projections.fields import MISSING, plain, read, record_of
from projections.fields import Path as FieldPath
from projections.routing import ROUTING
from projections.stores.kept import KeptSnapshots
from projections.view import View
from tests.histories import copied, random_history, two_versions_of_iris
from tests.properties.history import history as simulated

choices = st.lists(st.integers(0, 63), min_size=3, max_size=25)


def value_of(events: tuple[Recorded, ...], view: str, path: FieldPath) -> object:
    return plain(read(fold(VIEWS[view][0], events), path))


def records(events: tuple[Recorded, ...]) -> list[tuple[str, str]]:
    """Everything that has a record, as kind and id."""
    catalogue = fold(VIEWS["deployments"][0], events)
    fleet = fold(VIEWS["fleet"][0], events)
    return [
        *(("deployment", each) for each in catalogue.deployments),
        *(("model", each) for each in catalogue.models),
        *(("environment", f"{each}-production") for each in catalogue.models),
        *(("replica", each) for each in fleet.replicas),
        *(("node", each) for each in fleet.nodes),
    ]


@settings(max_examples=25, deadline=None)
@given(choices, st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_blamed_event_changed_the_field_and_no_later_one_did(picks: list[int], chosen: int, at: int) -> None:
    async def check() -> None:
        events = await random_history(picks)
        until = at % len(events) + 1
        known = records(events[:until])
        assume(known)
        kind, entity = known[chosen % len(known)]
        view, record = record_of(kind, entity)
        for each in await blame(await copied(events), f"{kind}:{entity}", Position(until)):
            path = (*record, each.field)
            assert each.event is not None, "nothing was there at the beginning"
            p = each.event.position
            values = [value_of(events[:n], view, path) for n in range(p - 1, until + 1)]
            assert values[0] != values[1], "the event changed it"
            assert all(value == values[1] for value in values[1:]), "nothing changed it since"
            assert each.value == (None if values[-1] is MISSING else values[-1])
            assert each.before == (None if values[0] is MISSING else values[0])

    asyncio.run(check())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_only_events_that_name_it_or_its_model_change_a_record(seed: int) -> None:
    """By this blame passes over what is about other things."""
    events = simulated(seed)
    views = {name: VIEWS[name][0] for name in ("deployments", "environments", "fleet")}
    states = {name: projection.initial() for name, projection in views.items()}
    before = dict[tuple[str, str, str], object]()
    for recorded in events:
        states = {name: views[name].evolve(states[name], recorded) for name in views}
        named = entities(recorded.stream, recorded.event)
        known = [
            *(("deployment", each.deployment_id, each.model_id) for each in states["deployments"].deployments.values()),
            *(("model", each, each) for each in states["deployments"].models),
            *(("environment", f"{m}-{e}", m) for m, own in states["environments"].models.items() for e in own),
            *(("replica", each, each) for each in states["fleet"].replicas),
        ]
        now = {}
        for kind, entity, model in known:
            view, record = record_of(kind, entity)
            now[kind, entity, model] = plain(read(states[view], record))
        for each in now.keys() | before.keys():
            if now.get(each, MISSING) != before.get(each, MISSING):
                assert each[1] in named or each[2] in named, (each, recorded)
        before = now


@settings(max_examples=25, deadline=None)
@given(choices)
def test_without_the_blamed_event_the_field_is_another(picks: list[int]) -> None:
    """For what one event decides: where an environment points, and how many replicas a deployment is to have."""

    async def check() -> None:
        events = await random_history(picks)
        log = await copied(events)
        for kind, entity in records(events):
            field = {"environment": "current", "deployment": "target"}.get(kind)
            if field is None:
                continue
            view, record = record_of(kind, entity)
            (found,) = await blame(log, f"{kind}:{entity}.{field}")
            if found.event is None or event_type(events[found.event.position - 1].event) in ("ModelRegistered",):
                continue
            if found.event.type == "DeploymentPushed":
                continue  # without it there is no record at all
            without = events[: found.event.position - 1] + events[found.event.position :]
            assert value_of(without, view, (*record, field)) != found.value

    asyncio.run(check())


async def test_blame_finds_the_same_when_it_walks_back_over_kept_states(tmp_path: Path) -> None:
    log = await two_versions_of_iris()
    events = await log.read()
    kept = KeptSnapshots(tmp_path)
    for position in range(4, len(events), 4):
        views = [View(projection) for projection, _ in VIEWS.values()]
        for view in views:
            view.fold(events[:position])
        await kept.save(views, events[position - 1].meta.id)
    assert ROUTING.name in {each.name.partition(".")[0] for each in tmp_path.iterdir()}
    for kind, entity in records(events):
        assert await blame(Past(log, kept), entity) == await blame(log, f"{kind}:{entity}")


async def test_fields_are_named_by_any_name_that_people_have() -> None:
    log = await two_versions_of_iris()
    completed = [each for each in await log.read() if event_type(each.event) == "PromotionCompleted"]
    for text in ("iris/production.current", "environment:iris/production.current"):
        (found,) = await blame(log, text)
        assert found.event is not None and found.event.position == completed[-1].position
    (model,) = {each.event.model_id for each in completed}  # type: ignore[union-attr]
    (routed,) = await blame(log, f"routing.models.{model}.environments.production")
    assert routed.event is not None and routed.event.position == completed[-1].position
    (inside,) = await blame(log, "deployment:iris/deployment-2.settings.max_replica")
    assert inside.event is not None and inside.event.type == "DeploymentPushed"


async def test_a_replica_that_has_ended_is_blamed_on_what_ended_it() -> None:
    log = await two_versions_of_iris()
    stopped = next(each for each in await log.read() if event_type(each.event) == "ReplicaStopped")
    (found,) = await blame(log, f"{stopped.stream.id}.phase")
    assert (found.there, found.value, found.before) == (False, None, "ready")
    assert found.event is not None and found.event.position == stopped.position


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("irs.current", "begins with the name of nothing"),
        ("model:iris/production.current", "names a environment, not a model"),
        ("iris/production.curent", "has no 'curent'; it has model_id, name, created_at, current"),
        ("deployment:iris/deployment-1.settings.most", "settings has no 'most'"),
    ],
)
async def test_what_has_no_record_or_no_such_field_is_refused_with_what_there_is(text: str, said: str) -> None:
    with pytest.raises(UnknownName, match=said):
        await blame(await two_versions_of_iris(), text)
