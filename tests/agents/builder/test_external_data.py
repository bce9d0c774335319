"""`external_data` of a project: fetched whole into its data folder, or a readable failure that holds no signature."""

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from aiohttp import web

from agents.effects.context import External
from agents.effects.external_data import FetchFailed, fetch

BODY = Random(1).randbytes(3_000_000)
SIGNED = "?signature=hush"


def ignored(line: str) -> None:
    pass


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async def whole(request: web.Request) -> web.Response:
        return web.Response(body=BODY)

    async def short(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        answer.content_length = len(BODY)
        await answer.prepare(request)
        await answer.write(BODY[:1_000_000])
        assert request.transport is not None
        request.transport.close()
        return answer

    app = web.Application()
    app.router.add_get("/whole", whole)
    app.router.add_get("/short", short)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_it_is_there_whole_and_its_signature_is_nowhere(url: str, tmp_path: Path) -> None:
    lines: list[str] = []
    await fetch(External(f"{url}/whole{SIGNED}", "sub/model.bin"), tmp_path, lines.append)
    assert (tmp_path / "sub" / "model.bin").read_bytes() == BODY
    assert lines == [f"fetching {url}/whole to data/sub/model.bin"]


@pytest.mark.parametrize(("path", "why"), [("/short", "/short cannot be fetched"), ("/none", "/none answered 404")])
async def test_what_gives_no_file_fails(url: str, tmp_path: Path, path: str, why: str) -> None:
    with pytest.raises(FetchFailed, match=why) as failed:
        await fetch(External(f"{url}{path}{SIGNED}", "model.bin"), tmp_path, ignored)
    assert "hush" not in str(failed.value)


async def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="cannot be fetched") as failed:
        await fetch(External(f"http://127.0.0.1:1/x{SIGNED}", "model.bin"), tmp_path, ignored)
    assert "hush" not in str(failed.value)


@pytest.mark.parametrize("where", ["/etc/x", "../x", "a/../../x", ""])
async def test_a_place_outside_of_the_data_folder_is_refused(tmp_path: Path, where: str) -> None:
    with pytest.raises(FetchFailed, match="must be a path below"):
        await fetch(External("http://127.0.0.1:1/x", where), tmp_path, ignored)
