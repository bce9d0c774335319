"""Any gateway goes on with what another began: nothing that a client may come back to is one process's alone."""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn

from events.base import Position
from gateway.control.uploads import BUCKET
from tests.gateway.control.stand import Stand
from tests.gateway.control.test_s3 import MIB, boto, same, step


class Late(Stand):
    """Hears of nothing until somebody asks where the log ends."""

    following: asyncio.Task[None] | None = None

    async def ask_head(self) -> Position:
        if self.following is None:
            self.following = asyncio.create_task(self.follower.run())
        return await super().ask_head()


@asynccontextmanager
async def alternating(*stands: Stand) -> AsyncIterator[str]:
    """An address where each request reaches the next gateway."""
    apps = itertools.cycle([each.app for each in stands])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await next(apps)(scope, receive, send)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, ws="none", lifespan="off", log_level="error"))
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


async def test_the_parts_of_an_upload_may_arrive_at_different_gateways(tmp_path: Path) -> None:
    first = Stand(tmp_path)
    async with alternating(first, Stand(tmp_path, beside=first)) as url:
        large = tmp_path / "large"
        large.write_bytes(bytes(range(256)) * (3 * MIB // 256))
        upload = step(first, url, "upload_file", path=str(large), part=MIB)
        answers = await boto(upload, same(upload, "head"), same(upload, "abort"))
    assert [each.get("ok") for each in answers[:2]] == ["uploaded", 3 * MIB]
    assert answers[2]["code"] == "NoSuchUpload"
    assert upload["bucket"] == BUCKET


async def test_what_was_written_at_one_gateway_is_read_at_another_at_once(tmp_path: Path) -> None:
    async with Stand(tmp_path).running() as first:
        second = Late(tmp_path, beside=first)
        second.views.access.restore(first.views.access.state, first.views.access.position)
        await first.client.post("/v1/api_keys", json={"type": "PERSONAL", "name": "eve"})
        written = first.views.position
        answer = await second.client.get("/v1/api_keys")
        assert answer.status_code == 200
        assert int(answer.headers["x-causeway-position"]) >= written
        assert second.following is not None
        second.following.cancel()
        await second.client.aclose()


async def test_a_gateway_that_cannot_ask_the_log_answers_with_what_it_knows(tmp_path: Path) -> None:
    async with Stand(tmp_path).running() as first:
        first.stale_since = 0.0
        assert (await first.client.get("/v1/models")).status_code == 200
