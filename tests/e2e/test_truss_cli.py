"""The stock truss client: every command that a self-hosted plane is asked for, by our launcher and untouched."""

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e import private_net
from tests.e2e.plane import Plane, Pushed, Said, program
from tests.e2e.projects import version

LABELS = '{"team": "blue", "cost": 7}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return version(tmp_path_factory.mktemp("hello") / "hello", "hello", "first")


@pytest.fixture(scope="module")
def first(plane: Plane, folder: Path) -> tuple[Pushed, Said]:
    """A push with everything that names and describes it, and what the client said."""
    names = ("--deployment-name", "blue-1", "--labels", LABELS, "--include-git-info", "--deploy-timeout-minutes", "30")
    flags = ("--wait", "--output", "json", "--non-interactive", *names)
    said = asyncio.run(plane.truss("push", str(folder), *flags))
    assert said.code == 0, said
    return Pushed(said.json["model_id"], said.json["model_version_id"]), said


async def test_whoami_names_the_key(plane: Plane) -> None:
    said = await plane.truss("whoami")
    assert said.code == 0 and "operator" in said.told, said


async def test_push_reports_in_json_what_it_made(plane: Plane, first: tuple[Pushed, Said]) -> None:
    pushed, said = first
    shown = said.json["deployment"]
    assert shown["status"] == "ACTIVE" and shown["is_production"] and said.json["is_draft"] is False
    assert said.json["predict_url"] == f"{plane.url}{pushed.own}/predict"
    assert shown["name"] == "blue-1" and shown["labels"] == {"team": "blue", "cost": 7}


async def test_push_to_an_environment_that_does_not_exist_says_which_do(
    plane: Plane, folder: Path, first: tuple[Pushed, Said]
) -> None:
    said = await plane.truss("push", str(folder), "--non-interactive", "--environment", "staging")
    assert said.code == 1 and "staging" in said.told and "it has production" in said.told, said
    assert f"POST /v1/models/{first[0].model_id}/environments" in said.told


async def test_push_to_a_custom_environment_leaves_production_alone(
    plane: Plane, http: httpx.AsyncClient, tmp_path: Path, first: tuple[Pushed, Said]
) -> None:
    model = f"/model-{first[0].model_id}"
    made = await http.post(f"/v1/models/{first[0].model_id}/environments", json={"name": "staging"})
    assert made.status_code == 200, made.text
    staged = version(tmp_path / "hello", "hello", "staged")
    flags = ("--non-interactive", "--environment", "staging", "--wait", "--tail")
    said = await plane.truss("push", str(staged), *flags)
    assert said.code == 0 and "Deployment succeeded" in said.told, said
    assert "build succeeded" in said.told, "--tail shows what happens meanwhile"
    answers = [await http.post(f"{model}/{where}/predict", json={}) for where in ("environments/staging", "production")]
    assert [each.json()["version"] for each in answers] == ["staged", "first"]


async def test_model_logs_show_the_build_and_the_replica(plane: Plane, first: tuple[Pushed, Said]) -> None:
    said = await plane.truss("model-logs", *ids(first[0]), "--non-interactive")
    assert said.code == 0 and "Completed model.load()" in said.told, said
    only = await plane.truss("model-logs", *ids(first[0]), "--non-interactive", "--includes", "no such words")
    assert only.code == 0 and "Completed model.load()" not in only.told, only


def ids(pushed: Pushed) -> tuple[str, ...]:
    return ("--model-id", pushed.model_id, "--deployment-id", pushed.deployment_id)


async def test_model_config_and_download_give_back_what_was_pushed(
    plane: Plane, folder: Path, tmp_path: Path, first: tuple[Pushed, Said]
) -> None:
    config, download = await asyncio.gather(
        plane.truss("model-config", *ids(first[0]), "--non-interactive", "--output", "json"),
        plane.truss("download", *ids(first[0]), "--non-interactive", "--out-dir", str(tmp_path / "back")),
    )
    assert config.code == 0 and config.json["raw_config"] == (folder / "config.yaml").read_text(), config
    assert config.json["config"]["model_name"] == "hello"
    assert download.code == 0, download
    for file in ("config.yaml", "model/model.py"):
        assert (tmp_path / "back" / file).read_text() == (folder / file).read_text()


