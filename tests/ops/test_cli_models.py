"""Listings, promotion, keys, secrets and logs, as typed."""

import asyncio
import socket
from pathlib import Path

import pytest

from events.base import DeploymentId
from events.codec import Recorded
from events.signals.log_lines import LogFiles, LogLine
from tests.histories import history, two_versions_of_iris
from tests.ops.api import Api
from tests.ops.cli_runs import Shell


async def _events() -> tuple[Recorded, ...]:
    return await (await two_versions_of_iris()).read()


EVENTS = asyncio.run(_events())


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, EVENTS, CAUSEWAY_NATS_URL="nats://127.0.0.1:1")


@pytest.fixture
def remote(tmp_path: Path, api: Api) -> Shell:
    return Shell(tmp_path, EVENTS, CAUSEWAY_URL=api.url, CAUSEWAY_API_KEY="prefix.secret")


def test_models_deployments_and_environments_are_listed(shell: Shell) -> None:
    (model,) = shell.run("models -o json").json
    assert (model["name"], model["deployments"], model["production"]) == ("iris", 2, "deployment-2")
    first, second = shell.run("deployments iris -o json").json
    assert (first["name"], first["status"], first["environments"]) == ("iris/deployment-1", "SCALED_TO_ZERO", [])
    assert (second["status"], second["ready"], second["target"]) == ("ACTIVE", 1, 1)
    assert second["environments"] == ["production"]
    (place,) = shell.run("env list -o json").json
    assert (place["name"], place["current"]) == ("iris/production", "deployment-2")
    assert "iris/deployment-2" in shell.run("deployments").out


def test_listings_go_back_in_time(shell: Shell) -> None:
    assert shell.run("models --at 2 -o json").json == []
    assert "no models yet" in shell.run("models --at 2").out
    assert [row["status"] for row in shell.run("deployments --at 6 -o json").json] == ["BUILDING"]
    assert shell.run("deployments minilm").code == 1


def test_promote_asks_the_plane_with_the_key_and_the_ids_behind_the_names(remote: Shell, api: Api) -> None:
    first = remote.run("deployments -o json").json[0]
    api.answer = (200, {"current_deployment": None, "id": first["deployment_id"], "name": "deployment-1"})
    answer = remote.run("promote iris/deployment-1 --to production --no-wait --keep-previous -o json")
    assert answer.code == 0, answer.err
    _, (method, path, authorization, body) = api.asked
    assert (method, path) == ("POST", f"/v1/models/{first['model_id']}/environments/production/promote")
    assert authorization == "Api-Key prefix.secret"
    assert body == {
        "deployment_id": first["deployment_id"],
        "scale_down_previous_deployment": False,
        "preserve_env_instance_type": True,
    }
    assert answer.json == {
        "deployment_id": first["deployment_id"],
        "environment": "production",
        "result": "started",
    }


def test_a_refusal_of_the_plane_is_one_line_with_its_fix(remote: Shell, api: Api) -> None:
    api.answer = (409, {"message": "a promotion is active", "field": "environment", "fix": "wait for it or cancel it"})
    answer = remote.run("promote iris/deployment-1")
    assert answer.code == 1
    assert "refused with 409: a promotion is active (environment)" in answer.err
    assert "fix: wait for it or cancel it" in answer.err


def test_a_plane_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    shell = Shell(tmp_path, EVENTS, CAUSEWAY_URL=nobody, CAUSEWAY_API_KEY="prefix.secret")
    answer = shell.run("key revoke abc")
    assert answer.code == 1 and f"no answer from {nobody}" in answer.err


def test_without_a_key_a_remote_plane_is_not_asked(tmp_path: Path, api: Api) -> None:
    answer = Shell(tmp_path, EVENTS, CAUSEWAY_URL=api.url).run("key revoke abc")
    assert (answer.code, api.asked) == (1, [])
    assert "fix: set CAUSEWAY_API_KEY" in answer.err


def test_a_key_is_created_and_printed_alone_on_standard_output(remote: Shell, api: Api) -> None:
    api.answer = (200, {"api_key": "abc.def"})
    answer = remote.run("key create ci --may invoke")
    assert answer.out == "abc.def\n"
    assert api.asked[0][1:] == ("/v1/api_keys", "Api-Key prefix.secret", {"name": "ci", "type": "WORKSPACE_INVOKE"})
    assert remote.run("key create ci --may fly").code == 2
    remote.run("key create ci --may invoke --model m1 --model m2 --environment staging")
    assert api.asked[-1][3] == {
        "name": "ci", "type": "WORKSPACE_INVOKE", "model_ids": ["m1", "m2"], "environments": ["staging"]
    }  # fmt: skip


def test_keys_are_listed_from_the_log(shell: Shell) -> None:
    (row,) = shell.run("key list -o json").json
    assert (row["name"], row["scopes"]) == ("ada", ["invoke"])


def test_a_key_is_revoked_by_its_prefix_even_if_the_whole_key_is_given(remote: Shell, api: Api) -> None:
    assert remote.run("key revoke abc.def").code == 0
    assert api.asked[0][:2] == ("DELETE", "/v1/api_keys/abc")


def test_a_secret_is_read_from_standard_input_and_never_printed(remote: Shell, api: Api) -> None:
    answer = remote.run("secret set hf_token", typed="s3cr3t\n")
    assert answer.code == 0, answer.err
    assert api.asked[0][3] == {"name": "hf_token", "value": "s3cr3t"}
    assert "s3cr3t" not in answer.out + answer.err
    assert remote.run("secret set hf_token", typed="").code == 2
    assert remote.run("secret rm hf_token").code == 0
    assert api.asked[-1][:2] == ("DELETE", "/v1/secrets/hf_token")


def test_logs_are_printed_oldest_first_and_filtered(shell: Shell, tmp_path: Path) -> None:
    deployment_id = DeploymentId(shell.run("deployments -o json").json[0]["deployment_id"])
    files = LogFiles(tmp_path / "logs")
    for number, level in enumerate(("info", "error", "info")):
        line = LogLine(ts_ns=10**18 + number, level=level, message=f"line {number}", source="build")  # type: ignore[arg-type]
        files.write(deployment_id, line)
    rows = shell.run("logs iris/deployment-1 -o json").rows
    assert [row["message"] for row in rows] == ["line 0", "line 1", "line 2"]
    assert [row["message"] for row in shell.run("logs iris/deployment-1 --level error -o json").rows] == ["line 1"]
    assert [row["message"] for row in shell.run("logs iris/deployment-1 -n 1 -o json").rows] == ["line 2"]
    assert "line 0" in shell.run(f"logs {deployment_id} --source build").out
    assert "sources: build" in shell.run("logs iris/deployment-1 --contains nothing").err


def test_a_model_with_one_deployment_needs_no_more_than_its_name(tmp_path: Path) -> None:
    async def one() -> tuple[Recorded, ...]:
        async with history() as plane:
            await plane.push("minilm")
            return await plane.log.read()

    shell = Shell(tmp_path, asyncio.run(one()))
    assert shell.run("timeline minilm").code == 0
