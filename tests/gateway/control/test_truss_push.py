"""The untouched truss client against the served app, up to the point where the builder takes over."""

import json
from pathlib import Path
from typing import Any

import pytest

from ops.truss_client import truss_command
from tests.gateway.control.served import program, served
from tests.gateway.control.stand import MANAGE, TOOLCHAIN, Stand


def project(folder: Path, name: str) -> Path:
    (folder / "model").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"model_name: {json.dumps(name)}\nresources:\n  cpu: '1'\n  memory: 2Gi\n")
    (folder / "model" / "model.py").write_text(
        "class Model:\n    def predict(self, request):\n        return request\n"
    )
    return folder


class Client:
    def __init__(self, url: str, home: Path, key: str = MANAGE) -> None:
        self._url, self._home, self._key = url, home, key

    async def run(self, *argv: str) -> tuple[int, str, str]:
        command, environ = truss_command(
            self._url, self._key, argv, toolchain=TOOLCHAIN, trussrc=self._home / "trussrc",
            environ={"PATH": "/usr/bin:/bin", "HOME": str(self._home)},
        )  # fmt: skip
        return await program(*command, environ=environ)

    async def push(self, folder: Path, *more: str) -> tuple[int, dict[str, Any]]:
        code, out, err = await self.run("push", str(folder), "--non-interactive", "--output", "json", *more)
        assert out.strip(), err
        answer: dict[str, Any] = json.loads(out)
        return code, answer


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


async def test_the_first_push_makes_a_model_and_the_second_a_version(tmp_path: Path, home: Path) -> None:
    folder = project(tmp_path / "echo", "echo")
    async with served(tmp_path / "state") as (stand, url):
        client = Client(url, home)
        code, first = await client.push(folder, "--labels", '{"team": "blue"}')
        assert code == 0, first
        model_id = first["model_id"]
        assert first["predict_url"].startswith(f"{url}/model-{model_id}/") and first["is_draft"] is False
        code, second = await client.push(folder, "--promote", "--deployment-name", "blue")
        assert code == 0, second
        assert second["model_id"] == model_id
        await assert_catalogue(stand, first, second)
        code, nowhere = await client.push(folder, "--environment", "nope")
        assert code == 1 and "it has production" in nowhere["error"]["message"]
        code, out, err = await client.run("whoami")
        assert code == 0 and "causeway" in out + err


async def assert_catalogue(stand: Stand, first: dict[str, Any], second: dict[str, Any]) -> None:
    shown = (await stand.client.get(f"/v1/models/{first['model_id']}/deployments")).json()["deployments"]
    assert [each["id"] for each in shown] == [first["model_version_id"], second["model_version_id"]]
    assert [each["name"] for each in shown] == ["deployment-1", "blue"]
    assert shown[0]["labels"] == {"team": "blue"}
    path = f"/v1/models/{first['model_id']}/deployments/{first['model_version_id']}/config"
    config = (await stand.client.get(path)).json()
    assert config["raw_config"].startswith('model_name: "echo"') and config["config"]["resources"]["cpu"] == "1"


async def test_a_wrong_key_is_told_in_words(tmp_path: Path, home: Path) -> None:
    folder = project(tmp_path / "echo", "echo")
    async with served(tmp_path / "state") as (_, url):
        code, answer = await Client(url, home, MANAGE[:-1] + "0").push(folder)
    assert code == 1 and "API key is not valid" in answer["error"]["message"]


async def test_a_name_that_cannot_be_sent_is_told_with_the_fix(tmp_path: Path, home: Path) -> None:
    folder = project(tmp_path / "echo", 'the "best"')
    async with served(tmp_path / "state") as (stand, url):
        code, answer = await Client(url, home).push(folder)
        assert not stand.views.catalogue.state.models
    assert code == 1 and "without quotes" in answer["error"]["message"], answer


async def test_a_wrong_config_is_refused_with_every_field(tmp_path: Path, home: Path) -> None:
    folder = project(tmp_path / "echo", "echo")
    with (folder / "config.yaml").open("a") as config:
        config.write("base_image:\n  image: ubuntu\nweights:\n- source: gs://a/b\n  mount_location: /usr\n")
    async with served(tmp_path / "state") as (_, url):
        code, out, err = await Client(url, home).run("push", str(folder), "--non-interactive")
    assert code == 1
    told = " ".join((out + err).split())
    assert "base_image: is not supported" in told and "weights.0.mount_location: /usr is the system's" in told, told


async def test_the_client_tells_that_there_will_be_one_replica_at_most(tmp_path: Path, home: Path) -> None:
    folder = project(tmp_path / "echo", "echo")
    async with served(tmp_path / "state") as (_, url):
        code, out, err = await Client(url, home).run("push", str(folder), "--non-interactive")
    told = " ".join((out + err).split())
    assert code == 0 and "Warning: max_replica is 1: there will be one replica at most" in told, told


async def test_a_secret_of_weights_must_be_there_when_they_are_pushed(tmp_path: Path, home: Path) -> None:
    folder = project(tmp_path / "echo", "echo")
    entry = '{{source: "hf://owner/{0}", mount_location: /m/{0}, {1}}}'
    auth = "auth: {auth_method: CUSTOM_SECRET, auth_secret_name: none-either}"
    entries = [
        entry.format("a", "auth_secret_name: there"),
        entry.format("b", "auth_secret_name: none"),
        entry.format("c", auth),
        entry.format("d", "auth_secret_name: 'no name'"),
    ]
    with (folder / "config.yaml").open("a") as config:
        config.write("weights:\n" + "".join(f"- {each}\n" for each in entries))
    async with served(tmp_path / "state") as (stand, url):
        stored = await stand.client.post("/v1/secrets", json={"name": "there", "value": "x"})
        assert stored.status_code == 200, stored.text
        code, out, err = await Client(url, home).run("push", str(folder), "--non-interactive")
    told = " ".join((out + err).split())
    assert code == 1 and "weights.0" not in told, told
    assert "weights.1.auth_secret_name: secret 'none' is not set; run `causeway secret set none`" in told, told
    assert "weights.2.auth.auth_secret_name: secret 'none-either' is not set" in told, told
    assert "weights.3.auth_secret_name: 'no name' is no name of a secret; write one that" in told, told
