"""Bisect: the first event after which something no longer holds, also when it holds again later."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.base import ORIGIN, Position
from events.codec import Recorded, event_type
from handlers.deciders.model import RenameDeployment, model_id_of
from ops.names import UnknownName
from ops.search import NotFound, expression, first_failure, first_failure_of_script
from projections.base import fold
from projections.predicate import BadExpression
from projections.routing import ROUTING
from tests.histories import copied, history, random_history, two_versions_of_iris

choices = st.lists(st.integers(0, 63), min_size=4, max_size=25)
READY = "all(not d.replicas for d in routing.deployments.values())"


def ends(events: tuple[Recorded, ...]) -> list[Position]:
    return [each.position for each in events if each.meta.index == each.meta.count - 1]


@settings(max_examples=25, deadline=None)
@given(choices, st.integers(0, 3))
def test_it_is_the_first_failure_of_all_positions(picks: list[int], most: int) -> None:
    async def check() -> None:
        events = await random_history(picks)
        text = f"sum(len(d.replicas) for d in routing.deployments.values()) <= {most}"

        def count(position: Position) -> int:
            return sum(len(each.replicas) for each in fold(ROUTING, events[:position]).deployments.values())

        failing = [position for position in ends(events) if count(position) > most]
        log = await copied(events)
        search = first_failure(log, expression(text), ORIGIN, Position(len(events)))
        if not failing:
            with pytest.raises(NotFound, match="holds after each"):
                await search
            return
        found = await search
        assert found.position == failing[0] == found.events[-1].position
        assert any(change.path[0] == "routing" for change in found.changes)

    asyncio.run(check())


async def test_names_of_people_work_in_expressions() -> None:
    log = await two_versions_of_iris()
    events = await log.read()
    completed = [each.position for each in events if event_type(each.event) == "PromotionCompleted"]
    text = 'environment("iris/production").current != deployment("iris/deployment-2").deployment_id'
    pushed = next(each.position for each in events if getattr(each.event, "name", "") == "deployment-2")
    found = await first_failure(log, expression(text), pushed, Position(len(events)))
    assert found.position == completed[1] and found.events[0].type == "PromotionCompleted"
    served = 'ready(environment("iris/production").current) > 0'
    lost = await first_failure(log, expression(served), completed[0], Position(len(events)))
    assert lost.events[0].type in ("ReplicaDraining", "ReplicaStopped") and lost.position > completed[0]


async def test_what_has_only_an_id_is_found_by_it() -> None:
    log = await two_versions_of_iris()
    ready = next(each for each in await log.read() if event_type(each.event) == "ReplicaReady")
    stopped = next(each for each in await log.read() if event_type(each.event) == "ReplicaStopped")
    text = f'replica("{ready.stream.id}").phase == "ready" and node("node-a").status == "up"'
    assert (await first_failure(log, expression(text), ready.position, await log.head())).position == stopped.position
    with pytest.raises(BadExpression, match=r"at position 0: .*what is not there is None"):
        await first_failure(log, expression('node("node-a").cpu_used < 9'), ORIGIN, await log.head())
    with pytest.raises(UnknownName, match="nobody"):
        await first_failure(log, expression('replica("nobody")'), ORIGIN, await log.head())


async def test_who_is_renamed_meanwhile_is_known_by_both_names_all_along() -> None:
    async with history() as plane:
        renamed = await plane.push()
        begin = await plane.head()
        model, deployment = model_id_of("default", "iris"), renamed
        await plane.do(RenameDeployment(**plane.asked(), model_id=model, deployment_id=deployment, name="winter"))
        for name in ("iris/deployment-1", "iris/winter"):
            text = f'deployment("{name}").name == "deployment-1"'
            found = await first_failure(plane.log, expression(text), begin, await plane.head())
            assert [each.type for each in found.events] == ["DeploymentRenamed"]


@pytest.mark.parametrize(("begin", "text", "said"), [(ORIGIN, "position > 0", "already"), (ORIGIN, "True", "--bad")])
async def test_a_stretch_without_such_an_event_is_refused(begin: Position, text: str, said: str) -> None:
    log = await two_versions_of_iris()
    with pytest.raises(NotFound, match=said):
        await first_failure(log, expression(text), begin, await log.head())


def script(tmp_path: Path, body: str) -> Path:
    file = tmp_path / "holds.py"
    file.write_text(f"#!/usr/bin/env python3\nimport json, sys\nfound = json.load(sys.stdin)\n{body}\n")
    file.chmod(0o755)
    return file


async def test_a_script_is_asked_with_the_state_and_halves_the_stretch(tmp_path: Path) -> None:
    log = await two_versions_of_iris()
    events = await log.read()
    head = Position(len(events))
    pushes = [each.position for each in events if event_type(each.event) == "DeploymentPushed"]
    asks = script(tmp_path, "sys.exit(len(found['state']['deployments']['deployments']) > 1)")
    found = await first_failure_of_script(log, asks, ORIGIN, head)
    assert found.position == pushes[1] and [row.type for row in found.events] == ["DeploymentPushed"]
    assert found.asked < 12
    one: Any = script(tmp_path, "sys.exit(int(sys.argv[1]) != found['position'])")
    with pytest.raises(NotFound, match="still holds"):
        await first_failure_of_script(log, one, ORIGIN, head)


@pytest.mark.parametrize("bad_from", range(1, 12))
async def test_halving_names_whole_decisions_wherever_the_failure_is(tmp_path: Path, bad_from: int) -> None:
    log = await two_versions_of_iris()
    events = (await log.read())[:12]
    asks = script(tmp_path, f"sys.exit(found['position'] >= {bad_from})")
    found = await first_failure_of_script(await copied(events), asks, ORIGIN, ends(events)[-1])
    assert found.position == next(each for each in ends(events) if each >= bad_from)
    assert [row.position for row in found.events][-1] == found.position


async def test_what_is_no_program_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "check"
    script.write_text("text")
    for mode, said in ((0o600, "Permission denied"), (0o700, "Exec format error")):
        script.chmod(mode)
        with pytest.raises(BadExpression, match=f"check cannot be run: {said}"):
            await first_failure_of_script(await two_versions_of_iris(), script, ORIGIN, Position(9))
