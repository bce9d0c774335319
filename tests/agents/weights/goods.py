"""Weights in a mirror, and nodes that fetch them: what the tests of their delivery share."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import msgspec

from agents.effects.weights_node import WeightsOfNode, WeightsSettings, serve_weights
from agents.effects.weights_peer_client import PeerPatience
from agents.weights.fetch import Corrupt
from agents.weights.manifest import VERSION, Chunk, File, Manifest, chunk_hash, chunk_key, encode, manifest_key
from events.base import NodeId, ReplicaId
from events.weights import ManifestId, Mount
from handlers.clock import SystemClock
from projections.stores.objects import FolderObjects, Objects, StoreUnavailable

CHUNK_BYTES = 1 << 20
SECRET = b"of the tests"


def file_of(path: str, body: bytes, *, mode: int = 0o444, chunk_bytes: int = CHUNK_BYTES) -> tuple[File, list[bytes]]:
    parts = [body[start : start + chunk_bytes] for start in range(0, len(body), chunk_bytes)]
    return File(path, len(body), mode, tuple(Chunk(chunk_hash(part), len(part)) for part in parts)), parts


async def mirrored(
    store: Objects,
    files: Mapping[str, bytes],
    *,
    programs: frozenset[str] = frozenset(),
    chunk_bytes: int = CHUNK_BYTES,
) -> ManifestId:
    """As the builder leaves them."""
    laid = [
        file_of(path, body, mode=0o555 if path in programs else 0o444, chunk_bytes=chunk_bytes)
        for path, body in files.items()
    ]
    for file, parts in laid:
        for chunk, part in zip(file.chunks, parts, strict=True):
            await store.put(chunk_key(chunk.hash), part)
    manifest_id, body = encode(Manifest(VERSION, tuple(file for file, _ in laid)))
    await store.put(manifest_key(manifest_id), body)
    return manifest_id


def some_files(seed: int = 1, big_bytes: int = 5 * CHUNK_BYTES + 12_345) -> dict[str, bytes]:
    random = Random(seed)
    return {
        "config.json": b'{"layers": 2}',
        "model/part-1.safetensors": random.randbytes(big_bytes),
        "model/part-2.safetensors": random.randbytes(big_bytes // 2),
        "empty": b"",
        "zeros": bytes(3 * CHUNK_BYTES),
        "tools/run": b"#!/bin/sh\n",
    }


def safetensors(tensors: list[bytes], note: str = "") -> bytes:
    header: dict[str, object] = {"__metadata__": {"note": note}}
    at = 0
    for number, tensor in enumerate(tensors):
        header[f"t{number}"] = {"dtype": "U8", "shape": [len(tensor)], "data_offsets": [at, at + len(tensor)]}
        at += len(tensor)
    text = msgspec.json.encode(header)
    return len(text).to_bytes(8, "little") + text + b"".join(tensors)


class Mirror:
    """As a bucket is read; counts what leaves it, and can be out of reach."""

    def __init__(self, root: Path) -> None:
        self._store = FolderObjects(root)
        self.is_away = False
        self.chunk_bytes = 0
        self.path, self.put, self.size = self._store.path, self._store.put, self._store.size
        self.list, self.remove = self._store.list, self._store.remove

    async def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        if self.is_away:
            raise StoreUnavailable("the test has switched it off")
        body = await self._store.read(key, start, length)
        if key.startswith("weights/chunks/"):
            self.chunk_bytes += len(body)
        return body

    def flip(self, key: str) -> None:
        """One bit, as a bad disk would."""
        flip(self.path(key))


def flip(path: Path, at: int = 100) -> None:
    mode = path.stat().st_mode
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    path.chmod(mode)


class Plane:
    """Nodes with caches of their own, in this process, and one mirror."""

    def __init__(self, root: Path, stack: AsyncExitStack) -> None:
        self.root, self._stack = root, stack
        self.mirror = Mirror(root / "blobs")
        self.addresses: dict[NodeId, str] = {}
        self.found: list[Corrupt] = []

    async def node(
        self,
        name: str,
        *,
        budget_bytes: int = 1 << 30,
        verify_always: bool = False,
        patience: PeerPatience = PeerPatience(silent_s=5.0),  # noqa: B008
        secret: bytes = SECRET,
        stack: AsyncExitStack | None = None,
    ) -> WeightsOfNode:
        settings = WeightsSettings(
            folder=self.root / name,
            budget_bytes=budget_bytes,
            secret=secret,
            verify_always=verify_always,
            patience=patience,
        )
        me = NodeId(name)
        opened = serve_weights(
            settings,
            me=me,
            mirror=self.mirror,
            nodes=lambda: dict(self.addresses),
            clock=SystemClock(),
            on_corrupt=self.found.append,
        )
        node = await (stack or self._stack).enter_async_context(opened)
        self.addresses[me] = node.address
        return node


@asynccontextmanager
async def plane(root: Path) -> AsyncIterator[Plane]:
    async with AsyncExitStack() as stack:
        yield Plane(root, stack)


async def got(node: WeightsOfNode, manifest_id: ManifestId, replica: str = "r-1") -> dict[str, bytes]:
    """What that replica would read."""
    fetched = await node.replicas.fetch(ReplicaId(replica), (Mount(manifest_id, "/weights"),))
    tree = Path(fetched.mounted[0].folder)
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
