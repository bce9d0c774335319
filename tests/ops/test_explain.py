"""Explaining a request: from the access log or the headers of its answer to what had made the routing so."""

from datetime import timedelta
from pathlib import Path

import pytest

from events.base import Position, ReplicaId
from events.codec import event_type
from gateway.insight.access_log import AccessLog
from ops.explain import Asked, Unexplained, asked_in, explain, line_in
from ops.names import NAMES
from ops.replay import state_at
from ops.why import why
from tests.gateway.insight.trips import trip
from tests.histories import START, two_versions_of_iris


async def written(folder: Path, **more: object) -> Path:
    file = folder / "gateway-1-access.jsonl"
    with file.open("ab") as out:
        log = AccessLog(1.0, lambda text: (out.write(text), None)[1])
        log.add(trip(request_id="r-other"))
        log.add(trip(request_id="r-1", **more))
        await log.close()
        out.write(b'{"cut off by a full disk, r-1\n')
    return file


async def test_a_request_of_the_access_log_is_explained_at_its_position(tmp_path: Path) -> None:
    log = await two_versions_of_iris()
    events = await log.read()
    second = [each for each in events if event_type(each.event) == "PromotionCompleted"][1]
    replica = [each.stream.id for each in events if event_type(each.event) == "ReplicaReady"][1]
    model = (await state_at(log, NAMES)).models["iris"]
    target = trip().target.__class__(model, "environment", "production")
    file = await written(
        tmp_path,
        position=Position(second.position + 1),
        target=target,
        deployment_id=second.event.deployment_id,  # type: ignore[union-attr]
        replica_id=ReplicaId(replica),
        parked_s=0.25,
        attempts=2,
    )
    line = line_in([file], "r-1")
    assert line is not None and line_in([file], "r-2") is None
    told = await explain(log, asked_in(line))
    assert told.position == second.position + 1 and told.request.source == "access log"
    said = " | ".join(told.said)
    assert "asked for iris, environment production; the answer was 200" in said
    assert "parked for 0.250 s" in said and "2 attempts" in said
    assert "iris/deployment-2 had 1 ready replica; it was ACTIVE" in said and "current in production" in said
    assert told.route is not None and told.route.steps[-1].position == second.position
    assert told.route.steps[0].type == "DeploymentPushed" and told.route.steps[0].actor == "key:ada"
    assert told.replica is not None and "ReplicaAssigned" in [step.type for step in told.replica.steps]
    assert all(step.position <= told.position for step in told.replica.steps)


async def test_the_headers_of_an_answer_suffice() -> None:
    log = await two_versions_of_iris()
    ready = next(each for each in await log.read() if event_type(each.event) == "ReplicaReady")
    told = await explain(log, Asked("r-9", Position(ready.position + 3), "iris/deployment-1", ready.stream.id))
    assert told.route is not None and told.route.steps[-1].type == "PromotionCompleted"
    assert f"ready since {ready.position}" in told.said[-1]
    by_time = await explain(log, Asked("r-9", at=START + timedelta(days=1), deployment_id="iris/deployment-2"))
    assert by_time.position == await log.head()


async def test_what_is_not_known_is_said() -> None:
    log = await two_versions_of_iris()
    with pytest.raises(Unexplained, match="give --position"):
        await explain(log, Asked("r-9"))
    with pytest.raises(Unexplained, match="no replica nobody"):
        await explain(log, Asked("r-9", Position(5), replica_id="nobody"))
    early = await explain(log, Asked("r-9", Position(2), "iris/deployment-2"))
    assert early.route is None and "there was no deployment" in early.said[0]


async def test_why_a_replica_is_there_goes_from_the_signal_to_its_assignment_and_on_through_its_life() -> None:
    log = await two_versions_of_iris()
    last = [each.stream.id for each in await log.read() if event_type(each.event) == "ReplicaReady"][-1]
    types = [step.type for step in (await why(log, last)).steps]
    assert types == [
        "ReplicaTargetRaised", "ReplicaAssigned", "ReplicaEnvironmentReady", "ReplicaProcessStarted", "ReplicaReady",
    ]  # fmt: skip
    first = next(each.stream.id for each in await log.read() if event_type(each.event) == "ReplicaReady")
    whole, latest = await why(log, first), await why(log, first, latest=True)
    assert whole.steps[0].type == "DeploymentPushed" and whole.steps[-1].type == "ReplicaStopped"
    assert whole.steps[0].actor_how == "api key"
    assert latest.steps[-1].type == "ReplicaStopped" and "ReplicaAssigned" not in [s.type for s in latest.steps]
