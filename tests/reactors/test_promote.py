"""Promotions: asked for, held, switched, tidied up."""

from events.base import DeploymentId, PromotionId
from events.environment import EnvironmentConfigured, EnvironmentDeleted, PromotionCancelled
from events.model import DeploymentDeactivated, DeploymentDeleted, DeploymentFailed, ModelDeleted
from events.scaling import AutoscalingSettings, ScalingConfigured
from handlers.deciders.environment import DeleteEnvironment
from handlers.deciders.model import DeactivateDeployment
from handlers.deciders.promotion_commands import CompletePromotion, RollBackPromotion, StartPromotion
from handlers.deciders.scaling import ConfigureScaling, HoldReplicas, ReleaseHold, ScaleToZero
from handlers.reactors.promote import PROMOTE
from tests.reactors.after import After
from tests.reactors.facts import (
    REGISTERED,
    M,
    build_failed,
    built,
    completed,
    draining,
    environment,
    held,
    pushed,
    raised,
    ready,
    released,
    started,
)

SERVING = (REGISTERED, pushed("a"), built("a"), raised("a"), ready("a"), started("a"), completed("a"))


def test_the_first_published_deployment_that_gets_ready_becomes_production() -> None:
    story = After(PROMOTE, REGISTERED, pushed("a"), built("a"), raised("a"))
    assert story.calls_for() == ()
    assert story.then(ready("a")).the(StartPromotion).environment == "production"


def test_a_development_deployment_never_becomes_production_by_itself() -> None:
    story = After(PROMOTE, REGISTERED, pushed("a", development=True), built("a"), ready("a"))
    assert story.calls_for() == ()


def test_a_push_that_asks_for_production_is_promoted_once_it_is_built() -> None:
    story = After(PROMOTE, *SERVING, pushed("b", "production"))
    assert story.calls_for() == ()
    command = story.then(built("b")).the(StartPromotion)
    assert (command.deployment_id, command.wanted_replicas, command.cleanup) == ("b", 1, None), (
        "as the environment says"
    )


def test_the_candidate_must_have_as_many_replicas_as_serve_now() -> None:
    story = After(PROMOTE, *SERVING, ready("a", 2), ready("a", 3), pushed("b", "production"), built("b"))
    assert story.the(StartPromotion).wanted_replicas == 3


def test_an_active_promotion_holds_the_candidates_replicas_and_completes_when_enough_are_ready() -> None:
    story = After(PROMOTE, *SERVING, pushed("b"), built("b"), started("b", previous="a", wanted=2))
    assert story.calls_for() == (HoldReplicas,)
    assert story.then(held("b", "p-b", 2), ready("b", 1)).calls_for() == ()
    assert story.then(ready("b", 2)).calls_for() == (CompletePromotion,)
    assert story.then(draining("b", 2)).calls_for() == ()


def test_a_candidate_that_fails_fails_its_promotion_and_the_current_one_stays() -> None:
    story = After(PROMOTE, *SERVING, pushed("b"), built("b"), started("b", previous="a"), held("b", "p-b"))
    story.then(DeploymentFailed(model_id=M, deployment_id=DeploymentId("b"), reason="boom"))
    assert story.the(RollBackPromotion).reason == "boom"


def test_a_candidate_that_is_not_ready_in_time_fails() -> None:
    story = After(PROMOTE, *SERVING, pushed("b"), built("b"), started("b", previous="a"), held("b", "p-b"))
    assert story.passes(599).calls_for() == ()
    assert "600 s" in story.passes(1).the(RollBackPromotion).reason


def test_after_the_switch_the_hold_ends_and_the_previous_one_goes_to_zero() -> None:
    story = After(PROMOTE, *SERVING, pushed("b"), built("b"), raised("b"), started("b", previous="a"))
    story.then(held("b", "p-b"), ready("b"), completed("b", previous="a"))
    assert set(story.calls_for()) == {ReleaseHold, ScaleToZero}
    assert story.the(ScaleToZero).deployment_id == "a"
    assert story.then(released("b", "p-b"), raised("a", 2, 1)).calls_for() == (), "somebody wanted it since"


def test_cleanup_keeps_or_deactivates_as_was_asked() -> None:
    for cleanup, expected in (("KEEP", ()), ("DEACTIVATE", (DeactivateDeployment,))):
        story = After(PROMOTE, *SERVING, pushed("b"), built("b"), ready("b"), started("b", previous="a"))
        story.then(completed("b", previous="a", cleanup=cleanup))  # type: ignore[arg-type]
        assert story.calls_for() == expected


def test_the_environments_settings_go_to_what_serves_it_unless_a_person_decides_later() -> None:
    settings = AutoscalingSettings(max_replica=4)
    story = After(PROMOTE, *SERVING)
    story.then(EnvironmentConfigured(model_id=M, environment="production", autoscaling=settings))
    assert story.the(ConfigureScaling).settings == settings
    own = ScalingConfigured(deployment_id=DeploymentId("a"), settings=AutoscalingSettings(), source="settings")
    assert story.then(own).calls_for() == ()


def test_cancelling_releases_the_hold() -> None:
    story = After(PROMOTE, *SERVING, pushed("b"), built("b"), started("b", previous="a"), held("b", "p-b"))
    cancelled = PromotionCancelled(
        promotion_id=PromotionId("p-b"),
        model_id=M,
        environment="production",
        deployment_id=DeploymentId("b"),
        reason="changed my mind",
    )
    assert story.then(cancelled).calls_for() == (ReleaseHold,)


# What the simulator found.


def test_a_promotion_waits_for_an_environment_that_does_not_exist_yet() -> None:
    story = After(PROMOTE, *SERVING, pushed("b", "staging"), built("b"))
    assert story.calls_for() == ()
    assert story.then(environment("staging")).the(StartPromotion).environment == "staging"


def test_a_push_that_failed_or_was_deleted_does_not_keep_production_from_another() -> None:
    gone = DeploymentDeleted(model_id=M, deployment_id=DeploymentId("a"))
    for end in (gone, build_failed("a")):
        story = After(PROMOTE, REGISTERED, pushed("a", "production"), end, pushed("b"), built("b"), ready("b"))
        assert story.the(StartPromotion).deployment_id == "b"


def test_a_model_that_is_pushed_again_after_its_deletion_gets_a_production_again() -> None:
    story = After(PROMOTE, *SERVING, ModelDeleted(model_id=M))
    assert story.calls_for() == ()
    assert story.then(REGISTERED, pushed("b"), built("b"), ready("b")).the(StartPromotion).deployment_id == "b"


def test_a_deleted_model_takes_its_environments_with_it() -> None:
    story = After(PROMOTE, *SERVING, environment("staging"), ModelDeleted(model_id=M), REGISTERED)
    assert story.the(DeleteEnvironment).environment == "staging"
    assert story.then(EnvironmentDeleted(model_id=M, environment="staging")).calls_for() == ()


def test_what_was_deleted_while_its_promotion_completed_serves_nothing() -> None:
    gone = DeploymentDeleted(model_id=M, deployment_id=DeploymentId("b"))
    story = After(PROMOTE, *SERVING, pushed("b"), built("b"), ready("b"), started("b", previous="a"), gone)
    story.then(completed("b", previous="a", cleanup="KEEP"))
    assert story.the(StartPromotion).deployment_id == "a"


def test_a_deactivated_candidate_is_not_begun() -> None:
    off = DeploymentDeactivated(model_id=M, deployment_id=DeploymentId("b"), reason="not needed")
    assert After(PROMOTE, *SERVING, pushed("b", "production"), off, built("b")).calls_for() == ()
