"""Who is meant: by the body's `model`, by a host of the operator's own, for which keys; and the list of models."""

import asyncio
from typing import Any

import msgspec
import pytest

from events.base import DeploymentId, ModelId
from events.environment import EnvironmentCreated
from events.scaling import AutoscalingSettings
from tests.gateway.dataplane.happened import KEY, MODEL, ONE, TWO, issued, promoted, pushed, ready, registered
from tests.gateway.dataplane.stage import QUICK, Got, Stage, request, staged, until

OTHER, THREE = ModelId("m2"), DeploymentId("d3")
STAGING = EnvironmentCreated(model_id=MODEL, environment="staging", autoscaling=AutoscalingSettings())


async def two_models(stage: Stage) -> None:
    """iris: d1 in production, d2 in staging; llama: d3 in production. Each has a replica of the deployment's name."""
    more = promoted(THREE)
    stage.happenings.add(
        STAGING, pushed(TWO), promoted(TWO, "staging"),
        registered(OTHER, "meta/llama"), pushed(THREE, model=OTHER), msgspec.structs.replace(more, model_id=OTHER),
    )  # fmt: skip
    for deployment in (ONE, TWO, THREE):
        replica = await stage.replica()
        stage.happenings.add(ready(f"on-{deployment}", replica.address, deployment))


def chat(model: Any, **more: Any) -> bytes:
    return msgspec.json.encode({**more, "model": model, "messages": [{"role": "user", "content": "hi"}]})


async def ask(stage: Stage, body: bytes, path: str = "/v1/chat/completions", **more: Any) -> Got:
    return await stage.ask(path, body, **more)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/openai/v1/chat/completions", "/v1/messages?beta=true"])
@pytest.mark.parametrize(
    ("name", "deployment"),
    [
        ("iris", ONE),
        ("m1", ONE),
        ("iris/production", ONE),
        ("iris/staging", TWO),
        ("m1/staging", TWO),
        ("meta/llama", THREE),
    ],
)
async def test_the_body_names_the_model(path: str, name: str, deployment: DeploymentId) -> None:
    async with staged() as stage:
        await two_models(stage)
        body = chat(name, stream=False)
        got = await ask(stage, body, path)
        assert (got.status, got.headers["x-causeway-deployment"], got.body) == (200, deployment, body)
        (seen,) = [seen for replica in stage.replicas for seen in replica.seen]
        assert seen.line == f"POST {path.removeprefix('/openai')} HTTP/1.1"


async def test_a_body_in_small_pieces_and_in_chunks_names_it_too() -> None:
    async with staged() as stage:
        await two_models(stage)
        caller, body = await stage.caller(), chat("iris/staging", padding="x" * 300)
        raw = request("/v1/completions", body)
        for at in range(0, len(raw), 50):
            caller.send(raw[at : at + 50])
            await asyncio.sleep(0)
        assert (await caller.got()).body == body
        head = f"POST /v1/embeddings HTTP/1.1\r\nhost: g\r\nx-api-key: {KEY}\r\ntransfer-encoding: chunked\r\n\r\n"
        caller.send(head.encode() + b'9\r\n{"model":\r\n')
        await asyncio.sleep(0.02)
        caller.send(b'7\r\n"iris"}\r\n0\r\n\r\n')
        got = await caller.got()
        assert (got.body, got.headers["x-causeway-deployment"]) == (b'{"model":"iris"}', ONE)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{}", 400, "`model` is not in the first 65536 bytes"),
        (b'{"model": 7}', 400, "`model` is no text"),
        (b'{"model": ""}', 400, "`model` is empty"),
        (b"not json", 400, "`model`"),
        (b'{"a": {"model": "iris"}}', 400, "`model`"),
        (b'{"a": "' + b"x" * 70_000 + b'", "model": "iris"}', 400, "first 65536 bytes"),
        (b'{"model": "nothing"}', 404, "there is no model 'nothing'"),
        (b'{"model": "iris/nowhere"}', 404, "no environment 'nowhere'"),
    ],
)
async def test_a_body_that_names_none_is_told_what_to_send(body: bytes, status: int, says: str) -> None:
    async with staged() as stage:
        await two_models(stage)
        got = await ask(stage, body)
        assert (got.status, says in got.error) == (status, True), got.error
        assert got.headers["x-request-id"]


async def test_a_body_named_model_is_waited_for_and_its_caller_may_leave() -> None:
    async with staged() as stage:
        asking = asyncio.ensure_future(ask(stage, chat("iris")))
        await until(lambda: stage.plane.parking.count == 1)
        await stage.serving()
        assert (await asking).status == 200
        leaver = await stage.caller()
        leaver.send(request("/v1/chat/completions", b"x" * 100)[:-50])
        await until(lambda: stage.plane.counts.requests == 2)
        leaver.leave()
        await until(lambda: stage.plane.counts.left == 1)


