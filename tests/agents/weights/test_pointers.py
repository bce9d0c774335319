"""Signed links to files that a node has, and the real truss_transfer, which fetches by them."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from time import time

import aiohttp
import msgspec
import pytest

from agents.effects.weights_node import WeightsOfNode
from agents.effects.weights_peer_wire import Keyring
from agents.weights.fetch import contents
from agents.weights.manifest import decode, manifest_key
from agents.weights.pointers import pointers
from events.base import NodeId
from events.weights import ManifestId
from tests.agents.weights.goods import SECRET, Plane, mirrored, plane, some_files

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-truss" / "bin" / "python"
PATIENCE = aiohttp.ClientTimeout(total=60)


def link(
    node: WeightsOfNode, manifest_id: ManifestId, number: int, *, good_for_s: int = 600, key: bytes = SECRET
) -> str:
    path = Keyring(NodeId("somebody"), key).link(manifest_id, number, int(time()) + good_for_s)
    return f"http://{node.address}{path}"


async def asked(url: str, **headers: str) -> tuple[int, bytes]:
    async with aiohttp.ClientSession(timeout=PATIENCE) as session, session.get(url, headers=headers) as answer:
        return answer.status, await answer.read()


async def in_order(here: Plane, manifest_id: ManifestId) -> list[str]:
    manifest = decode(manifest_id, await here.mirror.read(manifest_key(manifest_id)))
    return [file.path for file in manifest.files]


async def test_a_link_gives_a_file_or_a_part_of_it_to_who_has_it_and_as_long_as_it_is_good(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        files = some_files()
        manifest_id = await mirrored(here.mirror, files)
        node = await here.node("n1")
        number = (await in_order(here, manifest_id)).index("model/part-1.safetensors")
        body = files["model/part-1.safetensors"]
        url = link(node, manifest_id, number)
        assert await asked(url) == (200, body)
        assert await asked(url, Range="bytes=1000000-1999999") == (206, body[1_000_000:2_000_000])
        assert here.mirror.chunk_bytes == len(body), "nothing else was fetched for it"
        for bad in (
            url.replace("until=", "until=1"),
            url.replace(f"/{number}?", f"/{number + 1}?"),
            url[:-1] + ("0" if url[-1] != "0" else "1"),
            url.partition("?")[0],
            link(node, manifest_id, number, key=b"another plane's"),
            link(node, manifest_id, number, good_for_s=-5),
        ):
            assert (await asked(bad))[0] == 403
        assert (await asked(link(node, manifest_id, 99)))[0] == 404
        assert (await asked(link(node, ManifestId("0" * 64), 0)))[0] == 404
        here.mirror.is_away = True
        assert (await asked(link(node, manifest_id, number - 1)))[0] == 503
        assert await asked(url) == (200, body)


def walls(bptr: Path) -> Iterator[str]:
    """This machine as it is, with a folder /bptr more, which truss_transfer has no setting for."""
    for path in Path("/").iterdir():
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir() and path.name not in ("dev", "bptr"):
            yield from ("--bind", str(path), str(path))
    yield from ("--dev-bind", "/dev", "/dev", "--bind", str(bptr), "/bptr")


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="truss_transfer reads /bptr, which bubblewrap makes here")
async def test_the_real_truss_transfer_fetches_by_them(tmp_path: Path) -> None:
    async with plane(tmp_path) as here:
        files = some_files()
        manifest_id = await mirrored(here.mirror, files)
        node = await here.node("n1")
        laid = contents(decode(manifest_id, await here.mirror.read(manifest_key(manifest_id))))
        made = pointers(laid, lambda number: link(node, manifest_id, number), int(time()) + 600)
        bptr, target = tmp_path / "bptr", tmp_path / "target"
        bptr.mkdir()
        (bptr / "bptr-manifest").write_bytes(msgspec.json.encode(made))
        code = f"import truss_transfer; print(truss_transfer.lazy_data_resolve({str(target)!r}))"
        child = await asyncio.create_subprocess_exec(
            "bwrap", "--die-with-parent", *walls(bptr), "--", str(PYTHON), "-c", code,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            output, _ = await asyncio.wait_for(child.communicate(), 240)
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        assert child.returncode == 0, output.decode()
        assert {path: (target / path).read_bytes() for path in files} == files, output.decode()
