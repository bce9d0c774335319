"""The stock client, run by us, talks to one origin only: GraphQL, REST and uploads.

Each run has a trap for a proxy: whatever leaves loopback would knock there first.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ops.truss_client import ToolchainMissing, truss_command, write_trussrc

ROOT = Path(__file__).parents[2]
TOOLCHAIN = ROOT / ".venv-truss"
GRAPHQL = {
    "organization": {"organization": {"workspace_name": "workshop"}, "user": {"email": "ada@example.com"}},
    "teams": {"teams": [{"id": "t1", "name": "Default", "default": True}]},
    "models": {"models": []},
    "truss_validation": {"truss_validation": {"success": True, "details": "{}"}},
    "model_s3_upload_credentials": {
        "model_s3_upload_credentials": {
            "s3_bucket": "uploads",
            "s3_key": "one.tgz",
            "aws_access_key_id": "a",
            "aws_secret_access_key": "b",
            "aws_session_token": "c",
        }
    },
    "create_model_from_truss": {
        "create_model_from_truss": {
            "model_version": {
                "id": "d1",
                "oracle": {"id": "m1", "name": "counter", "hostname": "http://127.0.0.1/model-m1"},
                "instance_type": {"name": "1x2"},
            }
        }
    },
}


@dataclass
class Origin:
    """Answers just enough for one push and remembers who asked for what."""

    seen: list[tuple[str, str]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.seen.append((request.method, request.path))
        if request.path.startswith("/s3/"):
            return web.Response(headers={"ETag": '"e"'})
        self.keys.add(request.headers.get("Authorization", ""))
        if request.path == "/graphql/":
            query = json.loads(body)["query"]
            operation = next(name for name in reversed(GRAPHQL) if name in query)
            return web.json_response({"data": GRAPHQL[operation]})
        if request.path == "/v1/models/m1/deployments/d1":
            return web.json_response({"id": "d1", "status": "ACTIVE"})
        return web.json_response({"message": f"there is nothing at {request.path}"}, status=404)


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    origin = Origin()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", origin.answer)
    async with TestServer(app) as server:
        origin.url = f"http://127.0.0.1:{server.port}"
        yield origin


async def run(origin: Origin, home: Path, *argv: str) -> tuple[int, str, int]:
    """Exit code, output, and how many connections tried to leave the machine."""
    strays: list[None] = []

    async def trap(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        strays.append(None)
        writer.close()

    async with await asyncio.start_server(trap, "127.0.0.1", 0) as listener:
        proxy = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        command, environ = truss_command(
            origin.url,
            "key.secret",
            argv,
            toolchain=TOOLCHAIN,
            trussrc=home / "trussrc",
            environ={
                "PATH": os.defpath,
                "HOME": str(home),
                "HTTP_PROXY": proxy,
                "HTTPS_PROXY": proxy,
                "BASETEN_TRUSS_AUTH_REMOTE_URL": "http://127.0.0.1:9",
                "BASETEN_TRUSS_AUTH_API_KEY": "from the shell",
            },
        )
        child = await asyncio.create_subprocess_exec(
            *command,
            env=environ,
            cwd=home,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await child.communicate()
    assert child.returncode is not None
    return child.returncode, output.decode(), len(strays)


async def test_whoami_asks_the_given_origin_with_the_given_key(origin: Origin, tmp_path: Path) -> None:
    code, output, strays = await run(origin, tmp_path, "whoami")

    assert (code, strays) == (0, 0), output
    assert "ada@example.com" in output
    assert origin.seen == [("POST", "/graphql/")]
    assert origin.keys == {"Api-Key key.secret"}


async def test_a_push_uploads_and_waits_on_the_same_origin(origin: Origin, tmp_path: Path) -> None:
    code, output, strays = await run(
        origin, tmp_path, "push", str(ROOT / "examples" / "counter"), "--wait", "--output", "json"
    )

    assert (code, strays) == (0, 0), output
    assert ("PUT", "/s3/uploads/one.tgz") in origin.seen
    assert ("GET", "/v1/models/m1/deployments/d1") in origin.seen
    assert origin.keys == {"Api-Key key.secret"}


async def test_the_clients_own_exit_code_and_words_come_through(origin: Origin, tmp_path: Path) -> None:
    code, output, strays = await run(
        origin, tmp_path, "model-logs", "--model-id", "m2", "--deployment-id", "d2", "--non-interactive"
    )

    assert (code, strays) == (1, 0), output
    assert "there is nothing at /v1/models/m2/deployments/d2" in output


def test_the_trussrc_keeps_other_remotes_and_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    trussrc = tmp_path / "deep" / "trussrc"
    write_trussrc(trussrc, "http://127.0.0.1:1", "old")
    trussrc.write_text(trussrc.read_text() + "[mine]\nremote_provider = baseten\nremote_url = http://elsewhere\n")

    write_trussrc(trussrc, "http://127.0.0.1:2", "new")

    written = trussrc.read_text()
    assert "http://127.0.0.1:2" in written and "new" in written and "old" not in written
    assert "[mine]" in written
    assert trussrc.stat().st_mode & 0o777 == 0o600


def test_a_missing_toolchain_is_named_with_the_way_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(ToolchainMissing, match=r"requirements/truss\.txt"):
        truss_command("http://127.0.0.1:1", "k", [], toolchain=tmp_path, trussrc=tmp_path / "rc")


def test_an_address_without_a_scheme_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="http://"):
        write_trussrc(tmp_path / "rc", "127.0.0.1:8000", "k")
