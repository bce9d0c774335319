"""The state machine of promotions: what every command does in every phase, and what it refuses."""

from typing import Any

import pytest

from events.base import DeploymentId, Event, ModelId, PromotionId
from events.environment import (
    Comparison,
    EnvironmentConfigured,
    Figures,
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionPaused,
    PromotionResumed,
    PromotionRolledBack,
    PromotionSettings,
    PromotionSettingsSet,
    PromotionStarted,
    PromotionStepped,
)
from events.scaling import AutoscalingSettings
from handlers.base import Refused
from handlers.deciders.environment import ENVIRONMENT, SetPromotionSettings
from handlers.deciders.promotion import TABLE
from handlers.deciders.promotion_commands import (
    CancelPromotion,
    CompletePromotion,
    FinishRollBack,
    PausePromotion,
    ResumePromotion,
    RollBackPromotion,
    RollForward,
    SetCanaryWeight,
    StartPromotion,
    StepPromotion,
)
from handlers.deciders.promotion_phases import PHASES
from tests.spec import changed, given, ids

M, A, B = ModelId("m"), DeploymentId("a"), DeploymentId("b")
P = PromotionId("p")
HERE: dict[str, Any] = {"model_id": M, "environment": "production"}
IT: dict[str, Any] = {**HERE, "promotion_id": P}
OF: dict[str, Any] = {**IT, "deployment_id": B}
ROLLING = PromotionSettings(rolling_deploy=True)
STARTED = PromotionStarted(
    **OF, previous=A, wanted_replicas=4, cleanup="KEEP", deadline_s=60, settings=ROLLING, current_replicas=4
)
OPENED = PromotionStepped(**OF, percent=0, ready=0, candidate_replicas=1, current_replicas=4)
STEPPED = PromotionStepped(**OF, percent=25, ready=1, candidate_replicas=2, current_replicas=3)
CANARY = PromotionStepped(**OF, percent=5, ready=1, candidate_replicas=1, current_replicas=4, held=True)
PAUSED, RESUMED = PromotionPaused(**OF), PromotionResumed(**OF)
BACK = PromotionRolledBack(**OF, outcome="CANCELED", reason="no", figures=None, percent=25)
COMPLETED = PromotionCompleted(**OF, previous=None, cleanup="KEEP")
CANCEL = CancelPromotion(**ids(), **HERE, reason="no")
ROLL_BACK = RollBackPromotion(**ids(), **IT, reason="late")
FORWARD = RollForward(**ids(), **HERE, candidate_ready=1)
STEP = StepPromotion(**ids(), **IT, after=1, percent=25, ready=1, candidate_replicas=2, current_replicas=3)
IN: dict[str, tuple[Event, ...]] = {
    "NONE": (),
    "RELEASING": (STARTED, OPENED),
    "RAMPING_UP": (STARTED, OPENED, STEPPED),
    "PAUSED": (STARTED, OPENED, STEPPED, PAUSED),
    "RAMPING_DOWN": (STARTED, OPENED, STEPPED, BACK),
}
REFUSED = "refused"
EXPECTED: dict[Any, tuple[Any, ...]] = {
    #               none, releasing, ramping up, paused, ramping down
    CompletePromotion(**ids(), **IT): ((), (PromotionCompleted,), (PromotionCompleted,), (), ()),
    ROLL_BACK: ((), (PromotionFailed,), (PromotionRolledBack,), (PromotionRolledBack,), ()),
    FinishRollBack(**ids(), **IT): ((), (), (), (), (PromotionCancelled,)),
    SetCanaryWeight(**ids(), **HERE, percent=7): (REFUSED, *[(PromotionStepped,)] * 3, REFUSED),
    PausePromotion(**ids(), **HERE): (REFUSED, (PromotionPaused,), (PromotionPaused,), (), REFUSED),
    ResumePromotion(**ids(), **HERE): (REFUSED, (), (), (PromotionResumed,), REFUSED),
    CANCEL: (REFUSED, (PromotionCancelled,), (PromotionRolledBack,), (PromotionRolledBack,), ()),
    changed(CANCEL, force=True): (
        REFUSED,
        (PromotionCancelled,),
        (PromotionRolledBack,),
        (PromotionRolledBack,),
        (PromotionRolledBack,),
    ),
    FORWARD: (REFUSED, *[(PromotionCompleted,)] * 4),
    StartPromotion(
        **ids(), **HERE, deployment_id=A, is_development=False, wanted_replicas=1, cleanup=None, deadline_s=9
    ): ((PromotionStarted,), *[REFUSED] * 4),
}


