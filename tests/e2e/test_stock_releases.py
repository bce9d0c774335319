"""Releases by the stock truss client, unmodified: `push --environment`, `--promote`, and live reload by `push --watch`.

The count of a counter shows what restarts. One client watches while the files of its project are edited, as a person
would; what it prints is waited for.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.config import CHECKOUT
from ops.truss_client import truss_command
from tests.e2e.plane import EXAMPLES, Plane, Pushed, until
from tests.e2e.projects import version
from tests.e2e.test_truss_cli import Bare

CLIENT = ("push", "--watch", "--watch-hot-reload", "--non-interactive", "--tail")


class Client:
    """A truss client that runs on, and what it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._lines.append(line.decode(errors="replace"))

    @property
    def told(self) -> str:
        return " ".join(" ".join(self._lines).split())

    async def says(self, words: str, times: int = 1) -> None:
        async def said() -> bool:
            assert self._process.returncode is None, self.told
            return self.told.count(words) >= times

        try:
            await until(said, f"the client says {words!r}, {times} times")
        except AssertionError as error:
            raise AssertionError(f"{error}; it said: {self.told[-3000:]}") from None

    async def end(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()  # Not by SIGINT: what a shell has put in the background ignores it.
        await self._process.wait()
        await self._reading


def launched(plane: Plane, *argv: str) -> tuple[list[str], dict[str, str]]:
    """By `causeway truss`."""
    venv, trussrc = plane.settings.truss_venv, plane.home / "trussrc-watch"
    return truss_command(plane.url, plane.key, argv, toolchain=venv, trussrc=trussrc, environ=plane.environ)


def untouched(plane: Plane, home: Path, *argv: str) -> tuple[list[str], dict[str, str]]:
    """`truss` itself, which takes the plane for its proxy."""
    bare = Bare(plane, home)
    proxy = {name: plane.url for name in ("HTTP_PROXY", "http_proxy")}
    direct = {name: "127.0.0.1" for name in ("NO_PROXY", "no_proxy")}
    return [bare.truss, *argv], bare.environ | proxy | direct


@asynccontextmanager
async def client(command: list[str], environ: dict[str, str]) -> AsyncIterator[Client]:
    environ = environ | {"COLUMNS": "400", "PYTHONUNBUFFERED": "1"}
    pipe, one = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=one, env=environ, cwd=CHECKOUT)
    running = Client(process)
    try:
        yield running
    finally:
        await running.end()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(EXAMPLES / "counter", tmp_path_factory.mktemp("watched") / "counter"))


def edit(file: Path, old: str, new: str) -> None:
    """As an editor saves: the old file or the new one, never a half."""
    text = file.read_text()
    assert old in text
    fresh = file.with_name(f".{file.name}.tmp~")
    fresh.write_text(text.replace(old, new))
    fresh.replace(file)


async def slot(http: httpx.AsyncClient) -> Pushed:
    models = (await http.get("/v1/models")).json()["models"]
    model = next(each for each in models if each["name"] == "counter")
    return Pushed(model["id"], model["development_deployment_id"])


