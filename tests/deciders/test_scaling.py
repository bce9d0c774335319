"""Rules of replica targets."""

import msgspec
import pytest

from events.base import DeploymentId, PromotionId
from events.scaling import (
    AutoscalingSettings,
    CapacityLacking,
    Grounds,
    ReplicaHoldReleased,
    ReplicasHeld,
    ReplicaTargetLowered,
    ReplicaTargetRaised,
    ScaledToZero,
    ScalingConfigured,
)
from handlers.deciders.scaling import (
    SCALING,
    BringUp,
    ConfigureScaling,
    HoldReplicas,
    ReleaseHold,
    ReportNoCapacity,
    ReportQuiet,
    ScaleToZero,
)
from tests.spec import given, ids

D, P = DeploymentId("d"), PromotionId("p")
DEFAULT = AutoscalingSettings()


def raised(previous: int, target: int) -> ReplicaTargetRaised:
    return ReplicaTargetRaised(
        deployment_id=D, previous=previous, target=target, rule="activation", grounds=Grounds(settings=DEFAULT)
    )


def configured(**fields: int) -> ScalingConfigured:
    return ScalingConfigured(deployment_id=D, settings=AutoscalingSettings(**fields), source="settings")


def test_the_first_parked_request_raises_from_zero_with_its_grounds() -> None:
    command = BringUp(**ids(), deployment_id=D, rule="parked request", parked=3)
    given(SCALING).when(command).then(
        ReplicaTargetRaised(
            deployment_id=D,
            previous=0,
            target=1,
            rule="parked request",
            grounds=Grounds(parked=3, settings=DEFAULT),
        )
    )
    given(SCALING, raised(0, 1)).when(command).unchanged()


def test_a_deployment_comes_up_with_its_minimum() -> None:
    command = BringUp(**ids(), deployment_id=D, rule="activation")
    given(SCALING, configured(min_replica=2, max_replica=3)).when(command).then_like(
        (ReplicaTargetRaised, {"target": 2})
    )


def test_quiet_for_a_whole_delay_goes_to_zero_and_not_before() -> None:
    given(SCALING, raised(0, 1)).when(ReportQuiet(**ids(), deployment_id=D, quiet_for_s=899.0)).unchanged()
    given(SCALING, raised(0, 1)).when(ReportQuiet(**ids(), deployment_id=D, quiet_for_s=900.0)).then(
        ScaledToZero(deployment_id=D, previous=1, rule="quiet", grounds=Grounds(quiet_for_s=900.0, settings=DEFAULT))
    )


def test_quiet_never_goes_below_the_minimum() -> None:
    history = (configured(min_replica=1, max_replica=3), raised(0, 3))
    given(SCALING, *history).when(ReportQuiet(**ids(), deployment_id=D, quiet_for_s=901.0)).then_like(
        (ReplicaTargetLowered, {"previous": 3, "target": 1})
    )


def test_a_promotion_holds_its_replicas_against_quiet() -> None:
    hold = HoldReplicas(**ids(), deployment_id=D, promotion_id=P, at_least=2)
    held = ReplicasHeld(deployment_id=D, promotion_id=P, at_least=2)
    given(SCALING).when(hold).then_like((ReplicasHeld, {"at_least": 2}), (ReplicaTargetRaised, {"target": 2}))
    quiet = ReportQuiet(**ids(), deployment_id=D, quiet_for_s=5000.0)
    given(SCALING, held, raised(0, 2)).when(hold).unchanged()
    given(SCALING, held, raised(0, 2)).when(quiet).unchanged()
    released = ReplicaHoldReleased(deployment_id=D, promotion_id=P)
    given(SCALING, held, raised(0, 2)).when(ReleaseHold(**ids(), deployment_id=D, promotion_id=P)).then(released)
    given(SCALING, held, raised(0, 2), released).when(quiet).then_like((ScaledToZero, {"previous": 2}))


def test_a_hold_of_another_promotion_is_not_released() -> None:
    held = ReplicasHeld(deployment_id=D, promotion_id=P, at_least=1)
    other = ReleaseHold(**ids(), deployment_id=D, promotion_id=PromotionId("other"))
    given(SCALING, held).when(other).unchanged()


def test_new_limits_move_the_target_into_them() -> None:
    lower = ConfigureScaling(**ids(), deployment_id=D, settings=AutoscalingSettings(max_replica=2), source="settings")
    given(SCALING, configured(max_replica=5), raised(0, 4)).when(lower).then_like(
        (ScalingConfigured, {}), (ReplicaTargetLowered, {"target": 2, "rule": "maximum"})
    )
    settings = AutoscalingSettings(min_replica=3, max_replica=5)
    higher = ConfigureScaling(**ids(), deployment_id=D, settings=settings, source="settings")
    given(SCALING, raised(0, 1)).when(higher).then_like(
        (ScalingConfigured, {}), (ReplicaTargetRaised, {"target": 3, "rule": "minimum"})
    )


def test_settings_of_a_sleeping_deployment_do_not_wake_it() -> None:
    settings = AutoscalingSettings(min_replica=1)
    command = ConfigureScaling(**ids(), deployment_id=D, settings=settings, source="settings")
    given(SCALING).when(command).then_like((ScalingConfigured, {"settings": settings}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("min_replica", -1),
        ("max_replica", 0),
        ("autoscaling_window_s", 9),
        ("autoscaling_window_s", 3601),
        ("scale_down_delay_s", 3601),
        ("concurrency_target", 0),
        ("target_utilization_percent", 101),
        ("max_scale_down_rate_percent", 0),
    ],
)
def test_a_setting_out_of_range_is_refused_naming_field_range_and_value(field: str, value: int) -> None:
    settings = msgspec.structs.replace(DEFAULT, **{field: value})
    command = ConfigureScaling(**ids(), deployment_id=D, settings=settings, source="settings")
    reason = given(SCALING).when(command).refused("invalid", field)
    assert field in reason and str(value) in reason


def test_a_replaced_deployment_goes_to_zero() -> None:
    command = ScaleToZero(**ids(), deployment_id=D, rule="replaced")
    given(SCALING, raised(0, 2)).when(command).then_like((ScaledToZero, {"previous": 2, "rule": "replaced"}))
    given(SCALING).when(command).unchanged()


def test_lack_of_capacity_is_said_once_per_reason() -> None:
    command = ReportNoCapacity(**ids(), deployment_id=D, reason="no room")
    lacking = CapacityLacking(deployment_id=D, reason="no room")
    given(SCALING, raised(0, 1)).when(command).then(lacking)
    given(SCALING, raised(0, 1), lacking).when(command).unchanged()
    given(SCALING, raised(0, 1), lacking, raised(1, 2)).when(command).then(lacking)
