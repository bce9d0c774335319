"""Nobody comes in without a key of the right scope; keys and secrets are made, listed and taken away."""

import stat

import httpx
import pytest

from events.access import SecretStored
from tests.gateway.control.stand import INVOKE, MANAGE, Stand


@pytest.mark.parametrize("path", ["/v1/models", "/v1/nothing", "/docs", "/openapi.json", "/", "/v1/causeway/status"])
async def test_without_a_key_nothing_is_reachable(stand: Stand, path: str) -> None:
    async with stand.client_with(None) as nobody:
        answer = await nobody.get(path)
    assert answer.status_code == 401
    assert "API key" in answer.json()["message"]


async def test_health_needs_no_key_and_says_position_and_staleness(stand: Stand) -> None:
    async with stand.client_with(None) as nobody:
        assert (await nobody.get("/healthz")).json() == {"status": "ok", "position": 2}
        stand.stale_since = 0.0
        stale = (await nobody.get("/healthz")).json()
    assert stale["status"] == "stale" and stale["stale_for_s"] > 0


@pytest.mark.parametrize("key", ["abcd1234.wrong", "nobody.x", "garbage", "ü.x"])
async def test_a_wrong_key_is_refused_with_the_way_to_send_one(stand: Stand, key: str) -> None:
    headers = [(b"authorization", f"Api-Key {key}".encode())]
    async with stand.client_with(None) as client:
        answer = await client.get("/v1/models", headers=headers)
        graphql = await client.post("/graphql/", headers=headers, json={"query": "{teams{id}}"})
    assert answer.status_code == 401 and "not valid" in answer.json()["message"]
    assert answer.headers["www-authenticate"]
    # truss prints errors only of a 200.
    assert graphql.status_code == 200 and "not valid" in graphql.json()["errors"][0]["message"]


async def test_both_authorization_schemes_work_and_an_invoke_key_may_not_manage(stand: Stand) -> None:
    async with stand.client_with(None) as client:
        bearer = await client.get("/v1/models", headers={"Authorization": f"Bearer {MANAGE}"})
        invoke = await client.get("/v1/models", headers={"Authorization": f"Bearer {INVOKE}"})
    assert bearer.status_code == 200
    assert invoke.status_code == 403 and "manage" in invoke.json()["message"]


async def test_a_key_for_one_model_is_listed_as_such_and_unknown_models_are_named(stand: Stand) -> None:
    unknown = await stand.client.post("/v1/api_keys", json={"type": "WORKSPACE_INVOKE", "model_ids": ["nothing"]})
    assert unknown.status_code == 400 and "there is no model nothing" in unknown.json()["message"]
    asked = {"type": "WORKSPACE_MANAGE_ALL", "environments": ["staging"]}
    manager = await stand.client.post("/v1/api_keys", json=asked)
    assert manager.status_code == 400 and "leave environments out" in manager.json()["message"]
    asked = {"type": "WORKSPACE_INVOKE", "environments": ["staging"]}
    assert (await stand.client.post("/v1/api_keys", json=asked)).status_code == 200
    listed = (await stand.client.get("/v1/api_keys")).json()["keys"][-1]
    assert (listed["model_ids"], listed["environments"]) == (None, ["staging"])


async def test_a_key_is_issued_used_listed_without_its_secret_and_revoked(stand: Stand) -> None:
    made = await stand.client.post("/v1/api_keys", json={"type": "WORKSPACE_MANAGE_ALL", "name": "ci"})
    key = made.json()["api_key"]
    prefix = key.split(".")[0]
    async with stand.client_with(key) as ci:
        assert (await ci.get("/v1/models")).status_code == 200
        listed = (await ci.get("/v1/api_keys")).json()["keys"]
        assert {"prefix", "name", "type", "model_ids", "team_name"} <= set(listed[-1])
        assert (listed[-1]["prefix"], listed[-1]["type"]) == (prefix, "WORKSPACE_MANAGE_ALL")
        assert key.split(".")[1] not in str(listed)
        assert (await ci.delete(f"/v1/api_keys/{prefix}")).json() == {"prefix": prefix}
        assert (await ci.get("/v1/models")).status_code == 401
    gone = await stand.client.delete("/v1/api_keys/nothing")
    assert gone.status_code == 404 and gone.json()["field"] == "api_key_prefix"


async def test_a_secret_is_kept_in_a_file_and_never_in_the_log(stand: Stand) -> None:
    stored = await stand.client.post("/v1/secrets", json={"name": "hf_token", "value": "hush"})
    assert {"id", "created_at", "name", "team_name"} <= set(stored.json())
    path = stand.state / "secrets" / "hf_token"
    assert path.read_text() == "hush" and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "hush" not in str(await stand.recorded())
    before = (await stand.recorded())[-1]
    await stand.client.post("/v1/secrets", json={"name": "hf_token", "value": "hush"})
    after = (await stand.recorded())[-1]
    assert isinstance(before, SecretStored) and isinstance(after, SecretStored) and before.version != after.version
    assert [each["name"] for each in (await stand.client.get("/v1/secrets")).json()["secrets"]] == ["hf_token"]
    assert (await stand.client.delete("/v1/secrets/hf_token")).json() == {"name": "hf_token"}
    assert list((stand.state / "secrets").iterdir()) == []
    assert (await stand.client.delete("/v1/secrets/hf_token")).status_code == 404


@pytest.mark.parametrize("name", ["../keys", "", "a/b", "a" * 200, ".hidden"])
async def test_a_secrets_name_cannot_leave_its_folder(stand: Stand, name: str) -> None:
    answer = await stand.client.post("/v1/secrets", json={"name": name, "value": "x"})
    assert answer.status_code == 400 and answer.json()["field"] == "name"


async def test_errors_have_one_shape_whoever_makes_them(stand: Stand) -> None:
    answers: list[httpx.Response] = [
        await stand.client.post("/v1/secrets", content=b"{not json"),
        await stand.client.post("/v1/secrets", json=[1]),
        await stand.client.post("/v1/secrets", json={"name": "x"}),
        await stand.client.post("/v1/secrets", json={"name": "x", "value": 1}),
        await stand.client.put("/v1/secrets", json={}),
        await stand.client.get("/v1/training_projects"),
        await stand.client.get("/v1/no_such_thing"),
        await stand.client.post("/v1/secrets", content=b" " * (9 << 20)),
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 400, 400, 404, 404, 404, 413]
    for answer in answers:
        assert answer.json()["message"] and "detail" not in answer.json()
    assert answers[3].json()["field"] == "value"
    assert "not there yet" in answers[5].json()["message"]
    assert "nothing at" in answers[6].json()["message"]
