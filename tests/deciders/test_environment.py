"""Rules of environments: ready-then-switch, one active promotion."""

from typing import Any

import pytest

from events.base import DeploymentId, ModelId, Position, PromotionId, derive
from events.environment import (
    EnvironmentConfigured,
    EnvironmentCreated,
    EnvironmentDeleted,
    EnvironmentReverted,
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionSettings,
    PromotionSettingsSet,
    PromotionStarted,
    RequestLimits,
    RequestLimitsSet,
)
from events.scaling import AutoscalingSettings
from handlers.deciders.environment import (
    ENVIRONMENT,
    ConfigureEnvironment,
    CreateEnvironment,
    DeleteEnvironment,
    RevertEnvironment,
    SetRequestLimits,
)
from handlers.deciders.promotion_commands import CancelPromotion, CompletePromotion, RollBackPromotion, StartPromotion
from tests.spec import changed, given, ids

M, A, B = ModelId("m"), DeploymentId("a"), DeploymentId("b")
P = PromotionId(derive("promotion", "c1"))
PRODUCTION: dict[str, Any] = {"model_id": M, "environment": "production"}
START = StartPromotion(
    **ids(), **PRODUCTION, deployment_id=A, is_development=False, wanted_replicas=2, cleanup="KEEP", deadline_s=60
)
STARTED = PromotionStarted(
    promotion_id=P,
    **PRODUCTION,
    deployment_id=A,
    previous=None,
    wanted_replicas=2,
    cleanup="KEEP",
    deadline_s=60,
    current_replicas=2,
)
COMPLETED = PromotionCompleted(promotion_id=P, **PRODUCTION, deployment_id=A, previous=None, cleanup="KEEP")
SETTINGS = AutoscalingSettings(min_replica=1, max_replica=4)


def test_production_is_there_without_being_created() -> None:
    given(ENVIRONMENT).when(START).then(STARTED)


def test_other_environments_must_be_created_first() -> None:
    reason = given(ENVIRONMENT).when(changed(START, environment="staging")).refused("not_found", "environment")
    assert "create it first" in reason


def test_a_second_promotion_is_refused_and_says_which_is_active() -> None:
    reason = given(ENVIRONMENT, STARTED).when(changed(START, deployment_id=B)).refused("conflict", "environment")
    assert P in reason and A in reason


def test_the_same_promotion_asked_twice_is_one() -> None:
    given(ENVIRONMENT, STARTED).when(changed(START, **ids("c2"))).unchanged()


def test_promoting_what_is_current_changes_nothing() -> None:
    given(ENVIRONMENT, STARTED, COMPLETED).when(START).unchanged()


def test_a_development_deployment_is_refused_with_the_command_to_use() -> None:
    reason = given(ENVIRONMENT).when(changed(START, is_development=True)).refused("invalid", "deployment_id")
    assert "truss push --promote" in reason


def test_completion_names_what_was_current_before() -> None:
    again = changed(START, deployment_id=B, **ids("c2"))
    second = PromotionId(derive("promotion", "c2"))
    history = (STARTED, COMPLETED, changed(STARTED, promotion_id=second, deployment_id=B, previous=A))
    given(ENVIRONMENT, STARTED, COMPLETED).when(again).then(history[-1])
    complete = CompletePromotion(**ids("c3"), **PRODUCTION, promotion_id=second)
    given(ENVIRONMENT, *history).when(complete).then(
        changed(COMPLETED, promotion_id=second, deployment_id=B, previous=A)
    )


def test_an_old_completion_is_ignored() -> None:
    complete = CompletePromotion(**ids(), **PRODUCTION, promotion_id=PromotionId("older"))
    given(ENVIRONMENT, STARTED).when(complete).unchanged()
    given(ENVIRONMENT).when(complete).unchanged()


