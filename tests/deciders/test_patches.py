"""Rules of a development deployment's patch chain."""

import pytest

from events.base import BlobDigest, DeploymentId, derive
from events.model import (
    DeploymentDeactivated,
    DeploymentDeleted,
    DeploymentFailed,
    DevelopmentPatched,
    DevelopmentSyncRequested,
)
from handlers.deciders.model import MODEL, PatchDevelopment, SyncDevelopment
from tests.deciders.test_model import PUSH, REGISTERED, D, M, pushed
from tests.spec import changed, given, ids

PATCH = PatchDevelopment(
    **ids("p1"),
    model_id=M,
    deployment_id=D,
    base_hash="base",
    from_hash="base",
    to_hash="one",
    patch=BlobDigest("sha256:01"),
    signature=BlobDigest("sha256:02"),
    kinds=("model_code",),
)
SYNC = SyncDevelopment(**ids("s1"), model_id=M, deployment_id=D)
DEVELOPMENT = (REGISTERED, pushed(name="development", is_development=True))


def patched(number: int, from_hash: str, to_hash: str) -> DevelopmentPatched:
    fields = {name: getattr(PATCH, name) for name in DevelopmentPatched.__struct_fields__ if hasattr(PATCH, name)}
    return DevelopmentPatched(**{**fields, "number": number, "from_hash": from_hash, "to_hash": to_hash})


def synced(number: int, attempt: int) -> DevelopmentSyncRequested:
    return DevelopmentSyncRequested(model_id=M, deployment_id=D, number=number, attempt=attempt)


ONE = patched(1, "base", "one")


def test_the_chain_begins_at_what_was_built() -> None:
    given(MODEL, *DEVELOPMENT).when(PATCH).then(ONE)


def test_each_patch_starts_where_the_last_one_ended() -> None:
    second = changed(PATCH, **ids("p2"), from_hash="one", to_hash="two")
    given(MODEL, *DEVELOPMENT, ONE).when(second).then(patched(2, "one", "two"))


def test_a_change_that_is_taken_back_is_a_patch_too() -> None:
    back = changed(PATCH, **ids("p2"), from_hash="one", to_hash="base")
    given(MODEL, *DEVELOPMENT, ONE).when(back).then(patched(2, "one", "base"))


@pytest.mark.parametrize("from_hash", ["base", "something older"])
def test_a_patch_of_another_source_is_refused_and_says_push_again(from_hash: str) -> None:
    stale = changed(PATCH, **ids("p2"), from_hash=from_hash, to_hash="two")
    reason = given(MODEL, *DEVELOPMENT, ONE).when(stale).refused("conflict", "prev_hash")
    assert "push again" in reason and from_hash[:12] in reason and "one" in reason


def test_the_same_patch_twice_changes_nothing() -> None:
    given(MODEL, *DEVELOPMENT, ONE).when(PATCH).unchanged()


def test_a_published_deployment_is_never_patched() -> None:
    assert "push again" in given(MODEL, REGISTERED, pushed()).when(PATCH).refused("precondition", "deployment_id")
    given(MODEL, REGISTERED, pushed()).when(SYNC).refused("precondition", "deployment_id")


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (DeploymentFailed(model_id=M, deployment_id=D, reason="load"), "failed"),
        (DeploymentDeactivated(model_id=M, deployment_id=D, reason="asked"), "deactivated"),
    ],
)
def test_what_does_not_run_is_not_patched(end: DeploymentFailed | DeploymentDeactivated, says: str) -> None:
    assert says in given(MODEL, *DEVELOPMENT, end).when(PATCH).refused("precondition", "deployment_id")


def test_a_push_replaces_the_slot_and_its_chain() -> None:
    again = changed(PUSH, **ids("c2"), is_development=True)
    deleted = DeploymentDeleted(model_id=M, deployment_id=D)
    events = given(MODEL, *DEVELOPMENT, ONE).when(again)
    events.then(deleted, pushed("c2", 2, "development", is_development=True))
    given(MODEL, *DEVELOPMENT, ONE, deleted).when(changed(PATCH, from_hash="one", to_hash="two")).refused("not_found")
    fresh = changed(PATCH, deployment_id=DeploymentId(derive("deployment", "c2")), base_hash="anew", from_hash="anew")
    history = (*DEVELOPMENT, ONE, deleted, pushed("c2", 2, "development", is_development=True))
    given(MODEL, *history).when(fresh).then_like((DevelopmentPatched, {"number": 1, "from_hash": "anew"}))


def test_a_sync_asks_for_the_whole_chain_and_may_be_tried_again() -> None:
    given(MODEL, *DEVELOPMENT, ONE).when(SYNC).then(synced(1, 1))
    given(MODEL, *DEVELOPMENT, ONE, synced(1, 1)).when(changed(SYNC, **ids("s2"))).then(synced(1, 2))
    given(MODEL, *DEVELOPMENT).when(SYNC).unchanged()


def test_only_the_slot_is_named_development() -> None:
    assert "choose another" in given(MODEL).when(changed(PUSH, name="development")).refused("invalid", "name")
