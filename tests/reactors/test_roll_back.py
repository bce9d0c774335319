"""Automatic rollback: heard from gateways, decided by figures of the same minute."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from events.base import DeploymentId, PromotionId
from events.environment import PromotionCancelled, PromotionSettings
from events.signals import Answers
from events.signals.answers import Durations, percentile_s, place_of, seconds_of
from handlers.deciders.promotion_commands import RollBackPromotion
from handlers.reactors.roll_back import ROLL_BACK
from tests.reactors.after import After
from tests.reactors.facts import M, started

AT = datetime(2026, 1, 1, tzinfo=UTC)
BY_ERRORS = PromotionSettings(rollback_error_rate_percent=5.0)
BY_TIME = PromotionSettings(rollback_p95_ratio=2.0)
_numbers = iter(range(1, 10**6))


def answers(deployment: str, requests: int, errors: int = 0, seconds: float = 0.1, **more: Any) -> Answers:
    usual: dict[str, Any] = {"worker": "w", "number": next(_numbers), "at": AT}
    durations = (Durations(place_of(seconds), requests),)
    return Answers(
        **usual | more,
        deployment_id=DeploymentId(deployment),
        requests=requests,
        errors=errors,
        durations=durations,
    )


def judging(settings: PromotionSettings) -> After:
    return After(ROLL_BACK, started("b", previous="a", settings=settings))


def test_more_errors_than_the_bound_above_the_current_one_roll_back_with_the_figures() -> None:
    story = judging(BY_ERRORS).hears(answers("a", 1000, 10)).hears(answers("b", 100, 6))
    assert story.calls_for() == (), "6 % against 1 %: five points are allowed"
    command = story.hears(answers("b", 1, 1)).the(RollBackPromotion)
    assert (command.figures.candidate.requests, command.figures.candidate.errors) == (101, 7)
    assert (command.figures.current.requests, command.figures.current.errors) == (1000, 10)
    assert "6.9 %" in command.reason and "1.0 %" in command.reason and "5 percentage points" in command.reason


def test_too_few_answers_tell_nothing() -> None:
    story = judging(BY_ERRORS).hears(answers("a", 1000)).hears(answers("b", 19, 19))
    assert story.calls_for() == ()
    assert story.hears(answers("b", 1)).calls_for() == (RollBackPromotion,)


def test_what_is_older_than_a_minute_does_not_count() -> None:
    story = judging(BY_ERRORS).hears(answers("b", 19, 19)).passes(60).hears(answers("b", 19, 0))
    assert story.calls_for() == ()


def test_slower_than_so_many_times_the_current_one_rolls_back() -> None:
    story = judging(BY_TIME).hears(answers("a", 100, seconds=0.1)).hears(answers("b", 100, seconds=0.19))
    assert story.calls_for() == ()
    command = story.hears(answers("b", 20, seconds=0.3)).the(RollBackPromotion)
    assert command.figures.candidate.p95_s > 2 * command.figures.current.p95_s
    alone = judging(BY_TIME).hears(answers("a", 19, seconds=0.1)).hears(answers("b", 100, seconds=9.0))
    assert alone.calls_for() == (), "there is nothing to compare with"


def test_a_report_that_comes_twice_counts_once() -> None:
    story = judging(BY_ERRORS)
    twice = answers("b", 15, 15)
    assert story.hears(twice).hears(twice).calls_for() == ()


def test_without_bounds_or_after_the_end_nothing_is_judged() -> None:
    assert judging(PromotionSettings()).hears(answers("b", 100, 100)).calls_for() == ()
    assert After(ROLL_BACK, started("b", settings=BY_ERRORS)).hears(answers("b", 100, 100)).calls_for() == ()
    cancelled = PromotionCancelled(
        promotion_id=PromotionId("p-b"),
        model_id=M,
        environment="production",
        deployment_id=DeploymentId("b"),
        reason="no",
    )
    assert judging(BY_ERRORS).hears(answers("b", 100, 100)).then(cancelled).calls_for() == ()


@given(some.lists(some.floats(0.001, 100.0), min_size=1, max_size=60))
def test_a_percentile_is_known_within_five_percent(seconds: list[float]) -> None:
    found = percentile_s([Durations(place_of(each), 1) for each in seconds], 95)
    exact = sorted(seconds)[-(-len(seconds) * 95 // 100) - 1]
    assert found is not None and exact <= found * 1.0000001 <= exact * 1.0500002
    assert place_of(seconds_of(place_of(exact))) in (place_of(exact), place_of(exact) + 1)
    assert percentile_s([], 95) is None