def test_a_failed_promotion_leaves_room_for_the_next() -> None:
    fail = RollBackPromotion(**ids(), **PRODUCTION, promotion_id=P, reason="load failed")
    failed = PromotionFailed(promotion_id=P, **PRODUCTION, deployment_id=A, reason="load failed")
    given(ENVIRONMENT, STARTED).when(fail).then(failed)
    next_start = changed(START, deployment_id=B, **ids("c2"))
    given(ENVIRONMENT, STARTED, failed).when(next_start).then_like((PromotionStarted, {"deployment_id": B}))


def test_cancelling_needs_an_active_promotion() -> None:
    cancel = CancelPromotion(**ids(), **PRODUCTION, reason="asked")
    given(ENVIRONMENT).when(cancel).refused("precondition", "environment")
    given(ENVIRONMENT, STARTED).when(cancel).then(
        PromotionCancelled(promotion_id=P, **PRODUCTION, deployment_id=A, reason="asked")
    )


@pytest.mark.parametrize("name", ["production", "development", "Staging", "-a", "a-", "", "a" * 41, "a.b"])
def test_a_bad_environment_name_is_refused(name: str) -> None:
    create = CreateEnvironment(**ids(), model_id=M, environment=name, autoscaling=SETTINGS)
    given(ENVIRONMENT).when(create).refused("invalid", "name")


def test_an_environment_is_created_once_and_can_be_deleted() -> None:
    create = CreateEnvironment(**ids(), model_id=M, environment="staging", autoscaling=SETTINGS)
    created = EnvironmentCreated(model_id=M, environment="staging", autoscaling=SETTINGS)
    given(ENVIRONMENT).when(create).then(created)
    given(ENVIRONMENT, created).when(create).refused("conflict", "name")
    delete = DeleteEnvironment(**ids(), model_id=M, environment="staging")
    given(ENVIRONMENT, created).when(delete).then(EnvironmentDeleted(model_id=M, environment="staging"))
    given(ENVIRONMENT).when(changed(delete, environment="production")).refused("invalid", "environment")


def test_bad_settings_are_refused_and_good_ones_recorded_once() -> None:
    configure = ConfigureEnvironment(**ids(), **PRODUCTION, autoscaling=SETTINGS)
    configured = EnvironmentConfigured(**PRODUCTION, autoscaling=SETTINGS)
    given(ENVIRONMENT).when(configure).then(configured)
    given(ENVIRONMENT, configured).when(configure).unchanged()
    bad = AutoscalingSettings(min_replica=3, max_replica=2)
    given(ENVIRONMENT).when(changed(configure, autoscaling=bad)).refused("invalid", "min_replica")


def test_request_limits_are_set_once_and_within_their_ranges() -> None:
    command = SetRequestLimits(**ids(), **PRODUCTION, limits=RequestLimits(call_deadline_s=30))
    fact = RequestLimitsSet(**PRODUCTION, limits=RequestLimits(call_deadline_s=30))
    given(ENVIRONMENT).when(command).then(fact)
    given(ENVIRONMENT, fact).when(command).unchanged()
    given(ENVIRONMENT).when(changed(command, limits=RequestLimits())).unchanged()
    for field in ("call_deadline_s", "idle_timeout_s", "total_deadline_s"):
        given(ENVIRONMENT).when(changed(command, limits=RequestLimits(**{field: 0}))).refused("invalid", field)
    bad = RequestLimits(prefix_affinity_bytes=1 << 20)
    given(ENVIRONMENT).when(changed(command, limits=bad)).refused("invalid", "prefix_affinity_bytes")


REVERT = RevertEnvironment(
    **ids("c9"),
    **PRODUCTION,
    to_position=Position(7),
    deployment_id=A,
    autoscaling=SETTINGS,
    promotion=PromotionSettings(rolling_deploy=True),
    limits=RequestLimits(call_deadline_s=5),
    wanted_replicas=2,
    deadline_s=60,
)
REVERTED = EnvironmentReverted(
    **PRODUCTION,
    to_position=Position(7),
    deployment_id=A,
    autoscaling=REVERT.autoscaling,
    promotion=REVERT.promotion,
    limits=REVERT.limits,
)
B_CURRENT = (
    changed(STARTED, deployment_id=B, previous=A),
    changed(COMPLETED, deployment_id=B, previous=A),
)


