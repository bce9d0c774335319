"""From what is heard and recorded to the command that is called for. The arithmetic is tested with the deciders, its
table of cases through the whole autoscaler in tests/handlers/test_rehearsal.py.
"""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from events.base import DeploymentId, NodeId, Position
from events.environment import PromotionSettings, PromotionStepped
from events.model import DeploymentActivated, DeploymentDeactivated, DeploymentDeleted
from events.scaling import (
    AutoscalingSettings,
    MinimumScheduled,
    ScalingConfigured,
    ScheduledMinimum,
)
from events.signals import Heartbeat, Load, Resumed, WakeAsked
from handlers.deciders.scaling import ApplySchedule, ScaleByLoad
from handlers.load_window import SHARE_EXPIRES_S
from handlers.reactors.autoscale import AGAIN_S, AUTOSCALE, STARTING_S
from tests.reactors.after import After
from tests.reactors.facts import (
    REGISTERED,
    M,
    assigned,
    built,
    completed,
    held,
    lowered,
    pushed,
    raised,
    ready,
    released,
    started,
    to_zero,
)

D = DeploymentId("d")
DEFAULT = AutoscalingSettings()
WINDOW_S, DELAY_S = DEFAULT.autoscaling_window_s, DEFAULT.scale_down_delay_s
ROOMY = AutoscalingSettings(max_replica=8)
RUNNING = (raised("d"), assigned("d"), ready("d"))


def load(
    in_flight: int = 0,
    *,
    parked: int = 0,
    queued: int = 0,
    mean: float = 0.0,
    worker: str = "w",
    at: int | None = None,
    of: DeploymentId = D,
) -> Load:
    return Load(
        worker=worker,
        deployment_id=of,
        in_flight=in_flight,
        parked=parked,
        queued=queued,
        mean=mean,
        span_s=1.0 if mean else 0.0,
        position=None if at is None else Position(at),
        at=GIVEN.now,
    )


def configured(settings: AutoscalingSettings) -> ScalingConfigured:
    return ScalingConfigured(deployment_id=D, settings=settings, source="settings")


def old(*events: Any, settings: AutoscalingSettings = ROOMY) -> After:
    """Deployed before this process began to hear: what it was asked meanwhile is not known."""
    return After(AUTOSCALE, REGISTERED, pushed("d"), built("d"), configured(settings), *events)


def new(*events: Any, settings: AutoscalingSettings = ROOMY) -> After:
    """Deployed while this process hears: there was no load that it could have missed."""
    return After(AUTOSCALE).passes(1).then(REGISTERED, pushed("d"), built("d"), configured(settings), *events)


def steady(story: After, seconds: int, in_flight: int) -> After:
    """So much load, told every second; what is called for on the way must not be."""
    for _ in range(seconds):
        story.passes(1).hears(load(in_flight, mean=float(in_flight)))
        assert story.due() == (), story.now
    return story


GIVEN = After(AUTOSCALE)


# From zero


@pytest.mark.parametrize("begin", [old, new])
def test_a_request_that_waits_at_zero_raises_at_once_and_the_command_has_its_grounds(begin: Any) -> None:
    story = begin()
    assert story.due() == ()
    command = story.hears(load(parked=3)).the(ScaleByLoad)
    assert (command.deployment_id, command.target) == (D, 0)
    assert (command.grounds.parked, command.grounds.settings) == (3, ROOMY)
    assert command.grounds.settings_position == 4, "of the event that configured it"


def test_what_waits_in_the_async_queue_raises_from_zero_and_keeps_it_from_going_there() -> None:
    story = old().hears(load(queued=7, worker="queue"))
    grounds = story.the(ScaleByLoad).grounds
    assert (grounds.queued, grounds.parked) == (7, 0)
    zero = old(*RUNNING, to_zero("d"))
    assert zero.hears(load(queued=1, at=zero.position - 1)).due() == (), "of before it went to zero"
    story = quiet(new(*RUNNING, settings=DEFAULT))
    for _ in range(2 * DELAY_S):
        story.passes(1).hears(load(queued=1, worker="queue"))
        assert story.due() == ()
    assert story.passes(SHARE_EXPIRES_S + DELAY_S).calls_for() == (ScaleByLoad,)


def test_a_queue_is_demand_like_any_other() -> None:
    story = steady(new(*RUNNING), 30, 1)
    story.passes(6).hears(load(queued=20, mean=20.0, worker="queue"))
    grounds = story.passes(1).hears(load(queued=20, mean=20.0, worker="queue")).the(ScaleByLoad).grounds
    assert grounds.queued == 20 and grounds.burst_mean > 1


