"""Rules of models and deployments."""

import pytest

from events.base import BlobDigest, DeploymentId, ModelId, derive
from events.model import (
    DeploymentActivated,
    DeploymentCopied,
    DeploymentDeactivated,
    DeploymentDeleted,
    DeploymentFailed,
    DeploymentLabelled,
    DeploymentPushed,
    DeploymentRenamed,
    DeploymentRetried,
    ModelDeleted,
    ModelRegistered,
)
from handlers.deciders.model import (
    MODEL,
    ActivateDeployment,
    DeactivateDeployment,
    DeleteDeployment,
    DeleteModel,
    FailDeployment,
    LabelDeployment,
    PushDeployment,
    RenameDeployment,
    RetryDeployment,
    model_id_of,
)
from tests.spec import changed, given, ids

M = model_id_of("default", "iris")
D = DeploymentId(derive("deployment", "c1"))
PUSH = PushDeployment(
    **ids("c1"),
    model_id=M,
    model_name="iris",
    team="default",
    name=None,
    is_development=False,
    source=BlobDigest("sha256:aa"),
    config=BlobDigest("sha256:bb"),
    raw_config=None,
    environment=None,
    scale_down_previous=True,
    cpu_millicores=1000,
    memory_bytes=2 << 30,
    predict_concurrency=1,
    deploy_timeout_s=0,
    labels="{}",
    client="{}",
)
REGISTERED = ModelRegistered(model_id=M, name="iris", team="default")


def pushed(command: str = "c1", number: int = 1, name: str = "deployment-1", **more: object) -> DeploymentPushed:
    fields = {field: getattr(PUSH, field) for field in DeploymentPushed.__struct_fields__ if hasattr(PUSH, field)}
    own = {"deployment_id": DeploymentId(derive("deployment", command)), "number": number, "name": name}
    return DeploymentPushed(**{**fields, **own, **more})


def test_the_first_push_registers_the_model_and_names_the_deployment() -> None:
    given(MODEL).when(PUSH).then(REGISTERED, pushed())


def test_the_second_push_takes_the_next_number() -> None:
    given(MODEL, REGISTERED, pushed()).when(changed(PUSH, **ids("c2"))).then(pushed("c2", 2, "deployment-2"))


def test_a_copy_says_what_it_is_a_copy_of_and_why() -> None:
    copy = changed(PUSH, **ids("c2"), copy_of=D, copy_reason="it serves staging already")
    copied = DeploymentCopied(
        model_id=M, deployment_id=DeploymentId(derive("deployment", "c2")), original=D, reason=copy.copy_reason
    )
    given(MODEL, REGISTERED, pushed()).when(copy).then(pushed("c2", 2, "deployment-2"), copied)
    gone = DeploymentDeleted(model_id=M, deployment_id=D)
    given(MODEL, REGISTERED, pushed(), gone).when(copy).refused("not_found", "deployment_id")


def test_a_number_is_not_given_twice_even_after_a_delete() -> None:
    history = (REGISTERED, pushed(), DeploymentDeleted(model_id=M, deployment_id=D))
    given(MODEL, *history).when(changed(PUSH, **ids("c2"))).then(pushed("c2", 2, "deployment-2"))


def test_a_name_that_is_taken_is_refused() -> None:
    given(MODEL, REGISTERED, pushed(name="blue")).when(changed(PUSH, name="blue")).refused("conflict", "name")


@pytest.mark.parametrize("name", ["a b", "ü", "x" * 129, "a/b"])
def test_a_bad_deployment_name_is_refused(name: str) -> None:
    given(MODEL).when(changed(PUSH, name=name)).refused("invalid", "name")


def test_a_push_without_a_model_name_is_refused() -> None:
    given(MODEL).when(changed(PUSH, model_name=" ")).refused("invalid", "model_name")


def test_a_development_push_replaces_the_development_slot() -> None:
    push = changed(PUSH, is_development=True, **ids("c2"))
    first = pushed(name="development", is_development=True)
    given(MODEL, REGISTERED, first).when(push).then(
        DeploymentDeleted(model_id=M, deployment_id=D), pushed("c2", 2, "development", is_development=True)
    )


def test_a_development_push_cannot_ask_for_an_environment() -> None:
    given(MODEL).when(changed(PUSH, is_development=True, environment="production")).refused("invalid", "environment")


def test_a_deployment_fails_once() -> None:
    fail = FailDeployment(**ids(), model_id=M, deployment_id=D, reason="load: boom")
    failed = DeploymentFailed(model_id=M, deployment_id=D, reason="load: boom")
    given(MODEL, REGISTERED, pushed()).when(fail).then(failed)
    given(MODEL, REGISTERED, pushed(), failed).when(fail).unchanged()


