"""Why things are as they are, by any name that people have for them; and what happened to a deployment."""

import pytest

from events.codec import event_type
from events.log.memory import MemoryLog
from handlers.deciders.model import DeleteModel, model_id_of
from ops.names import UnknownName
from ops.past import NoSuchPosition
from ops.why import Story, timeline, why
from tests.histories import history, two_versions_of_iris


@pytest.fixture
async def log() -> MemoryLog:
    return await two_versions_of_iris()


def types_of(story: Story) -> list[str]:
    return [step.type for step in story.steps]


async def test_why_an_environment_serves_what_it_serves_ends_at_the_person_who_pushed(log: MemoryLog) -> None:
    told = await why(log, "iris/production")
    assert (told.steps[0].type, told.steps[-1].type) == ("DeploymentPushed", "PromotionCompleted")
    assert (told.steps[0].actor, told.steps[0].actor_how, told.steps[0].how) == ("key:ada", "api key", "began")
    assert told.label == "iris/production"


async def test_why_a_deployment_is_as_it_is_begins_with_the_parked_request_and_its_grounds(log: MemoryLog) -> None:
    told = await why(log, "iris/deployment-2")
    assert types_of(told)[0] == "ReplicaTargetRaised" and types_of(told)[-1] == "ReplicaReady"
    assert told.steps[0].grounds["rule"] == "parked request"
    assert told.steps[0].grounds["parked"] == 1
    assert "1 parked" in told.steps[0].summary


async def test_why_a_model_is_there_is_its_registration_and_why_a_deployment_is_not_its_deletion() -> None:
    async with history() as plane:
        await plane.join()
        deployment = await plane.push()
        await plane.build(deployment)
        await plane.bring_ready(deployment)
        model = model_id_of("default", "iris")
        assert types_of(await why(plane.log, "iris")) == ["ModelRegistered"]
        await plane.do(DeleteModel(**plane.asked(), model_id=model))
        for name in ("iris", "iris/deployment-1", deployment, "iris/production"):
            assert types_of(await why(plane.log, name)) == ["ModelDeleted"]
        assert "ScaledToZero" in types_of(await why(plane.log, deployment, latest=True))


async def test_an_event_is_asked_for_by_its_position_or_its_id(log: MemoryLog) -> None:
    for recorded in await log.read():
        by_position = await why(log, str(recorded.position))
        assert by_position.steps[-1].event_id == recorded.meta.id
        assert (await why(log, recorded.meta.id)).steps == by_position.steps


async def test_steps_tell_the_time_since_the_one_before_and_since_the_first(log: MemoryLog) -> None:
    told = await why(log, "iris/production")
    assert told.steps[0].seconds == 0
    assert sum(step.seconds for step in told.steps) == pytest.approx(told.steps[-1].since_start_s)
    assert all(step.cause == before.position for before, step in zip(told.steps, told.steps[1:], strict=False))


async def test_a_timeline_has_every_event_that_names_the_deployment_and_its_cause(log: MemoryLog) -> None:
    told = await timeline(log, "iris/deployment-1")
    assert types_of(told)[0] == "DeploymentPushed"
    assert {"BuildSucceeded", "ReplicaReady", "PromotionCompleted", "ScaledToZero", "ReplicaStopped"} <= set(
        types_of(told)
    )
    events = await log.read()
    for step in told.steps:
        assert event_type(events[step.position - 1].event) == step.type
        assert step.cause is None or step.cause < step.position


async def test_a_name_that_nothing_has_is_refused_with_what_is_near(log: MemoryLog) -> None:
    with pytest.raises(UnknownName, match="iris"):
        await why(log, "irs")
    with pytest.raises(UnknownName, match="deployment-2"):
        await timeline(log, "iris/deployment-3")
    with pytest.raises(UnknownName, match="say which of iris/deployment-1, iris/deployment-2"):
        await timeline(log, "iris")
    with pytest.raises(NoSuchPosition, match="positions 1 to"):
        await why(log, "9999")


async def test_a_single_deployment_is_found_by_its_models_name() -> None:
    async with history() as plane:
        deployment_id = await plane.push("minilm")
        assert (await timeline(plane.log, "minilm")).about == deployment_id
        assert (await timeline(plane.log, deployment_id)).about == deployment_id
