"""Whatever is wrong is said plainly, with what is at fault and what to do: to the user of the client, and over HTTP."""

import asyncio
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.config import CHECKOUT
from tests.e2e.plane import Plane, Pushed, Said, program, until
from tests.e2e.projects import project

BOTO = CHECKOUT / "tests" / "gateway" / "control" / "boto.py"
Spoil = Callable[[Path], Any]


def added_to_config(text: str) -> Spoil:
    return lambda folder: (folder / "config.yaml").write_text((folder / "config.yaml").read_text() + text)


def model_is(source: str) -> Spoil:
    return lambda folder: (folder / "model" / "model.py").write_text(source)


# What is wrong, and what the client must say at once: it goes no further.
REFUSED: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    "a config that is no YAML": (added_to_config("resources: {\n"), ("config.yaml", "line")),
    "unknown keys": (added_to_config("modle_name: x\n"), ("modle_name", "not allowed")),
    "a value that means nothing": (added_to_config("python_version: py27\n"), ("python_version", "py311")),
    "a key that is not supported": (added_to_config("base_image:\n  image: ubuntu\n"), ("base_image", "not supported")),
}

# What is wrong, the status that it ends in, and what its reason must say.
ENDED: dict[str, tuple[Spoil, str, tuple[str, ...]]] = {
    "a model that does not import": (
        model_is("import no_such_module\n\nclass Model:\n    def predict(self, x):\n        return x\n"),
        "DEPLOY_FAILED",
        ("load: ModuleNotFoundError", "model/model.py, line 1", "requirements in config.yaml", "no_such_module"),
    ),
    "a load that raises": (
        model_is("class Model:\n    def load(self):\n        raise RuntimeError('no weights')\n\n    predict = load\n"),
        "DEPLOY_FAILED",
        ("load: RuntimeError: no weights", "model/model.py, line 3", "RuntimeError"),
    ),
    "requirements that contradict each other": (
        added_to_config("requirements:\n  - numpy==1.26.4\n  - numpy==2.1.0\n"),
        "BUILD_FAILED",
        ("requirements do not resolve", "numpy==1.26.4", "numpy==2.1.0"),
    ),
    "a link that leads out": (
        lambda folder: (folder / "model" / "secret").symlink_to("/etc/passwd"),
        "BUILD_FAILED",
        ("'model/secret'", "'/etc/passwd'", "push the file itself"),
    ),
    "no model file": (
        lambda folder: (folder / "model" / "model.py").unlink(),
        "BUILD_FAILED",
        ("model/model.py", "add model/model.py"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
async def test_the_client_is_told_at_push(plane: Plane, what: str, tmp_path: Path) -> None:
    spoil, words = REFUSED[what]
    spoil(folder := project(tmp_path / "bad", what))
    said = await plane.truss("push", str(folder), "--non-interactive")
    assert said.code == 1 and all(word in said.told for word in words), said


@pytest.fixture(scope="module", autouse=True)
def ended(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[tuple[Said, Pushed]]]]:
    """All pushed by the client, two at a time, while the other tests go on; each until the client gives up."""
    into = tmp_path_factory.mktemp("bad")

    async def push(what: str, number: int) -> tuple[Said, Pushed]:
        ENDED[what][0](folder := project(into / str(number), what))
        said = await plane.truss("push", str(folder), "--non-interactive", "--wait", "--output", "json")
        deployment = said.json["error"]["deployment"]
        return said, Pushed(deployment["model_id"], deployment["id"])

    with ThreadPoolExecutor(2) as pool:
        yield {what: pool.submit(asyncio.run, push(what, number)) for number, what in enumerate(ENDED)}


@pytest.fixture(scope="module")
def echo(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    """A sound model, for bad requests."""
    return asyncio.run(plane.push(project(tmp_path_factory.mktemp("sound") / "echo", "sound echo"), "--wait"))


async def test_a_wrong_key_is_refused_in_every_place(plane: Plane, echo: Pushed, tmp_path: Path) -> None:
    wrong = plane.key[:-1] + ("a" if plane.key[-1] != "a" else "b")
    for key, words in ((wrong, "API key"), ("", "no API key")):
        async with plane.http(key=key) as http:
            data = await http.post(f"{echo.production}/predict", json={})
            rest = await http.get("/v1/models")
            query = await http.post("/graphql/", json={"query": "query { models(all: true) { models { id } } }"})
            assert data.status_code == rest.status_code == 401
            assert data.json()["error_code"] == "unauthorized" and words in data.json()["error"]
            assert words in rest.json()["message"] and "Authorization" in rest.text
            assert query.status_code == 200 and words in query.json()["errors"][0]["message"]
    said = await plane.truss("push", str(project(tmp_path / "echo", "x")), "--non-interactive", key=wrong)
    assert said.code == 1 and "API key is not valid" in said.told, said


async def test_a_key_that_may_only_invoke_changes_nothing(plane: Plane, echo: Pushed) -> None:
    made = await plane.causeway("key", "create", "caller", "--may", "invoke", "--output", "json")
    async with plane.http(key=made.json["api_key"]) as http:
        assert (await http.post(f"{echo.production}/predict", json=1)).json() == 1
        refused = await http.post(f"{echo.resource}/deactivate")
        assert refused.status_code == 403 and "manage" in refused.json()["message"], refused.text


async def test_what_does_not_exist_is_named_with_what_does(http: httpx.AsyncClient, echo: Pushed) -> None:
    model = f"/model-{echo.model_id}"
    for path, words in (
        ("/model-nosuchmodel/production/predict", ("nosuchmodel", "models: ")),
        (f"{model}/environments/nowhere/predict", ("nowhere", "environments: production")),
        (f"{model}/deployment/nosuchone/predict", ("nosuchone",)),
        (f"{model}/development/predict", ("no development deployment", "push --watch")),
        (f"{model}/production/predikt", ("predikt", "/predict")),
    ):
        answer = await http.post(path, json={})
        assert answer.status_code == 404 and answer.json()["error_code"] == "model_does_not_exist", answer.text
        assert all(word in answer.json()["error"].replace("push with --watch", "push --watch") for word in words), path
    for path, words in (
        ("/v1/models/nosuchmodel", ("nosuchmodel",)),
        (f"/v1/models/{echo.model_id}/deployments/nosuchone", ("nosuchone",)),
        (f"/v1/models/{echo.model_id}/environments/nowhere", ("nowhere", "production")),
    ):
        answer = await http.get(path)
        assert answer.status_code == 404 and all(word in answer.json()["message"] for word in words), answer.text


@pytest.mark.parametrize(("body", "words"), [(b"not JSON", "JSON"), (b"", "missing required field")])
async def test_a_body_that_is_no_json(http: httpx.AsyncClient, echo: Pushed, body: bytes, words: str) -> None:
    """The model server says so by itself; the control API names the field or the body."""
    data = await http.post(f"{echo.production}/predict", content=body)
    assert data.status_code == 400 and "Invalid JSON" in data.json()["error"], data.text
    for path in ("/v1/models", f"/v1/models/{echo.model_id}/environments", "/v1/prepare_model_upload"):
        answer = await http.post(path, content=body)
        assert answer.status_code == 400 and words in answer.json()["message"], answer.text


async def test_wrong_fields_are_named(http: httpx.AsyncClient, echo: Pushed) -> None:
    environment = f"/v1/models/{echo.model_id}/environments/production"
    for settings, words in (
        ({"max_replicas": 3}, ("max_replicas", "max_replica")),
        ({"min_replica": 5}, ("min_replica", "max_replica")),
        ({"scale_down_delay": "long"}, ("scale_down_delay", "whole number")),
    ):
        answer = await http.patch(environment, json={"autoscaling_settings": settings})
        assert answer.status_code == 400 and all(word in answer.json()["message"] for word in words), answer.text
        assert answer.json()["field"], answer.text


async def test_an_oversized_body_is_refused_before_it_is_sent(
    plane: Plane, http: httpx.AsyncClient, echo: Pushed
) -> None:
    """By what its head claims: the caller need not send a hundred megabytes to be told."""
    data = await claimed(plane, f"{echo.production}/predict", 200 << 20)
    assert b" 413 " in data and b"payload_too_large" in data and b"104857600 bytes" in data, data
    answer = await http.post("/v1/models", content=b'{"a": "' + b"x" * (9 << 20) + b'"}')
    assert answer.status_code == 413 and "bytes" in answer.json()["message"], answer.text


async def claimed(plane: Plane, path: str, length: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", plane.port)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Api-Key {plane.key}\r\nContent-Length: {length}\r\n\r\n"
    writer.write(head.encode())
    try:
        return await reader.readuntil(b"}")
    finally:
        writer.close()


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def file(name: str, content: bytes = b"") -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), content


def link(name: str, to: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member, b""


HOSTILE = {
    "a name with ..": (file("../../outside.py"), ("'../../outside.py'", "out of the project")),
    "an absolute name": (file("/tmp/outside.py"), ("'/tmp/outside.py'", "relative")),
    "a link out": (link("model/up", "../../..", tarfile.SYMTYPE), ("'model/up'", "outside the project")),
    "a hard link out": (link("model/hosts", "/etc/hosts", tarfile.LNKTYPE), ("'model/hosts'", "push the file itself")),
}


async def test_hostile_archives_are_not_unpacked(plane: Plane, http: httpx.AsyncClient, tmp_path: Path) -> None:
    good = (file("config.yaml", b"model_name: x\n"), file("model/model.py", b"class Model: ...\n"))
    archives = [tar_of(*good, member) for member, _ in HOSTILE.values()]
    keys = await uploaded(plane, http, tmp_path, archives)
    for name, key, (_, words) in zip(HOSTILE, keys, HOSTILE.values(), strict=True):
        answer = await http.post("/v1/models", json=source(f"hostile: {name}", key))
        assert answer.status_code == 200, answer.text
        pushed = Pushed(answer.json()["model"]["id"], answer.json()["deployment"]["id"])

        async def failed(pushed: Pushed = pushed) -> dict[str, Any] | None:
            shown = await plane.deployment(pushed)
            return shown if shown["status"] == "BUILD_FAILED" else None

        reason = (await until(failed, f"the build of {name} fails"))["reason"]
        assert "unpack" in reason and all(word in reason for word in words), reason


async def test_what_is_no_archive_is_refused_at_once(plane: Plane, http: httpx.AsyncClient, tmp_path: Path) -> None:
    keys = await uploaded(plane, http, tmp_path, [b"this is no tar", b""])
    for key, words in zip(keys, ("not a tar", "0 bytes"), strict=True):
        answer = await http.post("/v1/models", json=source("no archive", key))
        assert answer.status_code == 400 and words in answer.json()["message"], answer.text
        assert answer.json()["field"] == "s3_key" and answer.json()["fix"]
    answer = await http.post("/v1/models", json=source("no archive", "uploads/never"))
    assert answer.status_code == 404 and "uploads/never" in answer.json()["message"], answer.text


def source(name: str, key: str) -> dict[str, Any]:
    return {"source": {"name": name, "s3_key": key, "deployment": {"config": {"model_name": name}}}}


async def uploaded(plane: Plane, http: httpx.AsyncClient, folder: Path, archives: list[bytes]) -> list[str]:
    """By Amazon's own client, as the truss client would."""
    steps, keys = [], []
    for number, archive in enumerate(archives):
        (path := folder / f"{number}.tar").write_bytes(archive)
        given = (await http.get("/v1/blobs/credentials/model")).json()
        where = {"bucket": given["s3_bucket"], "key": given["s3_key"], "creds": given["creds"]}
        steps.append({"do": "upload_file", "path": str(path), "part": 8 << 20} | where)
        keys.append(given["s3_key"])
    python = str(plane.settings.truss_venv / "bin" / "python")
    said = await program(python, str(BOTO), environ=plane.environ, stdin=json.dumps(steps))
    assert said.code == 0 and said.json == [{"ok": "uploaded"}] * len(archives), said
    return keys


async def test_a_query_that_is_no_graphql_is_answered_in_words(http: httpx.AsyncClient) -> None:
    answer = await http.post("/graphql/", json={"query": 'query { models(all: "'})
    assert answer.status_code == 200 and answer.json()["errors"][0]["message"], answer.text


@pytest.mark.parametrize("what", ENDED)
async def test_a_push_ends_with_its_reason(
    plane: Plane, what: str, ended: dict[str, Future[tuple[Said, Pushed]]]
) -> None:
    _, status, words = ENDED[what]
    said, pushed = await asyncio.wrap_future(ended[what])
    assert said.code == 1 and status in said.told, said
    shown = await plane.deployment(pushed)
    assert shown["status"] == status
    assert all(word in shown["reason"] for word in words), shown["reason"]
    model = await plane.causeway("deployments", what)
    assert words[-1] in model.told, "`causeway deployments` says it too"
    refused = await predict(plane, pushed)
    assert refused.status_code == 404 or refused.status_code == 503, refused.text
    assert refused.json()["error_code"] in ("model_unavailable", "model_does_not_exist"), refused.text


async def predict(plane: Plane, pushed: Pushed) -> httpx.Response:
    async with plane.http() as http:
        return await http.post(f"{pushed.own}/predict", json={})