async def test_predict_reaches_the_published_deployment_and_says_when_there_is_no_draft(
    plane: Plane, folder: Path, first: tuple[Pushed, Said]
) -> None:
    published, draft = await asyncio.gather(
        plane.truss("predict", "--published", "--target-directory", str(folder), "--data", "{}"),
        plane.truss("predict", "--model", first[0].model_id, "--data", "{}"),
    )
    assert published.code == 0 and '"version": "first"' in published.told, published
    assert "has no development deployment" in draft.told, draft


class Bare:
    """`truss` itself, with nothing of ours: one remote in a trussrc, as a user writes it."""

    def __init__(self, plane: Plane, home: Path) -> None:
        home.mkdir()
        self.trussrc = home / "trussrc"
        self.trussrc.write_text(
            f"[ours]\nremote_provider = baseten\nremote_url = http://localhost:8000\napi_key = {plane.key}\n"
        )
        self.truss = str(plane.settings.truss_venv / "bin" / "truss")
        self.environ = plane.environ | {
            "HOME": str(home),
            "USER_TRUSSRC_PATH": str(self.trussrc),
            "TRUSS_NO_UPDATE_CHECK": "1",
            "COLUMNS": "200",
        }


async def test_the_bare_client_works_through_a_proxy_variable(plane: Plane, tmp_path: Path) -> None:
    """Way B: any port, no name to resolve."""
    bare = Bare(plane, tmp_path / "home")
    proxy = {name: plane.url for name in ("HTTP_PROXY", "http_proxy")}
    direct = {name: "127.0.0.1" for name in ("NO_PROXY", "no_proxy")}
    hello = version(tmp_path / "hello", "by proxy", "B")

    async def truss(*argv: str) -> Said:
        return await program(bare.truss, *argv, environ=bare.environ | proxy | direct)

    await assert_usable(truss, hello)


async def test_the_bare_client_works_where_the_plane_has_port_8000(plane: Plane, tmp_path: Path) -> None:
    """Way A, in a network of its own, where port 8000 is free and api.localhost may be written to the hosts file."""
    bare = Bare(plane, tmp_path / "home")
    apart = ("unshare", "--net", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))
    tried = await program(*apart, "true", environ=bare.environ) if shutil.which("unshare") else Said(1, "", "not found")
    if tried.code != 0:
        pytest.skip(f"no network of its own can be made here: unshare: {tried.err.strip()}")
    hosts, door = tmp_path / "hosts", tmp_path / "door"
    hosts.write_text("127.0.0.1 localhost api.localhost\n")
    hello = version(tmp_path / "hello", "on port 8000", "A")
    script = f'mount --bind "{hosts}" /etc/hosts && exec "$@"'
    inside = (sys.executable, private_net.__file__, str(door), f"8000,{plane.port}")

    async def truss(*argv: str) -> Said:
        return await program(*apart, "sh", "-c", script, "sh", *inside, bare.truss, *argv, environ=bare.environ)

    async with private_net.doorway(door, plane.port):
        await assert_usable(truss, hello)


async def assert_usable(truss: Any, folder: Path) -> None:
    who = await truss("whoami")
    assert who.code == 0 and "operator" in who.told, who
    pushed = await truss("push", str(folder), "--non-interactive", "--wait", "--output", "json")
    assert pushed.code == 0 and pushed.json["deployment"]["status"] == "ACTIVE", pushed
    said = await truss("predict", "--published", "--target-directory", str(folder), "--data", "{}")
    assert said.code == 0 and '"version"' in said.told, said