async def predict(http: httpx.AsyncClient, pushed: Pushed) -> dict[str, Any]:
    answer = await http.post(f"/model-{pushed.model_id}/development/predict", json={"by": 1})
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def test_the_stock_client_pushes_to_an_environment_and_promotes(
    plane: Plane, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    first = await plane.active(version(tmp_path / "first", "stock", "first"))
    made = await plane.causeway("env", "create", "stock/staging", "--autoscaling", "max_replica=2")
    assert made.code == 0, made
    staged = await plane.push(version(tmp_path / "second", "stock", "second"), "--environment", "staging", "--wait")
    model = f"/model-{first.model_id}"

    async def answers(where: str) -> str:
        answer = await http.post(f"{model}/{where}/predict", json={})
        return str(answer.json().get("version", answer.text))

    async def staging_answers() -> bool:
        return await answers("environments/staging") == "second"

    await until(staging_answers, "staging answers with what was pushed to it")
    assert await answers("production") == "first"
    shown = (await http.get(f"/v1/models/{first.model_id}/environments/staging")).json()
    assert shown["current_deployment"]["id"] == staged.deployment_id
    await plane.push(version(tmp_path / "third", "stock", "third"), "--promote", "--wait")

    async def production_answers() -> bool:
        return await answers("production") == "third"

    await until(production_answers, "production answers with what was promoted by the push")
    # From one environment to the other: a copy that runs the same build.
    promoted = await plane.causeway("promote", "stock/deployment-2", "--to", "production", "--output", "json")
    assert promoted.code == 0 and promoted.json["deployment_id"] != staged.deployment_id, promoted
    assert [await answers("production"), await answers("environments/staging")] == ["second", "second"]
    gone = await plane.causeway("env", "delete", "stock/staging")
    assert gone.code == 0, gone
    missing = await http.post(f"{model}/environments/staging/predict", json={})
    assert missing.status_code == 404 and "environments: production" in missing.text
    log = await plane.causeway("env", "log", "stock/staging", "--output", "json")
    assert [each["type"] for each in log.json][-1] == "EnvironmentDeleted"


async def test_a_watched_project_is_patched_as_it_is_saved(plane: Plane, http: httpx.AsyncClient, folder: Path) -> None:
    code, config = folder / "model" / "model.py", folder / "config.yaml"
    async with client(*launched(plane, *CLIENT[:1], str(folder), *CLIENT[1:])) as watching:
        await watching.says("Watching for changes")
        pushed = await slot(http)
        said = await plane.truss("predict", "--target-directory", str(folder), "--data", '{"by": 1}')
        assert said.code == 0 and '"count": 1' in said.told, said
        first = await predict(http, pushed)
        assert first["count"] == 2 and "says" not in first

        edit(code, 'return {"count"', 'return {"says": "new", "count"')
        await watching.says("patched successfully (hot reload)")
        second = await predict(http, pushed)
        assert (second["says"], second["count"]) == ("new", 3), "the count was kept"
        assert (second["pid"], second["started_at"]) == (first["pid"], first["started_at"])

        edit(code, "class Model:", "class Model")
        await watching.says("Hot reload failed: SyntaxError")
        assert (await predict(http, pushed))["count"] == 4, "the old code goes on"
        logs = await plane.truss("model-logs", *ids(pushed), "--non-interactive")
        assert "SyntaxError" in logs.told, logs
        edit(code, "class Model", "class Model:")
        await watching.says("patched successfully (hot reload)", times=2)
        assert (await predict(http, pushed))["count"] == 5

        edit(config, "resources:", "environment_variables:\n  MOOD: good\nrequirements:\n- humanize==4.9.0\nresources:")
        await watching.says("patched successfully.")
        edit(code, "import time", "import time\n\nimport humanize")
        edit(code, '"says": "new"', '"says": humanize.intword(10**6), "mood": os.environ["MOOD"]')

        async def shown() -> bool:
            return (await predict(http, pushed)).get("mood") == "good"

        await until(shown, "the last edit is served")
        assert (await predict(http, pushed))["says"] == "1.0 million"


def ids(pushed: Pushed) -> tuple[str, ...]:
    return ("--model-id", pushed.model_id, "--deployment-id", pushed.deployment_id)


async def test_a_replica_that_starts_later_has_all_patches(plane: Plane, http: httpx.AsyncClient) -> None:
    pushed = await slot(http)
    before = await predict(http, pushed)
    for verb in ("deactivate", "activate"):
        assert (await http.post(f"{pushed.resource}/{verb}")).status_code == 200
        await plane.reaches(pushed, "INACTIVE" if verb == "deactivate" else "ACTIVE")
    after = await predict(http, pushed)
    assert after["count"] == 1 and (after["says"], after["mood"]) == (before["says"], before["mood"])


async def test_a_second_watch_takes_up_where_the_first_ended(
    plane: Plane, http: httpx.AsyncClient, folder: Path, tmp_path: Path
) -> None:
    pushed = await slot(http)
    argv = ("watch", str(folder), "--hot-reload", "--non-interactive")
    async with client(*untouched(plane, tmp_path / "home", *argv)) as watching:
        await watching.says("Watching for changes")
        before = await predict(http, pushed)
        edit(folder / "model" / "model.py", "humanize.intword(10**6)", '"again"')
        await watching.says("patched successfully (hot reload)")
        after = await predict(http, pushed)
        assert (after["says"], after["count"]) == ("again", before["count"] + 1)


async def test_nobody_outside_reaches_the_live_reload_server(plane: Plane, http: httpx.AsyncClient) -> None:
    pushed = await slot(http)
    answer = await http.get(f"/model-{pushed.model_id}/development/sync/control/truss_hash")
    assert answer.status_code == 404, answer.text


async def test_a_development_deployment_is_not_promoted(plane: Plane, http: httpx.AsyncClient) -> None:
    pushed = await slot(http)
    answer = await http.post(f"{pushed.resource}/promote", json={})
    assert answer.status_code == 400, answer.text
    assert "publish it with `truss push --promote` instead" in answer.json()["message"]