def test_what_waits_at_several_workers_counts_together_until_they_fall_silent() -> None:
    story = old().hears(load(parked=3, worker="a")).hears(load(parked=4, worker="b"))
    assert story.the(ScaleByLoad).grounds.parked == 7
    story.passes(SHARE_EXPIRES_S - 1).hears(load(parked=1, worker="b"))
    assert story.the(ScaleByLoad).grounds.parked == 4
    assert story.passes(1).hears(load(parked=1, worker="b")).the(ScaleByLoad).grounds.parked == 1, "worker a is gone"


def test_nobody_who_waited_before_it_went_to_zero_brings_it_back() -> None:
    story = old(*RUNNING, to_zero("d"))
    zero = story.position
    assert story.hears(load(parked=1, at=zero - 1)).due() == ()
    assert story.hears(load(parked=1, at=zero)).calls_for() == (ScaleByLoad,)


def test_a_wake_calls_for_a_replica_and_only_at_zero() -> None:
    story = old().hears(WakeAsked(deployment_id=D, at=GIVEN.now))
    assert story.the(ScaleByLoad).grounds.wake
    assert story.then(*RUNNING).hears(WakeAsked(deployment_id=D, at=GIVEN.now)).due() == ()


def test_what_is_asked_for_in_vain_is_asked_for_again_under_the_same_id_and_otherwise_under_another() -> None:
    story = old().hears(load(parked=1))
    first = story.the(ScaleByLoad)
    assert story.passes(AGAIN_S / 2).due() == ()
    assert story.passes(AGAIN_S / 2).the(ScaleByLoad).id == first.id
    story.then(*RUNNING, to_zero("d"))
    assert story.hears(load(parked=1)).the(ScaleByLoad).id != first.id


def test_nothing_is_raised_that_cannot_run() -> None:
    story = After(AUTOSCALE, REGISTERED, pushed("d")).hears(load(parked=1))
    assert story.due() == (), "it is not built yet"
    assert story.then(built("d")).calls_for() == (ScaleByLoad,)
    ended = DeploymentDeactivated(model_id=M, deployment_id=D, reason="by a person")
    assert story.then(ended).hears(load(parked=1)).due() == ()
    assert story.then(DeploymentActivated(model_id=M, deployment_id=D)).calls_for() == (ScaleByLoad,)
    gone = DeploymentDeleted(model_id=M, deployment_id=D)
    assert story.then(gone).hears(load(parked=1)).passes(AGAIN_S).due() == () and story.sleeps_s() is None


# Up


def test_load_raises_once_its_window_is_full_where_it_may_have_been_missed() -> None:
    story = steady(old(*RUNNING), WINDOW_S - 1, 5)
    command = story.passes(1).hears(load(5, mean=5.0)).the(ScaleByLoad)
    assert command.target == 1 and command.grounds.window_filled
    assert command.grounds.mean == pytest.approx(5.0, abs=0.2)


def test_load_raises_at_once_where_none_can_have_been_missed() -> None:
    story = steady(new(*RUNNING), 2, 1)
    command = story.passes(1).hears(load(20, mean=20.0)).the(ScaleByLoad)
    assert command.grounds.burst_mean == pytest.approx(22 / 6, rel=0.2) and command.grounds.window_filled


def test_after_an_interruption_of_the_channel_the_window_has_to_fill_again() -> None:
    story = steady(old(*RUNNING), WINDOW_S - 1, 5)
    story.hears(Resumed(at=GIVEN.now))
    story = steady(story, WINDOW_S - 1, 5)
    assert story.passes(1).hears(load(5, mean=5.0)).calls_for() == (ScaleByLoad,)


def test_a_longer_window_has_to_fill_before_it_says_anything() -> None:
    longer = msgspec.structs.replace(ROOMY, autoscaling_window_s=2 * WINDOW_S)
    story = new(*RUNNING).passes(600).then(configured(longer))
    story = steady(story, WINDOW_S - 1, 5)
    assert story.passes(1).hears(load(5, mean=5.0)).calls_for() == (ScaleByLoad,)


def test_load_that_the_maximum_does_not_let_rise_calls_for_nothing() -> None:
    steady(new(*RUNNING, settings=DEFAULT), 90, 5)


