"""A node's part in the delivery of weights, in a process of its own: `node_process.py FOLDER NAME MIRROR_URL BUDGET`.

It says its address in a line of JSON, and then answers each line that it is sent with one. For tests that kill it.
"""

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import structlog

from agents.effects.weights_node import WeightsOfNode, WeightsSettings, serve_weights
from agents.effects.weights_peer_client import PeerPatience
from agents.weights.fetch import Corrupt, WeightsLate
from events.base import NodeId, ReplicaId
from events.weights import ManifestId, Mount
from handlers.clock import SystemClock
from projections.stores.objects import ObjectMissing, Stored, StoreUnavailable
from tests.agents.weights.goods import SECRET


class HttpObjects:
    """The mirror of `mirror_server.py`."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url, self._session = url, session

    async def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        headers = {} if length is None else {"Range": f"bytes={start}-{start + length - 1}"}
        try:
            async with self._session.get(f"{self._url}/{key}", headers=headers) as answer:
                if answer.status == 404:
                    raise ObjectMissing(f"no object {key}")
                answer.raise_for_status()
                return await answer.read()
        except aiohttp.ClientError as error:
            raise StoreUnavailable(repr(error)) from error

    async def put(self, key: str, body: bytes | memoryview) -> None:
        raise StoreUnavailable("nodes only read")

    async def size(self, key: str) -> int | None:
        return len(await self.read(key))

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        raise StoreUnavailable("nodes only read")
        yield

    async def remove(self, key: str) -> None:
        raise StoreUnavailable("nodes only read")


async def main(folder: str, name: str, mirror: str, budget: str) -> None:
    peers: dict[NodeId, str] = {}
    found: list[Corrupt] = []
    settings = WeightsSettings(
        folder=Path(folder),
        budget_bytes=int(budget),
        secret=SECRET,
        keep_free_bytes=1 << 20,
        patience=PeerPatience(silent_s=5.0),
    )
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with aiohttp.ClientSession() as session:
        serving = serve_weights(
            settings,
            me=NodeId(name),
            mirror=HttpObjects(mirror, session),
            nodes=lambda: dict(peers),
            clock=SystemClock(),
            on_corrupt=found.append,
        )
        async with serving as node:
            say({"address": node.address})
            while line := await reader.readline():
                asked = json.loads(line)
                if "peers" in asked:
                    peers.update(asked["peers"])
                    say({})
                elif "remove" in asked:
                    Path(asked["remove"]).unlink()
                    say({})
                else:
                    say(await fetch(node, asked) | {"found": msgspec.to_builtins(found)})


async def fetch(node: WeightsOfNode, asked: dict[str, Any]) -> dict[str, Any]:
    mounts = (Mount(ManifestId(asked["fetch"]), "/weights"),)
    names = [ReplicaId(each) for each in asked["replicas"]]
    try:
        all_fetched = await asyncio.gather(*(node.replicas.fetch(name, mounts) for name in names))
    except WeightsLate as error:
        return {"lack": error.lack, "reason": error.reason}
    seen = [sums(Path(each.mounted[0].folder)) for each in all_fetched]
    tallies = [msgspec.to_builtins(each.tally) for each in all_fetched]
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seen": seen, "tallies": tallies, "memory_bytes": used, "seconds": [each.seconds for each in all_fetched]}


def sums(tree: Path) -> dict[str, str]:
    files = (path for path in tree.rglob("*") if path.is_file())
    return {path.relative_to(tree).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(*sys.argv[1:]))