def cases() -> list[Any]:
    return [
        pytest.param(command, phase, expected, id=f"{type(command).__name__}-{number}-{phase}")
        for number, (command, row) in enumerate(EXPECTED.items())
        for phase, expected in zip(PHASES, row, strict=True)
    ]


@pytest.mark.parametrize(("command", "phase", "expected"), cases())
def test_every_command_in_every_phase(command: Any, phase: str, expected: Any) -> None:
    state = ENVIRONMENT.initial
    for event in IN[phase]:
        state = ENVIRONMENT.evolve(state, event)
    assert (state.promotion.phase if state.promotion else "NONE") == phase
    when = given(ENVIRONMENT, *IN[phase]).when(command)
    if expected == REFUSED:
        with pytest.raises(Refused, match=r"production (is active|is being rolled back)|wait for it or cancel it"):
            when._decide()
    else:
        assert tuple(type(event) for event in when._decide()) == expected


def test_the_table_has_every_command_in_every_phase() -> None:
    assert all(tuple(row) == PHASES for row in TABLE.values())
    assert set(TABLE) - {type(command) for command in EXPECTED} == {StepPromotion}


def test_a_step_that_was_worked_out_before_the_last_move_is_void() -> None:
    given(ENVIRONMENT, *IN["RELEASING"]).when(STEP).then(STEPPED)
    given(ENVIRONMENT, *IN["RAMPING_UP"]).when(STEP).unchanged()
    given(ENVIRONMENT, *IN["PAUSED"]).when(changed(STEP, after=3)).unchanged()
    given(ENVIRONMENT, *IN["RAMPING_UP"]).when(changed(STEP, promotion_id=PromotionId("older"))).unchanged()
    given(ENVIRONMENT, *IN["RELEASING"]).when(changed(STEP, percent=100)).refused("invalid", "percent")


def test_a_cancelled_rolling_promotion_keeps_its_share_until_the_replicas_are_back_and_force_takes_it_at_once() -> None:
    whole = (PromotionRolledBack, {"percent": 25, "outcome": "CANCELED"})
    given(ENVIRONMENT, *IN["RAMPING_UP"]).when(CANCEL).then_like(whole)
    at_once = (PromotionRolledBack, {"percent": 0, "outcome": "CANCELED"})
    given(ENVIRONMENT, *IN["RAMPING_UP"]).when(changed(CANCEL, force=True)).then_like(at_once)
    given(ENVIRONMENT, *IN["RAMPING_DOWN"]).when(changed(CANCEL, force=True)).then_like(at_once)


def test_what_took_no_replica_away_is_over_at_once() -> None:
    given(ENVIRONMENT, STARTED, CANARY).when(CANCEL).then(PromotionCancelled(**OF, reason="no"))
    figures = Comparison(
        over_s=60.0,
        candidate=Figures(requests=40, errors=20, p95_s=1.0),
        current=Figures(requests=400, errors=0, p95_s=1.0),
    )
    worse = changed(ROLL_BACK, reason="errors", figures=figures)
    given(ENVIRONMENT, STARTED, CANARY).when(worse).then(
        PromotionRolledBack(**OF, outcome="FAILED", reason="errors", figures=figures, percent=0),
        PromotionFailed(**OF, reason="errors"),
    )


