"""WebSockets through the gateway to a real model: text, bytes, pings, and how they end."""

import asyncio
import json
import os
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.e2e.plane import Plane, Pushed
from tests.e2e.projects import FIXTURES, project


@pytest.fixture(scope="module")
def talk(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    folder = project(tmp_path_factory.mktemp("talk") / "talk", "talk", (FIXTURES / "talk.py").read_text())
    return asyncio.run(plane.active(folder))


def dial(plane: Plane, path: str, key: str | None = None, **more: Any) -> connect:
    authorization = {"Authorization": f"Bearer {plane.key if key is None else key}"}
    url = f"ws://127.0.0.1:{plane.port}{path}"
    return connect(url, additional_headers=authorization, proxy=None, max_size=None, open_timeout=60, **more)


async def first(ws: ClientConnection) -> Any:
    return json.loads(await ws.recv())


async def test_a_websocket_carries_text_bytes_and_pings_both_ways(plane: Plane, talk: Pushed) -> None:
    async with dial(plane, f"{talk.production}/websocket", subprotocols=None) as ws:
        assert ws.response is not None
        greeting = await first(ws)
        assert greeting["request_id"] == ws.response.headers["x-request-id"]
        assert ws.response.headers["x-causeway-deployment"] == talk.deployment_id
        await ws.send("hello")
        assert await ws.recv() == "you said hello"
        large = os.urandom(2_000_000)
        await ws.send(large)
        assert await ws.recv() == large[::-1]
        await (await ws.ping())
        for number in range(50):
            await ws.send(str(number))
        assert [await ws.recv() for _ in range(50)] == [f"you said {number}" for number in range(50)]


async def test_a_websocket_ends_with_the_models_own_code_and_reason(plane: Plane, talk: Pushed) -> None:
    async with dial(plane, f"{talk.own}/websocket") as ws:
        await first(ws)
        await ws.send("stop")
        with pytest.raises(ConnectionClosedError) as ended:
            await ws.recv()
    assert ended.value.rcvd is not None
    assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (4001, "told to stop")


async def test_a_websocket_is_refused_before_it_opens(plane: Plane, talk: Pushed) -> None:
    for path, key, status in (
        (f"{talk.production}/websocket", "wrong.key", 401),
        ("/model-nosuchmodel/production/websocket", None, 404),
    ):
        with pytest.raises(InvalidStatus) as refused:
            async with dial(plane, path, key):
                pass
        assert refused.value.response.status_code == status
        assert json.loads(refused.value.response.body)["error_code"]


async def test_websocket_without_an_upgrade_says_what_to_do(talk: Pushed, http: httpx.AsyncClient) -> None:
    answer = await http.get(f"{talk.production}/websocket")
    assert answer.status_code == 426 and answer.headers["upgrade"] == "websocket"
    assert answer.json()["error_code"] == "client_error"
