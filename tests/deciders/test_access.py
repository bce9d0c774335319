"""Rules of API keys and of the names of secrets."""

import pytest

from events.access import KeyIssued, KeyRevoked, SecretRemoved, SecretStored
from events.base import KeyId, ModelId
from handlers.deciders.access import KEY, SECRET, IssueKey, RemoveSecret, RevokeKey, StoreSecret
from tests.spec import changed, given, ids

K = KeyId("k")
ISSUE = IssueKey(**ids(), key_id=K, name="ada", hash="0" * 64, scopes=("invoke",))
ISSUED = KeyIssued(key_id=K, name="ada", hash="0" * 64, scopes=("invoke",), models=(), environments=())
REVOKE, REVOKED = RevokeKey(**ids(), key_id=K), KeyRevoked(key_id=K)
STORE, STORED = StoreSecret(**ids(), name="hf", version="v1"), SecretStored(name="hf", version="v1")
REMOVE, REMOVED = RemoveSecret(**ids(), name="hf"), SecretRemoved(name="hf")


def test_a_key_is_issued_once_and_never_again_under_its_id() -> None:
    given(KEY).when(ISSUE).then(ISSUED)
    given(KEY, ISSUED).when(ISSUE).refused("conflict", "key_id")
    given(KEY, ISSUED, REVOKED).when(ISSUE).refused("conflict", "key_id")


@pytest.mark.parametrize("scopes", [(), ("all",), ("invoke", "root")])
def test_a_key_has_scopes_that_exist(scopes: tuple[str, ...]) -> None:
    assert "manage, invoke, metrics" in given(KEY).when(changed(ISSUE, scopes=scopes)).refused("invalid", "scopes")


def test_a_key_that_manages_cannot_be_for_some_models_only() -> None:
    bound = changed(ISSUE, scopes=("manage",), models=(ModelId("m"),))
    given(KEY).when(bound).refused("invalid", "model_ids")
    given(KEY).when(changed(ISSUE, scopes=("manage",), environments=("staging",))).refused("invalid", "environments")


def test_revoking_is_final_and_doing_it_twice_is_doing_it_once() -> None:
    given(KEY, ISSUED).when(REVOKE).then(REVOKED)
    given(KEY, ISSUED, REVOKED).when(REVOKE).unchanged()
    given(KEY).when(REVOKE).refused("not_found", "api_key_prefix")


def test_a_new_version_of_a_secret_replaces_the_old_one() -> None:
    given(SECRET).when(STORE).then(STORED)
    given(SECRET, STORED).when(STORE).unchanged()
    given(SECRET, STORED).when(changed(STORE, version="v2")).then(SecretStored(name="hf", version="v2"))


def test_a_secret_that_was_removed_can_be_stored_again() -> None:
    given(SECRET, STORED).when(REMOVE).then(REMOVED)
    given(SECRET, STORED, REMOVED).when(REMOVE).refused("not_found", "name")
    given(SECRET, STORED, REMOVED).when(STORE).then(STORED)


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 129])
def test_a_secrets_name_is_safe_as_a_file_name(name: str) -> None:
    given(SECRET).when(changed(STORE, name=name)).refused("invalid", "name")
