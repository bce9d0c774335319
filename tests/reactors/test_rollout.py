"""Promotions step by step: what is called for as replicas get ready, on the way and on the way back."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as some

from events.base import DeploymentId, PromotionId
from events.environment import (
    PromotionPaused,
    PromotionResumed,
    PromotionRolledBack,
    PromotionSettings,
    PromotionStarted,
    PromotionStepped,
)
from events.model import DeploymentFailed
from events.union import AnyEvent
from handlers.deciders.promotion_commands import CompletePromotion, FinishRollBack, RollBackPromotion, StepPromotion
from handlers.deciders.scaling import HoldReplicas, ReleaseHold, ScaleToZero
from handlers.reactors.promote import PROMOTE
from handlers.rollout import Step, complete, next_step, opening
from projections.promotion import Progress, advance
from tests.reactors.after import After
from tests.reactors.facts import (
    REGISTERED,
    M,
    built,
    completed,
    draining,
    held,
    lowered,
    pushed,
    raised,
    ready,
    started,
)

P = PromotionId("p-b")
OF: dict[str, Any] = {
    "promotion_id": P,
    "model_id": M,
    "environment": "production",
    "deployment_id": DeploymentId("b"),
}
ROLLING = PromotionSettings(rolling_deploy=True, max_surge_percent=25, stabilization_s=30)


def serving(replicas: int) -> tuple[AnyEvent, ...]:
    return (
        *(REGISTERED, pushed("a"), built("a"), raised("a", replicas)),
        *(ready("a", number + 1) for number in range(replicas)),
        *(started("a"), completed("a")),
    )


def promoting(replicas: int, settings: PromotionSettings) -> After:
    begun = started("b", previous="a", wanted=replicas, settings=settings)
    return After(PROMOTE, *serving(replicas), pushed("b"), built("b"), begun)


def stepped(percent: int, ready: int, candidate: int, current: int, *, held: bool = False) -> PromotionStepped:
    return PromotionStepped(
        **OF, percent=percent, ready=ready, candidate_replicas=candidate, current_replicas=current, held=held
    )


def shown(step: StepPromotion) -> tuple[int, int, int, int]:
    return step.percent, step.ready, step.candidate_replicas, step.current_replicas


def test_a_rolling_promotion_begins_with_one_step_of_surge_and_holds_both() -> None:
    story = promoting(4, ROLLING)
    assert story.calls_for() == (StepPromotion,)
    assert shown(story.the(StepPromotion)) == (0, 0, 1, 4)
    story.then(stepped(0, 0, 1, 4))
    holds = [(each.deployment_id, each.at_least, each.lower) for each in story.due() if isinstance(each, HoldReplicas)]
    assert holds == [("b", 1, False), ("a", 4, True)]


def test_traffic_follows_the_replicas_that_are_really_ready_and_as_many_go() -> None:
    half = PromotionSettings(rolling_deploy=True, max_surge_percent=50)
    story = promoting(4, half).then(stepped(0, 0, 2, 4), held("b", P, 2), held("a", P, 4), raised("b", 2))
    assert story.calls_for() == ()
    assert shown(story.then(ready("b", 1)).the(StepPromotion)) == (25, 1, 3, 3), "two were asked for, one is ready"
    story.then(stepped(25, 1, 3, 3))
    lowering = [(each.deployment_id, each.at_least, each.lower) for each in story.due()]  # type: ignore[attr-defined]
    assert lowering == [("b", 3, False), ("a", 3, True)]


def test_between_steps_it_stands_for_the_stabilization_time() -> None:
    story = promoting(4, ROLLING).then(stepped(25, 1, 2, 3), held("b", P, 2), held("a", P, 3), ready("b", 1))
    story.then(ready("b", 2))
    assert story.passes(29).calls_for() == ()
    assert shown(story.passes(1).the(StepPromotion)) == (50, 2, 3, 2)


def test_it_switches_when_all_are_ready_and_never_before() -> None:
    at_once = PromotionSettings(rolling_deploy=True, max_surge_percent=50)
    story = promoting(2, at_once).then(stepped(50, 1, 2, 1), held("b", P, 2), held("a", P, 1), lowered("a", 1, 2))
    assert story.then(ready("b", 1)).calls_for() == ()
    assert story.then(ready("b", 2)).calls_for() == (CompletePromotion,)
    assert story.then(draining("b", 2)).calls_for() == ()


def test_what_the_load_raised_on_the_way_the_candidate_has_too_before_it_switches() -> None:
    at_once = PromotionSettings(rolling_deploy=True, max_surge_percent=50)
    story = promoting(2, at_once).then(stepped(50, 1, 2, 1), held("b", P, 2), held("a", P, 1), lowered("a", 1, 2))
    story.then(ready("b", 1), raised("a", 3, 1))
    assert story.the(HoldReplicas).at_least == 4
    story.then(held("b", P, 4), ready("b", 2), ready("b", 3))
    assert story.calls_for() == ()
    assert story.then(ready("b", 4)).calls_for() == (CompletePromotion,)


def test_with_unavailable_replicas_the_current_one_gives_first_and_never_its_last() -> None:
    sparse = PromotionSettings(rolling_deploy=True, max_surge_percent=0, max_unavailable_percent=50)
    assert shown(promoting(4, sparse).the(StepPromotion)) == (0, 0, 2, 2)
    assert shown(promoting(1, sparse).the(StepPromotion)) == (0, 0, 1, 1)


def test_paused_means_that_nothing_moves_but_what_was_called_for_stays() -> None:
    story = promoting(4, ROLLING).then(stepped(25, 1, 2, 3), held("b", P, 2), held("a", P, 3))
    story.then(PromotionPaused(**OF), ready("b", 1), ready("b", 2)).passes(3600)
    assert story.calls_for() == ()
    assert StepPromotion not in story.then(PromotionResumed(**OF)).calls_for()
    assert story.passes(30).calls_for() == (StepPromotion,)


def test_a_candidate_that_fails_on_the_way_is_rolled_back() -> None:
    story = promoting(4, ROLLING).then(stepped(25, 1, 2, 3), held("b", P, 2), held("a", P, 3))
    story.then(DeploymentFailed(model_id=M, deployment_id=DeploymentId("b"), reason="boom"))
    assert story.the(RollBackPromotion).reason == "boom"


def test_a_step_that_misses_its_deadline_is_rolled_back_unless_it_may_wait() -> None:
    story = promoting(4, ROLLING).then(stepped(25, 1, 2, 3), held("b", P, 2), held("a", P, 3))
    assert story.passes(629).calls_for() == ()
    assert story.passes(1).calls_for() == (RollBackPromotion,)
    patient = PromotionSettings(rollback_on_not_ready=False)
    story = promoting(1, patient).then(held("b", P)).passes(10_000)
    assert story.calls_for() == ()


def test_on_the_way_back_traffic_follows_the_current_deployments_replicas_and_then_the_candidate_goes() -> None:
    back = PromotionRolledBack(**OF, outcome="CANCELED", reason="no", figures=None, percent=50)
    gone = (draining("a", 3), draining("a", 4))
    story = promoting(4, ROLLING).then(raised("b", 3), stepped(50, 2, 3, 2), held("b", P, 3), held("a", P, 2), *gone)
    story.then(back)
    assert [(each.deployment_id, each.at_least) for each in story.due()] == [("a", 4)]  # type: ignore[attr-defined]
    assert shown(story.then(held("a", P, 4), ready("a", 3)).the(StepPromotion)) == (25, 3, 1, 4)
    story.then(stepped(25, 3, 1, 4))
    assert [(each.deployment_id, each.lower) for each in story.due()] == [("b", True)]  # type: ignore[attr-defined]
    assert story.then(held("b", P, 1), ready("a", 4)).calls_for() == (FinishRollBack,)


def test_after_a_roll_back_at_once_the_candidate_goes_while_the_current_one_comes_back() -> None:
    back = PromotionRolledBack(**OF, outcome="FAILED", reason="errors", figures=None, percent=0)
    story = promoting(4, ROLLING).then(raised("b", 2), stepped(25, 1, 2, 3), held("b", P, 2), held("a", P, 3))
    story.then(draining("a", 4), back)
    assert set(story.calls_for()) == {HoldReplicas, ScaleToZero}
    assert (story.the(HoldReplicas).deployment_id, story.the(ScaleToZero).deployment_id) == ("a", "b")
    assert story.the(ScaleToZero).rule == "not promoted"
    assert FinishRollBack in story.passes(600).calls_for(), "its time is over: it ends, ready or not"


def test_a_canary_waits_for_a_person_and_the_rest_follows() -> None:
    canary = PromotionSettings(canary_percent=5)
    story = promoting(4, canary)
    assert shown(story.the(StepPromotion)) == (0, 0, 1, 4)
    story.then(stepped(0, 0, 1, 4), held("b", P, 1), held("a", P, 4), ready("b", 1))
    step = story.the(StepPromotion)
    assert (shown(step), step.held) == ((5, 1, 1, 4), True)
    assert story.then(stepped(5, 1, 1, 4, held=True)).passes(86400).calls_for() == ()
    assert shown(story.then(PromotionResumed(**OF)).the(StepPromotion)) == (5, 1, 4, 4)
    story.then(stepped(5, 1, 4, 4), held("b", P, 4), *(ready("b", each) for each in (2, 3, 4)))
    assert story.calls_for() == (CompletePromotion,)


def test_traffic_ramps_up_in_ten_equal_steps() -> None:
    ramp = PromotionSettings(ramp_up_while_promoting=True, ramp_up_duration_s=100)
    story = promoting(1, ramp).then(held("b", P), ready("b"))
    for percent in range(10, 100, 10):
        assert story.the(StepPromotion).percent == percent
        story.then(stepped(percent, 1, 1, 1), held("a", P, 1))
        assert story.passes(9).calls_for() == ()
        story.passes(1)
    assert story.calls_for() == (CompletePromotion,)


def test_the_candidate_gets_what_the_environment_needs_by_now() -> None:
    story = promoting(1, PromotionSettings()).then(held("b", P, 1), raised("a", 3, 1))
    assert story.the(HoldReplicas).at_least == 3
    story.then(held("b", P, 3), ready("b", 1), ready("b", 2))
    assert story.calls_for() == ()
    assert story.then(ready("b", 3)).calls_for() == (CompletePromotion,)


def test_what_serves_another_environment_is_not_lowered() -> None:
    elsewhere = (started("a", into="staging"), completed("a", into="staging"))
    begun = started("b", previous="a", wanted=4, settings=ROLLING)
    story = After(PROMOTE, *serving(4), *elsewhere, pushed("b"), built("b"), begun, stepped(25, 1, 2, 3))
    assert [each.lower for each in story.due() if isinstance(each, HoldReplicas)] == [False, False]


def test_the_holds_of_a_promotion_that_is_over_are_released_on_both() -> None:
    story = promoting(4, ROLLING).then(held("b", P, 2), held("a", P, 3), ready("b"), completed("b", previous="a"))
    releases = {each.deployment_id: each.id for each in story.due() if isinstance(each, ReleaseHold)}
    assert set(releases) == {"a", "b"} and len(set(releases.values())) == 2


SETTINGS = some.builds(
    PromotionSettings,
    rolling_deploy=some.booleans(),
    ramp_up_while_promoting=some.booleans(),
    max_surge_percent=some.integers(1, 50),
    canary_percent=some.none() | some.integers(1, 99),
) | some.builds(
    PromotionSettings,
    rolling_deploy=some.just(True),
    max_surge_percent=some.just(0),
    max_unavailable_percent=some.integers(1, 50),
)


@given(
    settings=SETTINGS, current=some.integers(1, 12), more=some.integers(0, 6), chances=some.lists(some.integers(0, 18))
)
def test_whatever_gets_ready_when_every_promotion_comes_to_its_switch(
    settings: PromotionSettings, current: int, more: int, chances: list[int]
) -> None:
    """The current one keeps a replica, a share is never more than what is ready, the surge never more than allowed."""
    wanted = current + more
    begun = PromotionStarted(
        **OF,
        previous=DeploymentId("a"),
        wanted_replicas=wanted,
        cleanup="KEEP",
        deadline_s=9,
        settings=settings,
        current_replicas=current,
    )
    by = -(-wanted * settings.max_surge_percent // 100)
    progress: Progress = advance(None, begun)  # type: ignore[assignment]
    for _ in range(100):
        ready_now = min(progress.candidate_replicas, chances.pop() if chances else 100)
        step = next_step(progress, ready_now)
        if step is not None:
            rolls = settings.rolling_deploy and (settings.canary_percent is None or progress.canary_over)
            counted = max(ready_now, progress.ready)
            assert step.current_replicas >= 1
            assert not rolls or step.percent <= max(1, 100 * counted // wanted)
            assert rolls or (step.percent >= progress.percent and step.current_replicas == current)
            allowed = wanted + by + 1 if settings.max_surge_percent else wanted + 1
            assert not rolls or step.candidate_replicas + step.current_replicas <= allowed
            progress = advance(progress, stepped_to(step))  # type: ignore[assignment]
        elif complete(progress, ready_now, 1):
            break
        elif progress.status == "PAUSED":
            progress = advance(progress, PromotionResumed(**OF))  # type: ignore[assignment]
    else:
        raise AssertionError(progress)
    assert ready_now >= wanted
    assert opening(begun) is None or progress.stepped


def stepped_to(step: Step) -> PromotionStepped:
    return PromotionStepped(**OF, **msgspec.structs.asdict(step))
