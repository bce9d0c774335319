"""From a push to replicas."""

from events.base import DeploymentId
from events.model import (
    DeploymentActivated,
    DeploymentCopied,
    DeploymentDeactivated,
    DeploymentDeleted,
    DeploymentFailed,
    DeploymentRetried,
    ModelDeleted,
)
from handlers.deciders.build import RequestBuild, StopBuild
from handlers.deciders.scaling import BringUp, ScaleToZero
from handlers.reactors.bring_up import BRING_UP
from tests.reactors.after import After
from tests.reactors.facts import REGISTERED, M, build_failed, built, pushed, raised, requested, to_zero

D = DeploymentId("d")
DEACTIVATED = DeploymentDeactivated(model_id=M, deployment_id=D, reason="not needed")
ACTIVATED = DeploymentActivated(model_id=M, deployment_id=D)
RETRIED = DeploymentRetried(model_id=M, deployment_id=D, attempt=2)
GONE = DeploymentDeleted(model_id=M, deployment_id=D)
UP = (REGISTERED, pushed("d"), requested("d"), built("d"), raised("d"))


def test_a_push_is_built_and_brought_up_step_by_step() -> None:
    story = After(BRING_UP, REGISTERED, pushed("d"))
    assert story.calls_for() == (RequestBuild,)
    assert story.then(requested("d")).calls_for() == ()
    assert story.then(built("d")).calls_for() == (BringUp,)
    assert story.then(raised("d")).calls_for() == ()


def test_a_copy_takes_what_was_built_for_the_original() -> None:
    copied = DeploymentCopied(model_id=M, deployment_id=DeploymentId("c"), original=D, reason="it serves staging")
    story = After(BRING_UP, *UP, pushed("c"), copied)
    assert story.the(RequestBuild).reuses == built("d")
    unbuilt = After(BRING_UP, REGISTERED, pushed("d"), requested("d"), pushed("c"), copied)
    assert unbuilt.the(RequestBuild).reuses is None


def test_a_build_that_failed_is_not_brought_up_until_somebody_asks_again() -> None:
    story = After(BRING_UP, REGISTERED, pushed("d"), requested("d"))
    before = After(BRING_UP, REGISTERED, pushed("d")).the(RequestBuild).build_id
    assert story.then(build_failed("d")).calls_for() == ()
    assert story.then(RETRIED).the(RequestBuild).build_id != before


def test_what_is_deactivated_or_deleted_while_it_is_built_is_stopped() -> None:
    for end in (DEACTIVATED, GONE, ModelDeleted(model_id=M)):
        story = After(BRING_UP, REGISTERED, pushed("d"), requested("d"), end)
        assert story.calls_for() == (StopBuild,)


def test_what_nobody_wants_any_more_goes_to_zero_and_says_why() -> None:
    failure = DeploymentFailed(model_id=M, deployment_id=D, reason="boom")
    for end, rule in ((DEACTIVATED, "deactivated"), (GONE, "deleted"), (failure, "failed")):
        assert After(BRING_UP, *UP, end).the(ScaleToZero).rule == rule


def test_what_is_activated_again_comes_up_again() -> None:
    story = After(BRING_UP, *UP, DEACTIVATED, to_zero("d", "deactivated"))
    assert story.calls_for() == ()
    assert story.then(ACTIVATED).calls_for() == (BringUp,)


def test_a_retry_of_what_is_up_calls_for_nothing_now_or_after_it_went_to_zero() -> None:
    """The simulator found this: a control process that started later raised a sleeping deployment for nobody."""
    story = After(BRING_UP, *UP, RETRIED)
    assert story.calls_for() == ()
    assert story.then(to_zero("d", "quiet")).calls_for() == ()


def test_a_late_scale_to_zero_does_not_undo_an_activation() -> None:
    story = After(BRING_UP, *UP, DEACTIVATED, ACTIVATED)
    assert story.calls_for() == ()
    assert story.then(to_zero("d", "deactivated")).calls_for() == (BringUp,)


def test_what_somebody_raises_who_has_not_seen_that_it_is_not_wanted_goes_down_again() -> None:
    story = After(BRING_UP, *UP, DEACTIVATED)
    first = story.the(ScaleToZero)
    again = story.then(to_zero("d", "deactivated"), raised("d")).the(ScaleToZero)
    assert again.id != first.id, "the same id would be taken for the same request, which was carried out"
