"""What an environment shows of its promotion: status, share of the traffic, reason and figures, as events come."""

from typing import Any

import pytest

from events.base import DeploymentId, ModelId, PromotionId
from events.environment import (
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionPaused,
    PromotionResumed,
    PromotionRolledBack,
    PromotionStarted,
    PromotionStepped,
)
from projections.promotion import Progress, PromotionEvent, advance

OF: dict[str, Any] = {
    "promotion_id": PromotionId("p"),
    "model_id": ModelId("m"),
    "environment": "production",
    "deployment_id": DeploymentId("b"),
}
STARTED = PromotionStarted(
    **OF, previous=DeploymentId("a"), wanted_replicas=6, cleanup="KEEP", deadline_s=60, current_replicas=4
)
HALF = PromotionStepped(**OF, percent=50, ready=3, candidate_replicas=4, current_replicas=2)
CANARY = PromotionStepped(**OF, percent=5, ready=1, candidate_replicas=1, current_replicas=4, held=True)
PAUSED, RESUMED = PromotionPaused(**OF), PromotionResumed(**OF)
BACK = PromotionRolledBack(**OF, outcome="FAILED", reason="errors", figures=None, percent=0)


def shown(*events: PromotionEvent) -> Progress:
    progress = None
    for event in events:
        progress = advance(progress, event)
    assert progress is not None
    return progress


@pytest.mark.parametrize(
    ("events", "status", "percent"),
    [
        ((), "RELEASING", 0),
        ((PAUSED,), "PAUSED", 0),
        ((PAUSED, RESUMED), "RELEASING", 0),
        ((HALF,), "RAMPING_UP", 50),
        ((HALF, PAUSED), "PAUSED", 50),
        ((HALF, PAUSED, RESUMED), "RAMPING_UP", 50),
        ((CANARY,), "PAUSED", 5),
        ((HALF, BACK), "RAMPING_DOWN", 0),
        ((HALF, BACK, HALF), "RAMPING_DOWN", 50),
        ((HALF, PromotionCompleted(**OF, previous=None, cleanup="KEEP")), "SUCCEEDED", 100),
        ((HALF, PromotionFailed(**OF, reason="late")), "FAILED", 0),
        ((HALF, PromotionCancelled(**OF, reason="no")), "CANCELED", 0),
    ],
)
def test_status_and_share_follow_the_events(events: tuple[PromotionEvent, ...], status: str, percent: int) -> None:
    progress = shown(STARTED, *events)
    assert (progress.status, progress.percent, progress.moves) == (status, percent, len(events))
    assert progress.active == (status not in ("SUCCEEDED", "FAILED", "CANCELED"))


def test_on_the_way_back_the_current_deployment_is_to_have_what_it_had() -> None:
    assert (shown(STARTED, HALF).current_replicas, shown(STARTED, HALF, BACK).current_replicas) == (2, 4)


def test_the_reason_of_the_end_is_kept_and_a_canary_is_over_once_somebody_has_said_so() -> None:
    assert shown(STARTED, HALF, BACK).reason == "errors"
    assert not shown(STARTED, PAUSED, RESUMED).canary_over, "it had not begun"
    assert shown(STARTED, CANARY, RESUMED).canary_over


def test_an_event_of_a_promotion_that_was_not_seen_to_begin_is_passed_over() -> None:
    assert advance(None, HALF) is None