async def test_a_beginning_that_does_not_come_is_refused() -> None:
    async with staged(msgspec.structs.replace(QUICK, head_timeout_s=0.1)) as stage:
        caller = await stage.caller()
        caller.send(request("/v1/chat/completions", b"x" * 100)[:-50])
        got = await caller.got()
        assert (got.status, "beginning of the body" in got.error) == (408, True)


async def test_what_may_be_called_is_listed_in_openais_shape() -> None:
    async with staged() as stage:
        await two_models(stage)
        listed = msgspec.json.decode((await stage.ask("/openai/v1/models", b"", method="GET")).body)
        assert listed["object"] == "list"
        assert [each["id"] for each in listed["data"]] == ["iris", "iris/staging", "meta/llama"]
        assert set(listed["data"][0]) == {"id", "object", "created", "owned_by"}
        one = await stage.ask("/openai/v1/models/meta%2Fllama", b"", method="GET")
        assert msgspec.json.decode(one.body)["id"] == "meta/llama"
        assert (await stage.ask("/openai/v1/models/none", b"", method="GET")).status == 404
        assert (await stage.ask("/openai/v1/nothing", b"")).status == 404
        assert (await stage.ask("/v1/chat/completions", b"", method="GET")).headers["allow"] == "POST"
        assert (await stage.ask("/v1/models", b"", method="GET")).body.startswith(b"control GET /v1/models")


async def test_the_host_for_openai_serves_the_same() -> None:
    async with staged() as stage:
        await two_models(stage)
        caller = await stage.caller()
        for path, status in (("/v1/models", 200), ("/v1/nothing", 404), ("/other", 404)):
            caller.send(
                f"GET {path} HTTP/1.1\r\nhost: openai.localhost:8000\r\nauthorization: Bearer {KEY}\r\n\r\n".encode()
            )
            assert (await caller.got()).status == status


async def test_a_host_of_ones_own_reaches_its_environment_and_nothing_else() -> None:
    hosts = {"Iris.example.com": "iris/staging", "broken.example.com": "gone"}
    async with staged(msgspec.structs.replace(QUICK, hosts=hosts)) as stage:
        await two_models(stage)

        async def at(host: str, path: str) -> Got:
            caller = await stage.caller()
            head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {KEY}\r\ncontent-length: 2\r\n\r\n"
            caller.send(head.encode() + b"{}")
            return await caller.got()

        for path in ("/predict", "/sync/some/path", "/v1/chat/completions"):
            assert (await at("iris.EXAMPLE.com:8000", path)).headers["x-causeway-deployment"] == TWO
        assert (await at("iris.example.com", "/wake")).status == 202
        for path in ("/production/predict", "/v1/api_keys", "/"):
            assert (await at("iris.example.com", path)).status == 404
        assert "there is no model 'gone'" in (await at("broken.example.com", "/predict")).error
        assert (await at("other.example.com", "/predict")).body.startswith(b"control POST")


@pytest.mark.parametrize(
    ("models", "environments", "allowed"),
    [
        ((MODEL,), (), {"iris", "iris/staging"}),
        ((OTHER,), (), {"meta/llama"}),
        ((), ("staging",), {"iris/staging"}),
        ((MODEL,), ("production",), {"iris"}),
        ((), (), {"iris", "iris/staging", "meta/llama"}),
    ],
)
async def test_a_key_reaches_only_what_it_is_for(
    models: tuple[ModelId, ...], environments: tuple[str, ...], allowed: set[str]
) -> None:
    async with staged() as stage:
        await two_models(stage)
        key = "narrow.secret"
        stage.happenings.add(issued(key, models=models, environments=environments))
        paths = {
            "iris": "/model-m1/predict",
            "iris/staging": "/model-m1/environments/staging/predict",
            "meta/llama": "/model-m2/production/predict",
        }
        for name, path in paths.items():
            expected = 200 if name in allowed else 403
            assert (await stage.ask(path, key=key)).status == expected
            assert (await ask(stage, chat(name), key=key)).status == expected
            assert (await stage.ask(path.replace("predict", "wake"), key=key)).status == (
                202 if name in allowed else 403
            )
        by_id = await stage.ask("/model-m1/deployment/d1/predict", key=key)
        assert by_id.status == (200 if not environments and MODEL in (models or (MODEL,)) else 403)
        listed = msgspec.json.decode((await stage.ask("/openai/v1/models", b"", method="GET", key=key)).body)
        assert {each["id"] for each in listed["data"]} == allowed


async def test_the_key_may_come_as_anthropics_clients_send_it_and_goes_no_further() -> None:
    async with staged() as stage:
        replica = await stage.serving()
        got = await ask(stage, chat("iris"), "/v1/messages", key=None, more=f"x-api-key: {KEY}\r\n")
        assert got.status == 200
        assert not {"x-api-key", "authorization"} & set(replica.seen[0].headers)
        wrong = await ask(stage, chat("iris"), "/v1/messages", key=None, more="x-api-key: k1.wrong\r\n")
        assert (wrong.status, wrong.headers["www-authenticate"]) == (401, 'Bearer realm="causeway"')
