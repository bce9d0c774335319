"""Who served an environment, and when."""

from datetime import UTC, datetime, timedelta

from events.base import DeploymentId, PromotionId
from events.environment import PromotionFailed
from projections.environments import KEPT, Tenure, tenures_after
from tests.reactors.facts import M, completed, started

NOW = datetime(2026, 1, 1, tzinfo=UTC)
A, B = DeploymentId("a"), DeploymentId("b")


def test_a_tenure_is_from_the_beginning_of_a_promotion_until_traffic_leaves() -> None:
    later = NOW + timedelta(minutes=1)
    one = tenures_after((), started("a"), NOW)
    assert tenures_after(one, completed("a"), later) == one
    both = tenures_after(one, started("b", previous="a"), later)
    assert tenures_after(both, completed("b", previous="a"), later) == (Tenure(A, NOW, later), Tenure(B, later))
    failed = PromotionFailed(
        promotion_id=PromotionId("p-b"), model_id=M, environment="production", deployment_id=B, reason="not ready"
    )
    assert tenures_after(both, failed, later) == (Tenure(A, NOW), Tenure(B, later, later))


def test_who_served_long_ago_is_forgotten_at_the_next_promotion() -> None:
    old = Tenure(A, NOW - 3 * KEPT, NOW - KEPT - timedelta(seconds=1))
    lately = Tenure(B, NOW - 3 * KEPT, NOW - timedelta(days=7))
    assert tenures_after((old, lately), started("c"), NOW) == (lately, Tenure(DeploymentId("c"), NOW))