# Both sides of a rolling promotion

C = DeploymentId("c")
ROLLING = PromotionSettings(rolling_deploy=True, max_surge_percent=34)
IN: dict[str, Any] = {"promotion_id": "p-c", "model_id": M, "environment": "production", "deployment_id": C}


def rolling(settings: PromotionSettings = ROLLING) -> After:
    """Three replicas of d with load for three, and c has taken the place of one of them."""
    story = new(*RUNNING, raised("d", 3, 1), pushed("c"), built("c"))
    story = steady(story, 2 * WINDOW_S, 2)
    story.then(started("c", previous="d", wanted=3, settings=settings), raised("c", 2), ready("c"))
    story.then(stepped(33, 1, 2, 2), held("c", "p-c", 2), held("d", "p-c", 2), lowered("d", 2, 3))
    return story


def stepped(percent: int, ready: int, candidate: int, current: int) -> PromotionStepped:
    return PromotionStepped(**IN, percent=percent, ready=ready, candidate_replicas=candidate, current_replicas=current)


def both(story: After, seconds: int, mean: float, part: float) -> After:
    """So much load in all, of which the candidate has this part."""
    for _ in range(seconds):
        story.passes(1).hears(load(1, mean=mean * (1 - part))).hears(load(1 if part else 0, mean=mean * part, of=C))
        assert story.due() == (), story.now
    return story


def test_what_a_rolling_step_took_is_not_raised_again_by_the_load_that_went_with_it() -> None:
    story = both(rolling(), WINDOW_S, 2.0, 1 / 3)
    story.passes(1).hears(load(4, mean=14.0)).hears(load(2, mean=7.0, of=C))
    command = story.the(ScaleByLoad)
    assert (command.deployment_id, command.grounds.other_side) == (D, 1), "the current one grows, for both"
    assert command.grounds.burst_mean > 2.0


def test_a_candidate_has_as_many_as_its_rolling_promotion_says() -> None:
    story = rolling()
    for _ in range(WINDOW_S):
        story.passes(1).hears(load(3, mean=3.0, of=C))
        assert all(each.deployment_id == D for each in story.due() if isinstance(each, ScaleByLoad))
    other = new(*RUNNING, raised("d", 3, 1), pushed("c"), built("c"), configured_of(C, ROOMY), raised("c"), ready("c"))
    other.then(started("c", previous="d", wanted=3))
    for _ in range(WINDOW_S):
        other.passes(1).hears(load(3, mean=3.0, of=C))
        if due := other.due():
            assert [each.deployment_id for each in due if isinstance(each, ScaleByLoad)] == [C], "not a rolling one"
            return
    raise AssertionError("its own load raises it")


def configured_of(deployment_id: DeploymentId, settings: AutoscalingSettings) -> ScalingConfigured:
    return ScalingConfigured(deployment_id=deployment_id, settings=settings, source="settings")


def test_where_the_current_one_gives_first_what_it_gave_is_not_raised_again() -> None:
    sparse = PromotionSettings(rolling_deploy=True, max_surge_percent=0, max_unavailable_percent=34)
    story = new(*RUNNING, raised("d", 3, 1), pushed("c"), built("c"))
    story = steady(story, 2 * WINDOW_S, 2)
    story.then(started("c", previous="d", wanted=3, settings=sparse), raised("c", 2))
    story.then(stepped(0, 0, 2, 1), held("c", "p-c", 2), held("d", "p-c", 1), lowered("d", 1, 3))
    both(story, WINDOW_S, 2.0, 0.0)


def test_after_the_switch_the_previous_one_is_not_raised_by_the_load_that_it_had() -> None:
    story = both(rolling(), 10, 2.0, 1 / 3)
    story.then(stepped(67, 2, 3, 1), held("d", "p-c", 1), lowered("d", 1, 2))
    story = both(story, 10, 2.0, 2 / 3)
    story.then(completed("c", previous="d"), released("d", "p-c"), released("c", "p-c"))
    for _ in range(WINDOW_S):
        story.passes(1).hears(load(2, mean=2.0, of=C))
        assert all(each.deployment_id == C for each in story.due() if isinstance(each, ScaleByLoad))


# Down


def quiet(story: After) -> After:
    return story.hears(load(1, mean=1.0)).passes(1).hears(load(mean=1.0))


