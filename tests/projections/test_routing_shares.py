"""Who is to serve an environment next, and with what share, as a gateway folds it."""

from datetime import UTC, datetime
from typing import Any

from events.base import (
    Actor,
    CommandId,
    CorrelationId,
    DeploymentId,
    EventId,
    Metadata,
    Position,
    PromotionId,
    StreamName,
)
from events.codec import Recorded
from events.environment import (
    PromotionCancelled,
    PromotionFailed,
    PromotionRolledBack,
    PromotionSettings,
    PromotionStepped,
)
from events.model import DeploymentDeleted
from events.union import AnyEvent
from projections.base import fold
from projections.routing import ROUTING, Candidate, ModelRoutes
from tests.reactors.facts import REGISTERED, M, completed, environment, pushed, started

OF: dict[str, Any] = {
    "promotion_id": PromotionId("p-b"),
    "model_id": M,
    "environment": "production",
    "deployment_id": DeploymentId("b"),
}
STEPPED = PromotionStepped(**OF, percent=30, ready=3, candidate_replicas=4, current_replicas=7)


META = Metadata(
    id=EventId("e"),
    command_id=CommandId("c"),
    correlation_id=CorrelationId("c"),
    causation_id=None,
    actor=Actor("operator", "test"),
    at=datetime(2026, 1, 1, tzinfo=UTC),
)


def folded(*events: AnyEvent) -> ModelRoutes:
    history = [Recorded(Position(n + 1), StreamName("test", "one"), each, META) for n, each in enumerate(events)]
    return fold(ROUTING, history).models[M]


SERVING = (REGISTERED, pushed("a"), started("a"), completed("a"), pushed("b"), started("b", previous="a"))


def test_a_share_follows_the_steps_and_ends_with_the_promotion() -> None:
    assert folded(*SERVING).candidates == {"production": Candidate(DeploymentId("b"), promoted=True)}
    assert folded(*SERVING, STEPPED).candidates["production"].percent == 30
    back = PromotionRolledBack(**OF, outcome="FAILED", reason="errors", figures=None, percent=0)
    assert folded(*SERVING, STEPPED, back).candidates["production"].percent == 0
    for end in (PromotionFailed(**OF, reason="late"), PromotionCancelled(**OF, reason="no")):
        model = folded(*SERVING, STEPPED, end)
        assert (model.candidates, model.environments["production"]) == ({}, "a")
    model = folded(*SERVING, STEPPED, completed("b", previous="a"))
    assert (model.candidates, model.environments["production"]) == ({}, "b")


def test_a_push_for_an_environment_is_its_candidate_before_its_promotion_begins() -> None:
    history = (REGISTERED, environment("staging"), pushed("a", "staging"))
    assert folded(*history).candidates == {"staging": Candidate(DeploymentId("a"))}
    assert folded(*history, pushed("b", "staging")).candidates["staging"].deployment_id == "b"
    during = (*history, started("a", into="staging"), pushed("b", "staging"))
    assert folded(*during).candidates["staging"].deployment_id == "a", "the promotion that is active"
    assert folded(*history, DeploymentDeleted(model_id=M, deployment_id=DeploymentId("a"))).candidates == {}


def test_only_promotions_with_bounds_on_answers_are_measured() -> None:
    bounded = PromotionSettings(rollback_error_rate_percent=1.0)
    model = folded(REGISTERED, pushed("a"), started("a"), completed("a"), pushed("b"), started("b", settings=bounded))
    assert model.candidates["production"].compared