def test_a_failed_deployment_can_be_tried_again_and_counts_its_attempts() -> None:
    retry = RetryDeployment(**ids(), model_id=M, deployment_id=D)
    failed = DeploymentFailed(model_id=M, deployment_id=D, reason="x")
    second = DeploymentRetried(model_id=M, deployment_id=D, attempt=2)
    given(MODEL, REGISTERED, pushed(), failed).when(retry).then(second)
    given(MODEL, REGISTERED, pushed(), failed, second).when(retry).then(
        DeploymentRetried(model_id=M, deployment_id=D, attempt=3)
    )


def test_deactivate_and_activate_are_idempotent() -> None:
    off = DeactivateDeployment(**ids(), model_id=M, deployment_id=D, reason="asked")
    on = ActivateDeployment(**ids(), model_id=M, deployment_id=D)
    is_off = DeploymentDeactivated(model_id=M, deployment_id=D, reason="asked")
    is_on = DeploymentActivated(model_id=M, deployment_id=D)
    given(MODEL, REGISTERED, pushed()).when(off).then(is_off)
    given(MODEL, REGISTERED, pushed(), is_off).when(off).unchanged()
    given(MODEL, REGISTERED, pushed(), is_off).when(on).then(is_on)
    given(MODEL, REGISTERED, pushed()).when(on).unchanged()


def test_a_deactivated_deployment_is_activated_not_retried() -> None:
    off = DeploymentDeactivated(model_id=M, deployment_id=D, reason="asked")
    retry = RetryDeployment(**ids(), model_id=M, deployment_id=D)
    given(MODEL, REGISTERED, pushed(), off).when(retry).refused("precondition", "deployment_id")


def test_the_current_deployment_of_an_environment_cannot_be_deleted() -> None:
    delete = DeleteDeployment(**ids(), model_id=M, deployment_id=D, serves="production")
    reason = given(MODEL, REGISTERED, pushed()).when(delete).refused("precondition", "deployment_id")
    assert "production" in reason


def test_one_that_an_environment_needs_is_deactivated_only_by_who_says_that_he_knows() -> None:
    unaware = DeactivateDeployment(**ids(), model_id=M, deployment_id=D, reason="asked", serves="staging")
    reason = given(MODEL, REGISTERED, pushed()).when(unaware).refused("precondition", "force")
    assert "staging" in reason
    off = DeploymentDeactivated(model_id=M, deployment_id=D, reason="asked")
    given(MODEL, REGISTERED, pushed(), off).when(unaware).then()
    aware = DeactivateDeployment(**ids(), model_id=M, deployment_id=D, reason="asked")
    given(MODEL, REGISTERED, pushed()).when(aware).then(off)


def test_a_deleted_deployment_is_not_found_afterwards() -> None:
    delete = DeleteDeployment(**ids(), model_id=M, deployment_id=D, serves=None)
    gone = DeploymentDeleted(model_id=M, deployment_id=D)
    given(MODEL, REGISTERED, pushed()).when(delete).then(gone)
    given(MODEL, REGISTERED, pushed(), gone).when(delete).refused("not_found", "deployment_id")


def test_a_deleted_model_is_registered_again_by_a_push_and_numbers_go_on() -> None:
    history = (REGISTERED, pushed(), ModelDeleted(model_id=M))
    given(MODEL, *history).when(DeleteModel(**ids(), model_id=M)).refused("not_found", "model_id")
    given(MODEL, *history).when(changed(PUSH, **ids("c2"))).then(REGISTERED, pushed("c2", 2, "deployment-2"))


def test_nothing_can_be_done_with_a_model_that_does_not_exist() -> None:
    command = ActivateDeployment(**ids(), model_id=ModelId("nope"), deployment_id=D)
    given(MODEL).when(command).refused("not_found", "model_id")


def test_a_deployment_is_renamed_to_what_no_other_is_called() -> None:
    rename = RenameDeployment(**ids(), model_id=M, deployment_id=D, name="winter")
    renamed = DeploymentRenamed(model_id=M, deployment_id=D, name="winter")
    given(MODEL, REGISTERED, pushed()).when(rename).then(renamed)
    given(MODEL, REGISTERED, pushed(), renamed).when(rename).unchanged()
    for name in ("", "a b", "x" * 129, "development", "deployment-2"):
        given(MODEL, REGISTERED, pushed()).when(changed(rename, name=name)).refused("invalid", "name")
    gone = DeploymentDeleted(model_id=M, deployment_id=D)
    given(MODEL, REGISTERED, pushed(), gone).when(rename).refused("not_found", "deployment_id")


def test_labels_are_said_as_a_whole_and_once() -> None:
    label = LabelDeployment(**ids(), model_id=M, deployment_id=D, labels='{"team":"ml"}')
    labelled = DeploymentLabelled(model_id=M, deployment_id=D, labels='{"team":"ml"}')
    given(MODEL, REGISTERED, pushed()).when(label).then(labelled)
    given(MODEL, REGISTERED, pushed(), labelled).when(label).unchanged()
