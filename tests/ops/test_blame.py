"""Blame: the event that set a field is the last one that changed it, and without it the field is another."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from events.base import Position
from events.codec import Recorded, event_type
from ops import blame as blaming
from ops.blame import blame, owner_of
from ops.names import NAMES, Names, UnknownName
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
    return known_in({name: fold(VIEWS[name][0], events) for name in ("deployments", "environments", "fleet")})


def known_in(states: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        *(("deployment", each) for each in states["deployments"].deployments),
        *(("model", each) for each in states["deployments"].models),
        *(("environment", f"{model}-{name}") for model, own in states["environments"].models.items() for name in own),
        *(("replica", each) for each in states["fleet"].replicas),
        *(("node", each) for each in states["fleet"].nodes),
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
def test_a_record_is_a_fold_of_what_is_about_it_alone(seed: int) -> None:
    """From the first event, and from any state that was kept: so blame passes over all else."""
    events = simulated(seed)
    names, middle = fold(NAMES, events), len(events) // 2
    views = {name: VIEWS[name][0] for name in ("deployments", "environments", "fleet")}
    whole = {name: projection.initial() for name, projection in views.items()}
    alone = dict[tuple[str, str], list[Any]]()
    seen = set[tuple[str, str]]()
    for number, recorded in enumerate(events):
        whole = {name: views[name].evolve(whole[name], recorded) for name in views}
        seen |= {each for each in known_in(whole) if each[0] != "node"}
        for kind, entity in seen:
            view, record = record_of(kind, entity)
            if (kind, entity) not in alone:
                alone[kind, entity] = [fold(views[view], about(kind, entity, names, events[:number]))]
            if about(kind, entity, names, (recorded,)):
                alone[kind, entity] = [views[view].evolve(state, recorded) for state in alone[kind, entity]]
            for state in alone[kind, entity]:
                assert plain(read(state, record)) == plain(read(whole[view], record)), (kind, entity, recorded)
            if number == middle:
                alone[kind, entity].append(msgspec.convert(msgspec.to_builtins(whole[view]), views[view].state_type))
    assert {kind for kind, _ in seen} == {"deployment", "model", "environment", "replica"}


def about(kind: str, entity: str, names: Names, events: tuple[Recorded, ...]) -> list[Recorded]:
    owner = owner_of(names, kind, entity)
    return [each for each in events if each.stream.id == owner or entity in entities(each.stream, each.event)]


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


@pytest.mark.parametrize("few", [0, 3, 1000])
async def test_blame_finds_the_same_when_it_walks_back_over_kept_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(blaming, "FEW", few)
    log = await two_versions_of_iris()
    events = await log.read()
    kept = KeptSnapshots(tmp_path)
    for position in range(4, len(events), 4):
        views = [View(projection) for projection, _ in VIEWS.values()]
        for view in views:
            view.fold(events[:position])
        await kept.save(views)
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
        ("irs.current", "nothing is called 'irs'; did you mean iris"),
        ("qqqq.current", "write .KIND:.ENTITY.FIELD"),
        ("routing", "is a whole view: write which part of it, such as routing.models"),
        ("model:iris/production.current", "names no model: write environment:iris/production.current"),
        ("iris/production.curent", "has no 'curent'; did you mean current. it has model_id, name, created_at, current"),
        ("deployment:iris/deployment-1.settings.most", "settings has no 'most'"),
        ("routing.nope", "routing has no 'nope'"),
    ],
)
async def test_what_has_no_record_or_no_such_field_is_refused_with_what_there_is(text: str, said: str) -> None:
    with pytest.raises(UnknownName, match=said):
        await blame(await two_versions_of_iris(), text)
