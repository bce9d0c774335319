"""The anatomy of cold starts."""

from typing import Any

import pytest

from events.model import DeploymentPushed
from handlers.deciders.model import DeactivateDeployment
from projections.base import fold
from projections.cold_starts import COLD_STARTS, STAGES, anatomy
from tests.histories import history, two_versions_of_iris


async def test_each_stage_lasts_from_the_one_before_it_and_the_slowest_is_marked() -> None:
    events = await (await two_versions_of_iris()).read()
    second = [each.event.deployment_id for each in events if isinstance(each.event, DeploymentPushed)][1]
    found = anatomy(fold(COLD_STARTS, events).starts[second], 50)
    assert (found.starts, found.failed, found.reused) == (2, 0, 2)
    assert [stage.name for stage in found.stages] == list(STAGES)
    assert [stage.name for stage in found.stages if stage.slowest] == ["model loaded"]
    assert found.stages[4].p50_s == pytest.approx(1.75) and sum(stage.share for stage in found.stages) == pytest.approx(
        1
    )
    assert found.p50_s == pytest.approx(sum(stage.p50_s for stage in found.stages[1:]), abs=0.01)


async def test_a_failed_start_is_counted_with_its_reason_and_has_no_durations() -> None:
    async with history() as plane:
        await plane.join()
        deployment = await plane.push("iris")
        await plane.build(deployment)
        await plane.fail_replica(plane.replicas(deployment)[0], "killed by the kernel: out of memory")
        plane.tick(5)
        await plane.settle()
        await plane.bring_ready(deployment)
        events = await plane.log.read()
    starts = fold(COLD_STARTS, events).starts[deployment]
    found = anatomy(starts, 50)
    assert (found.starts, found.failed) == (1, 1)
    assert found.last_failure == "run: killed by the kernel: out of memory"
    assert tuple(starts.values())[1].seconds()[0] is None, "a failure called for it, not the raise"
    assert anatomy(starts, 1).failed == 0


async def test_a_start_that_was_stopped_on_purpose_is_none() -> None:
    async with history() as plane:
        await plane.join()
        first = await plane.push("iris")
        await plane.build(first)
        await plane.bring_ready(first)
        await plane.be_quiet()
        await plane.stop_drained()
        await plane.park(first)  # Its replica is on its way when nobody waits for it any more.
        ids: dict[str, Any] = {"model_id": plane.model_of(first), "deployment_id": first}
        await plane.do(DeactivateDeployment(**plane.asked(), **ids, reason="no longer wanted"))
        await plane.stop_drained()
        events = await plane.log.read()
    found = anatomy(fold(COLD_STARTS, events).starts[first], 50)
    assert (found.starts, found.failed, found.last_failure) == (1, 0, "")
    assert not fold(COLD_STARTS, events).open