def test_a_roll_back_ends_as_what_began_it() -> None:
    finish = FinishRollBack(**ids(), **IT)
    failed = changed(BACK, outcome="FAILED", reason="errors", percent=0)
    given(ENVIRONMENT, STARTED, OPENED, STEPPED, failed).when(finish).then(PromotionFailed(**OF, reason="errors"))


def test_nothing_is_rolled_forward_to_what_cannot_answer() -> None:
    reason = given(ENVIRONMENT, STARTED).when(changed(FORWARD, candidate_ready=0)).refused("precondition")
    assert B in reason
    given(ENVIRONMENT, *IN["RAMPING_DOWN"]).when(FORWARD).then(COMPLETED)


def test_a_canarys_weight_holds_until_somebody_says_to_go_on() -> None:
    weigh = SetCanaryWeight(**ids(), **HERE, percent=50)
    (stepped,) = (
        given(ENVIRONMENT, STARTED, OPENED)
        .when(weigh)
        .then_like((PromotionStepped, {"percent": 50, "candidate_replicas": 2, "current_replicas": 4, "held": True}))
    )
    given(ENVIRONMENT, STARTED, OPENED, stepped).when(weigh).unchanged()
    given(ENVIRONMENT, STARTED, OPENED, stepped).when(changed(STEP, after=2)).unchanged()
    given(ENVIRONMENT, STARTED, OPENED, stepped).when(ResumePromotion(**ids(), **HERE)).then(RESUMED)
    given(ENVIRONMENT, STARTED).when(changed(weigh, percent=100)).refused("invalid", "percent")


def test_a_promotion_goes_on_as_the_environment_was_set_when_it_began() -> None:
    settings = PromotionSettings(
        rolling_deploy=True, replica_overhead_percent=50, cleanup="DEACTIVATE", ready_deadline_s=7
    )
    own = PromotionSettingsSet(**HERE, settings=settings)
    least = EnvironmentConfigured(**HERE, autoscaling=AutoscalingSettings(min_replica=3, max_replica=9))
    start = StartPromotion(
        **ids(), **HERE, deployment_id=B, is_development=False, wanted_replicas=2, cleanup=None, deadline_s=9
    )
    given(ENVIRONMENT, own, least).when(start).then_like(
        (
            PromotionStarted,
            {
                "settings": settings,
                "wanted_replicas": 5,
                "current_replicas": 2,
                "cleanup": "DEACTIVATE",
                "deadline_s": 7,
            },
        )
    )
    given(ENVIRONMENT, own).when(changed(start, cleanup="KEEP")).then_like((PromotionStarted, {"cleanup": "KEEP"}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_surge_percent", 51),
        ("max_surge_percent", 0),
        ("max_unavailable_percent", 10),
        ("stabilization_s", 3601),
        ("replica_overhead_percent", -1),
        ("ramp_up_duration_s", 9),
        ("ready_deadline_s", 0),
        ("rollback_error_rate_percent", 101.0),
        ("rollback_p95_ratio", 0.5),
        ("canary_percent", 100),
    ],
)
def test_settings_out_of_range_are_refused_with_the_field_and_its_value(field: str, value: Any) -> None:
    command = SetPromotionSettings(**ids(), **HERE, settings=changed(PromotionSettings(), **{field: value}))
    reason = given(ENVIRONMENT).when(command).refused("invalid")
    assert field in reason and str(value) in reason


def test_settings_that_are_so_already_change_nothing() -> None:
    given(ENVIRONMENT).when(SetPromotionSettings(**ids(), **HERE, settings=PromotionSettings())).unchanged()
    given(ENVIRONMENT).when(SetPromotionSettings(**ids(), **HERE, settings=ROLLING)).then(
        PromotionSettingsSet(**HERE, settings=ROLLING)
    )