def test_quiet_for_a_whole_delay_calls_for_zero_at_the_moment_that_was_named() -> None:
    story = quiet(new(*RUNNING, settings=DEFAULT))
    assert story.due() == ()
    while (sleeps_s := story.sleeps_s()) is not None and story.passes(sleeps_s).calls_for() == ():
        assert story.now < GIVEN.now + timedelta(seconds=DELAY_S + 2)
    assert story.now == GIVEN.now + timedelta(seconds=DELAY_S + 2)
    story.then(to_zero("d")).passes(AGAIN_S)
    assert story.due() == () and story.sleeps_s() is None, "at rest it costs nothing"


def test_what_has_not_been_ready_since_it_was_raised_is_left_its_time_to_start() -> None:
    story = new(raised("d"), assigned("d"), settings=DEFAULT)
    assert story.passes(STARTING_S + DELAY_S - 1).due() == ()
    assert story.passes(1).calls_for() == (ScaleByLoad,)
    story = new(raised("d"), assigned("d"), settings=DEFAULT).passes(STARTING_S).then(ready("d"))
    assert story.passes(DELAY_S - 1).due() == (), "ready, it has a whole delay"
    assert story.passes(1).calls_for() == (ScaleByLoad,)


def test_a_step_down_needs_a_whole_delay_below_and_load_that_returns_begins_it_anew() -> None:
    story = steady(new(*RUNNING, raised("d", 4, 1)), 100, 1)
    story = steady(story, DELAY_S - 101, 1)
    story = steady(story, 30, 4)  # as much as four can just take
    story = steady(story, DELAY_S // 2, 1)
    assert story.due() == ()


def test_the_step_down_comes_when_the_delay_is_over_and_the_next_a_delay_later() -> None:
    story = steady(new(*RUNNING, raised("d", 4, 1)), DELAY_S, 1)
    command = story.passes(1).hears(load(1, mean=1.0)).the(ScaleByLoad)
    assert command.target == 4 and command.grounds.below_for_s == pytest.approx(DELAY_S, abs=1.5)
    story.then(lowered("d", 3, 4))
    steady(story, DELAY_S - 1, 1)


def test_nothing_is_lowered_while_a_promotion_holds_it_and_a_whole_delay_passes_after() -> None:
    story = quiet(new(*RUNNING, held("d", "p"), settings=DEFAULT)).passes(10 * DELAY_S)
    assert story.due() == ()
    assert story.then(released("d", "p")).passes(DELAY_S - 1).due() == ()
    assert story.passes(1).calls_for() == (ScaleByLoad,)


def test_silence_that_was_not_heard_is_no_quiet() -> None:
    story = quiet(new(*RUNNING, settings=DEFAULT)).passes(DELAY_S - 2).hears(Resumed(at=GIVEN.now))
    assert story.passes(DELAY_S - 1).due() == ()
    assert story.passes(1).calls_for() == (ScaleByLoad,)


# The schedule, and what is no business of it


def test_a_schedule_is_applied_when_it_is_set_and_again_when_it_changes_by_itself() -> None:
    entry = ScheduledMinimum(cron="0 8 * * *", timezone="UTC", for_s=3600, min_replica=2)
    story = old(*RUNNING, settings=msgspec.structs.replace(ROOMY, schedule=(entry,)))
    assert story.the(ApplySchedule).deployment_id == D
    until = story.now + timedelta(hours=8)
    story.then(MinimumScheduled(deployment_id=D, min_replica=0, until=until)).hears(load(1, mean=1.0))
    assert story.due() == ()
    story.passes(8 * 3600 - 1).hears(load(1, mean=1.0))
    assert ApplySchedule not in story.calls_for()
    assert story.passes(1).calls_for() == (ApplySchedule,)


def test_a_schedule_wakes_who_rests_and_nobody_who_was_replaced() -> None:
    entry = ScheduledMinimum(cron="0 8 * * *", timezone="UTC", for_s=3600, min_replica=2)
    settings = msgspec.structs.replace(ROOMY, schedule=(entry,))
    assert old(*RUNNING, to_zero("d"), settings=settings).calls_for() == (ApplySchedule,)
    assert old(*RUNNING, to_zero("d", "replaced"), settings=settings).due() == ()


def test_signals_about_others_change_nothing() -> None:
    story = old(*RUNNING)
    story.hears(msgspec.structs.replace(load(parked=9), deployment_id=DeploymentId("unknown")))
    story.hears(Heartbeat(node_id=NodeId("n"), boot_id="b", at=GIVEN.now))
    assert story.due() == ()
