"""Rules of replica targets."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from events.base import DeploymentId, PromotionId
from events.scaling import (
    AutoscalingSettings,
    CapacityLacking,
    Grounds,
    MinimumScheduled,
    ReplicaHoldReleased,
    ReplicasHeld,
    ReplicaTargetLowered,
    ReplicaTargetRaised,
    ScaledToZero,
    ScalingConfigured,
    ScheduledMinimum,
)
from handlers.deciders.scaling import (
    SCALING,
    ApplySchedule,
    BringUp,
    ConfigureScaling,
    HoldReplicas,
    ReleaseHold,
    ReportNoCapacity,
    ScaleByLoad,
    ScaleToZero,
)
from tests.spec import changed, given, ids

D, P = DeploymentId("d"), PromotionId("p")
DEFAULT = AutoscalingSettings()


def raised(previous: int, target: int) -> ReplicaTargetRaised:
    return ReplicaTargetRaised(
        deployment_id=D, previous=previous, target=target, rule="activation", grounds=Grounds(settings=DEFAULT)
    )


def configured(**fields: Any) -> ScalingConfigured:
    return ScalingConfigured(deployment_id=D, settings=AutoscalingSettings(**fields), source="settings")


def measured(target: int, settings: AutoscalingSettings = DEFAULT, **grounds: Any) -> ScaleByLoad:
    known = {"settings": settings, "window_filled": True, "serving": True}
    return ScaleByLoad(**ids(), deployment_id=D, target=target, grounds=Grounds(**{**known, **grounds}))


def test_the_first_parked_request_raises_from_zero_with_its_grounds() -> None:
    command = measured(0, parked=1, window_filled=False, serving=False)
    grounds = msgspec.structs.replace(command.grounds, wanted=1)
    given(SCALING).when(command).then(
        ReplicaTargetRaised(deployment_id=D, previous=0, target=1, rule="parked request", grounds=grounds)
    )
    given(SCALING, raised(0, 1)).when(command).unchanged()


def test_many_parked_requests_raise_from_zero_by_their_number() -> None:
    settings = AutoscalingSettings(max_replica=8, concurrency_target=10)
    history = (configured(max_replica=8, concurrency_target=10),)
    given(SCALING, *history).when(measured(0, settings, parked=25)).then_like((ReplicaTargetRaised, {"target": 3}))


def test_what_waits_in_the_async_queue_counts_like_what_is_parked() -> None:
    settings = AutoscalingSettings(max_replica=8, concurrency_target=10)
    history = (configured(max_replica=8, concurrency_target=10),)
    queued = measured(0, settings, queued=25, window_filled=False, serving=False)
    given(SCALING, *history).when(queued).then_like((ReplicaTargetRaised, {"target": 3, "rule": "parked request"}))
    starting = measured(1, settings, queued=15, parked=10, serving=False, window_filled=False)
    given(SCALING, *history, raised(0, 1)).when(starting).then_like((ReplicaTargetRaised, {"target": 3}))
    lasting = measured(4, settings, mean=0.1, below_for_s=900.0, queued=25)
    given(SCALING, *history, raised(0, 4)).when(lasting).unchanged()


def test_both_sides_of_a_rolling_promotion_are_one() -> None:
    settings = AutoscalingSettings(max_replica=5, concurrency_target=10)
    history = (configured(max_replica=5, concurrency_target=10), raised(0, 2))
    same = measured(2, settings, mean=21.0, burst_mean=30.0, other_side=1)
    given(SCALING, *history).when(same).unchanged()
    given(SCALING, *history).when(changed(same, grounds=measured(2, settings, mean=21.0).grounds)).then_like(
        (ReplicaTargetRaised, {"target": 3})
    )
    more = measured(2, settings, mean=28.0, other_side=1)
    given(SCALING, *history).when(more).then_like((ReplicaTargetRaised, {"target": 3, "rule": "load"}))
    burst = measured(2, settings, mean=21.0, burst_mean=31.0, other_side=1)
    given(SCALING, *history).when(burst).then_like((ReplicaTargetRaised, {"target": 4, "rule": "burst"}))
    most = measured(2, settings, mean=90.0, other_side=1)
    given(SCALING, *history).when(most).then_like((ReplicaTargetRaised, {"target": 4}))


def test_twenty_five_in_flight_at_target_ten_and_seventy_percent_make_four() -> None:
    settings = AutoscalingSettings(max_replica=8, concurrency_target=10)
    history = (configured(max_replica=8, concurrency_target=10), raised(0, 1))
    given(SCALING, *history).when(measured(1, settings, mean=25.0)).then_like(
        (ReplicaTargetRaised, {"previous": 1, "target": 4, "rule": "load"})
    )
    given(SCALING, *history).when(measured(1, settings, mean=5.0, burst_mean=25.0)).then_like(
        (ReplicaTargetRaised, {"target": 4, "rule": "burst"})
    )


def test_a_burst_raises_nothing_where_it_is_turned_off_and_lowers_nothing_where_it_is_on() -> None:
    off = AutoscalingSettings(max_replica=8, burst=False)
    told_off = ScalingConfigured(deployment_id=D, settings=off, source="settings")
    given(SCALING, told_off, raised(0, 1)).when(measured(1, off, burst_mean=5.0)).unchanged()
    on = AutoscalingSettings(max_replica=8)
    told_on = ScalingConfigured(deployment_id=D, settings=on, source="settings")
    bursting = measured(8, on, mean=1.0, burst_mean=7.5, below_for_s=900.0)
    given(SCALING, told_on, raised(0, 8)).when(bursting).unchanged()


def test_a_window_that_is_not_full_decides_nothing_unless_a_request_waits() -> None:
    settings = AutoscalingSettings(max_replica=8)
    history = (ScalingConfigured(deployment_id=D, settings=settings, source="settings"), raised(0, 2))
    given(SCALING, *history).when(measured(2, settings, mean=5.0, window_filled=False)).unchanged()
    given(SCALING, *history).when(measured(2, settings, quiet_for_s=5000.0, window_filled=False)).unchanged()
    waiting = measured(2, settings, parked=6, window_filled=False, serving=False)
    given(SCALING, *history).when(waiting).then_like((ReplicaTargetRaised, {"target": 6, "rule": "parked request"}))


def test_a_measurement_for_another_target_or_other_settings_is_stale() -> None:
    settings = AutoscalingSettings(max_replica=8)
    history = (ScalingConfigured(deployment_id=D, settings=settings, source="settings"), raised(0, 2))
    given(SCALING, *history).when(measured(1, settings, mean=5.0)).unchanged()
    given(SCALING, *history).when(measured(2, AutoscalingSettings(max_replica=7), mean=5.0)).unchanged()


@pytest.mark.parametrize(
    ("before", "mean", "after"), [(8, 0.0, 4), (10, 4.2, 8), (8, 4.2, 7), (7, 4.2, 6), (2, 0.7, 1)]
)
def test_down_goes_by_half_the_excess_after_a_whole_delay(before: int, mean: float, after: int) -> None:
    settings = AutoscalingSettings(max_replica=20)
    history = (ScalingConfigured(deployment_id=D, settings=settings, source="settings"), raised(0, before))
    early = measured(before, settings, mean=mean, burst_mean=mean, below_for_s=899.9)
    given(SCALING, *history).when(early).unchanged()
    due = measured(before, settings, mean=mean, burst_mean=mean, below_for_s=900.0)
    given(SCALING, *history).when(due).then_like((ReplicaTargetLowered, {"target": after, "rule": "staircase"}))


def test_load_that_is_back_at_the_end_of_the_delay_stops_the_step() -> None:
    settings = AutoscalingSettings(max_replica=20)
    history = (ScalingConfigured(deployment_id=D, settings=settings, source="settings"), raised(0, 4))
    returning = measured(4, settings, mean=0.1, below_for_s=900.0, in_flight=3)
    given(SCALING, *history).when(returning).unchanged()


def test_a_deployment_comes_up_with_its_minimum() -> None:
    command = BringUp(**ids(), deployment_id=D)
    given(SCALING, configured(min_replica=2, max_replica=3)).when(command).then_like(
        (ReplicaTargetRaised, {"target": 2})
    )


def test_quiet_for_a_whole_delay_goes_to_zero_and_not_before() -> None:
    given(SCALING, raised(0, 1)).when(measured(1, quiet_for_s=899.0)).unchanged()
    due = measured(1, quiet_for_s=900.0)
    grounds = msgspec.structs.replace(due.grounds, wanted=0)
    given(SCALING, raised(0, 1)).when(due).then(
        ScaledToZero(deployment_id=D, previous=1, rule="quiet", grounds=grounds)
    )


def test_quiet_never_goes_below_the_minimum() -> None:
    settings = AutoscalingSettings(min_replica=1, max_replica=3)
    history = (configured(min_replica=1, max_replica=3), raised(0, 2))
    quiet = measured(2, settings, quiet_for_s=901.0)
    given(SCALING, *history).when(quiet).then_like((ReplicaTargetLowered, {"previous": 2, "target": 1}))
    given(SCALING, *history, raised(0, 1)).when(measured(1, settings, quiet_for_s=901.0)).unchanged()


def test_a_promotion_holds_its_replicas_against_quiet() -> None:
    hold = HoldReplicas(**ids(), deployment_id=D, promotion_id=P, at_least=2)
    held = ReplicasHeld(deployment_id=D, promotion_id=P, at_least=2)
    given(SCALING).when(hold).then_like((ReplicasHeld, {"at_least": 2}), (ReplicaTargetRaised, {"target": 2}))
    quiet = measured(2, quiet_for_s=5000.0)
    given(SCALING, held, raised(0, 2)).when(hold).unchanged()
    given(SCALING, held, raised(0, 2)).when(quiet).unchanged()
    released = ReplicaHoldReleased(deployment_id=D, promotion_id=P)
    given(SCALING, held, raised(0, 2)).when(ReleaseHold(**ids(), deployment_id=D, promotion_id=P)).then(released)
    given(SCALING, held, raised(0, 2), released).when(quiet).then_like((ReplicaTargetLowered, {"target": 1}))


def test_a_hold_of_another_promotion_is_not_released() -> None:
    held = ReplicasHeld(deployment_id=D, promotion_id=P, at_least=1)
    other = ReleaseHold(**ids(), deployment_id=D, promotion_id=PromotionId("other"))
    given(SCALING, held).when(other).unchanged()


def test_each_promotion_holds_for_itself() -> None:
    held = ReplicasHeld(deployment_id=D, promotion_id=P, at_least=2)
    more = ReplicasHeld(deployment_id=D, promotion_id=PromotionId("other"), at_least=3)
    released = ReplicaHoldReleased(deployment_id=D, promotion_id=PromotionId("other"))
    quiet = measured(3, quiet_for_s=5000.0)
    given(SCALING, held, more, raised(0, 3), released).when(quiet).unchanged()


def test_as_many_go_as_are_held_fewer_and_what_the_load_raised_stays() -> None:
    held = ReplicasHeld(deployment_id=D, promotion_id=P, at_least=4)
    fewer = HoldReplicas(**ids(), deployment_id=D, promotion_id=P, at_least=3, lower=True)
    for target, left in ((4, 3), (6, 5)):
        given(SCALING, held, raised(0, target)).when(fewer).then_like(
            (ReplicasHeld, {"at_least": 3}), (ReplicaTargetLowered, {"target": left, "rule": "promotion"})
        )
    first = changed(fewer, began_with=4)
    given(SCALING, raised(0, 4)).when(first).then_like((ReplicasHeld, {}), (ReplicaTargetLowered, {"target": 3}))
    given(SCALING, raised(0, 5)).when(first).then_like((ReplicasHeld, {}), (ReplicaTargetLowered, {"target": 4}))
    given(SCALING, raised(0, 4)).when(changed(first, at_least=4)).then_like((ReplicasHeld, {}))
    other = ReplicasHeld(deployment_id=D, promotion_id=PromotionId("other"), at_least=4)
    given(SCALING, held, other, raised(0, 4)).when(fewer).then_like((ReplicasHeld, {"at_least": 3}))
    given(SCALING, held, raised(0, 4)).when(changed(fewer, lower=False)).then_like((ReplicasHeld, {"at_least": 3}))


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


# Spec time is 2026-01-01 00:00 UTC, a Thursday: one o'clock in Berlin.
AT_NIGHT = ScheduledMinimum(cron="0 1 * * 4", timezone="Europe/Berlin", for_s=3600, min_replica=3)


def with_schedule(*entries: ScheduledMinimum) -> AutoscalingSettings:
    return AutoscalingSettings(max_replica=4, schedule=entries)


def test_a_scheduled_minimum_is_recorded_and_wakes_what_rests() -> None:
    told = ScalingConfigured(deployment_id=D, settings=with_schedule(AT_NIGHT), source="settings")
    apply = ApplySchedule(**ids(), deployment_id=D)
    until = datetime(2026, 1, 1, 1, tzinfo=UTC)
    now = MinimumScheduled(deployment_id=D, min_replica=3, until=until)
    up = (ReplicaTargetRaised, {"target": 3, "rule": "schedule"})
    given(SCALING, told, raised(0, 1)).when(apply).then_like((MinimumScheduled, {"until": until}), up)
    rested = ScaledToZero(deployment_id=D, previous=1, rule="quiet", grounds=Grounds())
    given(SCALING, told, raised(0, 1), rested).when(apply).then_like((MinimumScheduled, {"min_replica": 3}), up)
    replaced = ScaledToZero(deployment_id=D, previous=1, rule="replaced", grounds=Grounds())
    given(SCALING, told, raised(0, 1), replaced).when(apply).then(now)
    given(SCALING, told, now, raised(0, 3)).when(apply).unchanged()


def test_nothing_goes_below_the_scheduled_minimum() -> None:
    settings = with_schedule(AT_NIGHT)
    told = ScalingConfigured(deployment_id=D, settings=settings, source="settings")
    now = MinimumScheduled(deployment_id=D, min_replica=3, until=datetime(2026, 1, 1, 1, tzinfo=UTC))
    quiet = measured(4, settings, quiet_for_s=5000.0, scheduled_min=3)
    given(SCALING, told, now, raised(0, 4)).when(quiet).then_like((ReplicaTargetLowered, {"target": 3}))
    unaware = measured(4, settings, quiet_for_s=5000.0)
    given(SCALING, told, now, raised(0, 4)).when(unaware).unchanged()


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("cron", "0 8 * *", "five fields"),
        ("cron", "61 8 * * *", "61 8 * * *"),
        ("timezone", "Mars/Olympus", "Mars/Olympus"),
        ("for_s", 59, "from 60"),
        ("min_replica", 5, "max_replica (4)"),
    ],
)
def test_a_bad_schedule_is_refused_naming_the_entry_and_the_value(field: str, value: Any, named: str) -> None:
    settings = with_schedule(AT_NIGHT, msgspec.structs.replace(AT_NIGHT, **{field: value}))
    command = ConfigureScaling(**ids(), deployment_id=D, settings=settings, source="settings")
    reason = given(SCALING).when(command).refused("invalid", "schedule")
    assert (
        f"schedule[1].{'duration' if field == 'for_s' else field}" in reason
        and named in reason
        and str(value) in reason
    )