BACK_TO_A = changed(STARTED, promotion_id=PromotionId(derive("promotion", "c9")), previous=B, cleanup="SCALE_TO_ZERO")
BACK = CompletePromotion(**ids("c10"), **PRODUCTION, promotion_id=BACK_TO_A.promotion_id)
A_AGAIN = changed(COMPLETED, promotion_id=BACK_TO_A.promotion_id, previous=B, cleanup="SCALE_TO_ZERO")
RESTORED = (
    EnvironmentConfigured(**PRODUCTION, autoscaling=SETTINGS),
    PromotionSettingsSet(**PRODUCTION, settings=REVERT.promotion),
    RequestLimitsSet(**PRODUCTION, limits=REVERT.limits),
)


def test_a_revert_promotes_what_was_current_and_its_settings_come_with_the_switch() -> None:
    before = (STARTED, COMPLETED, *B_CURRENT)
    given(ENVIRONMENT, *before).when(REVERT).then(REVERTED, BACK_TO_A)
    given(ENVIRONMENT, *before, REVERTED, BACK_TO_A).when(BACK).then(A_AGAIN, *RESTORED)
    given(ENVIRONMENT, *before, REVERTED, BACK_TO_A, A_AGAIN, *RESTORED).when(REVERT).unchanged()


def test_the_settings_of_a_revert_that_does_not_succeed_never_come() -> None:
    failed = PromotionFailed(**PRODUCTION, promotion_id=BACK_TO_A.promotion_id, deployment_id=A, reason="not ready")
    again = changed(BACK_TO_A, promotion_id=PromotionId("again"))
    history = (STARTED, COMPLETED, *B_CURRENT, REVERTED, BACK_TO_A, failed, again)
    complete = changed(BACK, promotion_id=PromotionId("again"))
    given(ENVIRONMENT, *history).when(complete).then(changed(A_AGAIN, promotion_id=PromotionId("again")))


def test_what_a_person_sets_while_a_revert_is_under_way_is_what_holds() -> None:
    own = EnvironmentConfigured(**PRODUCTION, autoscaling=AutoscalingSettings(max_replica=9))
    history = (STARTED, COMPLETED, *B_CURRENT, REVERTED, BACK_TO_A, own)
    given(ENVIRONMENT, *history).when(BACK).then(A_AGAIN, *RESTORED[1:])


def test_a_revert_needs_the_minimum_that_its_settings_ask_for() -> None:
    more = changed(REVERT, autoscaling=AutoscalingSettings(min_replica=4, max_replica=5))
    given(ENVIRONMENT, STARTED, COMPLETED, *B_CURRENT).when(more).then_like(
        (EnvironmentReverted, {}), (PromotionStarted, {"wanted_replicas": 4})
    )


def test_a_revert_to_what_is_so_already_changes_nothing() -> None:
    plain = changed(REVERT, autoscaling=SETTINGS, promotion=PromotionSettings(), limits=RequestLimits())
    configured = EnvironmentConfigured(**PRODUCTION, autoscaling=SETTINGS)
    given(ENVIRONMENT, STARTED, COMPLETED, configured).when(plain).unchanged()
    reverted = changed(REVERTED, promotion=plain.promotion, limits=plain.limits)
    given(ENVIRONMENT, STARTED, COMPLETED).when(plain).then(reverted, configured)


def test_a_revert_waits_for_the_active_promotion() -> None:
    reason = given(ENVIRONMENT, STARTED).when(REVERT).refused("conflict", "environment")
    assert "wait for it or cancel it" in reason


def test_a_revert_to_settings_that_are_not_allowed_any_more_changes_nothing() -> None:
    wrong = changed(REVERT, limits=RequestLimits(call_deadline_s=0))
    given(ENVIRONMENT, STARTED, COMPLETED, *B_CURRENT).when(wrong).refused("invalid", "call_deadline_s")
