"""Weights to a node: from the mirror, from another node, and from the node's own cache to a replica.

    python -m ops.bench.weights [--mib 1024] [--rounds 3] [--write]

Each reader is a process of its own, which starts with an empty folder; readers take turns, and the
median of the rounds counts. The limits move the same bytes into a new file without looking at them: `cp` by the
kernel's own copy, `sendfile` into as many connections as ours has. Nobody syncs within the time that is measured.
"""

import argparse
import asyncio
import json
import os
import platform
import resource
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from agents.effects.weights_chunks import PARALLEL
from agents.effects.weights_node import WeightsSettings, serve_weights
from agents.weights.fetch import Corrupt
from agents.weights.manifest import VERSION, Chunk, File, Manifest, chunk_hash, chunk_key, encode, manifest_key
from events.base import NodeId, ReplicaId
from events.weights import ManifestId, Mount
from handlers.clock import SystemClock
from ops.bench.results import table, write_section
from projections.stores.objects import FolderObjects

CHUNK_BYTES = 4 << 20
MIB = 1 << 20
STARTS = 30
SMALL_FILES = 200


async def stock(root: Path, mib: int) -> dict[str, ManifestId]:
    """A mirror with one large file, and one of many small ones; `plain` is the large file as it is."""
    store = FolderObjects(root / "mirror")
    chunks = []
    with (root / "plain").open("wb") as plain:
        for _ in range(mib * MIB // CHUNK_BYTES):
            body = os.urandom(CHUNK_BYTES)
            chunks.append(Chunk(chunk_hash(body), len(body)))
            await store.put(chunk_key(chunks[-1].hash), body)
            plain.write(body)
        os.fsync(plain.fileno())
    files = []
    for number in range(SMALL_FILES):
        body = os.urandom(64 << 10)
        small = Chunk(chunk_hash(body), len(body))
        await store.put(chunk_key(small.hash), body)
        files.append(File(f"part-{number}", len(body), 0o444, (small,)))
    large = Manifest(VERSION, (File("model", mib * MIB, 0o444, tuple(chunks)),))
    named = {"large": encode(large), "small": encode(Manifest(VERSION, tuple(files)))}
    for manifest_id, body in named.values():
        await store.put(manifest_key(manifest_id), body)
    return {name: manifest_id for name, (manifest_id, _) in named.items()}


def chill(folder: Path) -> None:
    """Out of the page cache with what is on the disk."""
    os.sync()
    for path in (path for path in folder.rglob("*") if path.is_file()):
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


# Each of these is a process. It prints what it found.


async def ours(folder: Path, mirror: Path, manifest_id: ManifestId, peers: Mapping[NodeId, str]) -> dict[str, Any]:
    found: list[Corrupt] = []
    settings = WeightsSettings(folder=folder, budget_bytes=1 << 40, secret=b"bench")
    async with serve_weights(
        settings,
        me=NodeId("reader"),
        mirror=FolderObjects(mirror),
        nodes=lambda: peers,
        clock=SystemClock(),
        on_corrupt=found.append,
    ) as node:
        mounts = (Mount(manifest_id, "/weights"),)
        before = time.process_time()
        first = await node.replicas.fetch(ReplicaId("first"), mounts)
        processor_s = time.process_time() - before
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        again = [(await node.replicas.fetch(ReplicaId(f"r-{n}"), mounts)).seconds for n in range(STARTS)]
    tally = {"node": first.tally.node, "peer": first.tally.peer, "mirror": first.tally.mirror}
    return {
        "seconds": first.seconds,
        "processor_s": processor_s,
        "memory": memory,
        "again": again,
        "tally": tally,
        "corrupt": len(found),
    }


async def hold(folder: Path, mirror: Path, manifest_id: ManifestId) -> None:
    """A node that has it all and serves it, until its input ends."""
    settings = WeightsSettings(folder=folder, budget_bytes=1 << 40, secret=b"bench")
    async with serve_weights(
        settings,
        me=NodeId("holder"),
        mirror=FolderObjects(mirror),
        nodes=dict,
        clock=SystemClock(),
        on_corrupt=lambda corrupt: None,
    ) as node:
        await node.replicas.fetch(ReplicaId("first"), (Mount(manifest_id, "/weights"),))
        print(json.dumps({"address": node.address}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def copy(folder: Path, mirror: Path) -> dict[str, Any]:
    """Chunk by chunk from the mirror's folder, as ours must, by the kernel's own copy."""
    chunks = sorted(path for path in (mirror / "weights" / "chunks").rglob("*") if path.stat().st_size == CHUNK_BYTES)
    folder.mkdir()
    began, before = time.monotonic(), time.process_time()
    with (folder / "model").open("wb") as target:
        for path in chunks:
            with path.open("rb") as source:
                while os.copy_file_range(source.fileno(), target.fileno(), CHUNK_BYTES):
                    pass
    return {"seconds": time.monotonic() - began, "processor_s": time.process_time() - before}


def send_bare(file: Path) -> None:
    """A server that sends what a connection asks for, `start length`, by `sendfile`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(json.dumps({"address": listener.getsockname()[1]}), flush=True)
        for _ in range(PARALLEL):
            connection, _ = listener.accept()
            threading.Thread(target=_send, args=(connection, file)).start()


def _send(connection: socket.socket, file: Path) -> None:
    with connection, file.open("rb") as source:
        start, length = map(int, connection.recv(100).split())
        connection.sendfile(source, start, length)


def receive_bare(folder: Path, port: int, size: int) -> dict[str, Any]:
    folder.mkdir()
    handle = os.open(folder / "model", os.O_RDWR | os.O_CREAT)
    share = size // PARALLEL
    threads = [threading.Thread(target=_receive, args=(handle, port, n * share, share)) for n in range(PARALLEL)]
    began, before = time.monotonic(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"seconds": time.monotonic() - began, "processor_s": time.process_time() - before}


def _receive(handle: int, port: int, start: int, length: int) -> None:
    buffer = memoryview(bytearray(MIB))
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"{start} {length}".encode())
        done = 0
        while got := connection.recv_into(buffer):
            os.pwrite(handle, buffer[:got], start + done)
            done += got
    assert done == length


def read_all(file: Path) -> dict[str, Any]:
    buffer = memoryview(bytearray(MIB))
    began, before = time.monotonic(), time.process_time()
    with file.open("rb", buffering=0) as source:
        while source.readinto(buffer):
            pass
    return {"seconds": time.monotonic() - began, "processor_s": time.process_time() - before}


# The rounds.


class Bench:
    def __init__(self, root: Path, mib: int) -> None:
        self.root, self.mib = root, mib
        self.mirror, self.nothing = root / "mirror", root / "nothing"
        self.large = self.small = ManifestId("")

    async def prepare(self) -> None:
        made = await stock(self.root, self.mib)
        self.large, self.small = made["large"], made["small"]
        store = FolderObjects(self.nothing)
        body = (self.mirror / manifest_key(self.large)).read_bytes()
        await store.put(manifest_key(self.large), body)

    async def child(self, role: str, *arguments: object) -> dict[str, Any]:
        process = await self._begin(role, *arguments)
        out, _ = await process.communicate(b"")
        assert process.returncode == 0, f"{role} failed"
        shutil.rmtree(self.root / "reader", ignore_errors=True)
        found: dict[str, Any] = json.loads(out)
        return found

    async def _begin(self, role: str, *arguments: object) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        words = (sys.executable, "-m", "ops.bench.weights", "--child", role, *map(str, arguments))
        return await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL)

    async def from_mirror(self, *, cold: bool) -> dict[str, Any]:
        reader, found = self.root / "reader", {}
        for name, role, more in (("limit", "copy", ()), ("ours", "ours", (self.large, "{}"))):
            if cold:
                await asyncio.to_thread(chill, self.mirror)
            found[name] = await self.child(role, reader, self.mirror, *more)
        return found

    async def from_peer(self) -> dict[str, Any]:
        reader = self.root / "reader"
        sender = await self._begin("send_bare", self.root / "plain")
        port = (await _first_line(sender))["address"]
        limit = await self.child("receive_bare", reader, port, self.mib * MIB)
        await sender.communicate(b"")
        holder = await self._begin("hold", self.root / "holder", self.mirror, self.large)
        peers = json.dumps({"holder": (await _first_line(holder))["address"]})
        found = await self.child("ours", reader, self.nothing, self.large, peers)
        await holder.communicate(b"")
        return {"limit": limit, "ours": found}

    async def to_a_replica(self) -> dict[str, Any]:
        one = await self.child("ours", self.root / "reader", self.mirror, self.large, "{}")
        many = await self.child("ours", self.root / "reader", self.mirror, self.small, "{}")
        holder = self.root / "holder"
        (linked,) = (holder / "replicas").rglob("model")
        bare = await self.child("read_all", self.root / "plain")
        return {"one": one, "many": many, "ours": await self.child("read_all", linked), "limit": bare}


async def _first_line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(await process.stdout.readline())
    return found


def row(what: str, mib: int, rounds: list[dict[str, Any]], goal: str) -> list[tuple[str, ...]]:
    limit = median(each["limit"]["seconds"] for each in rounds)
    own = median(each["ours"]["seconds"] for each in rounds)
    shares = sorted(each["limit"]["seconds"] / each["ours"]["seconds"] for each in rounds)
    spread = f"{median(shares):.2f} ({shares[0]:.2f} to {shares[-1]:.2f})"
    busy = {
        side: f"{median(each[side]['processor_s'] for each in rounds) * 1024 / mib:.2f} s" for side in ("limit", "ours")
    }
    return [
        (f"{what}: limit", f"{mib / limit:,.0f} MiB/s", busy["limit"], "limit", ""),
        (f"{what}: ours, every byte checked", f"{mib / own:,.0f} MiB/s", busy["ours"], spread, goal),
    ]


async def measure(mib: int, rounds: int) -> list[tuple[str, ...]]:
    with tempfile.TemporaryDirectory(prefix="causeway-weights-") as scratch:
        bench = Bench(Path(scratch), mib)
        await bench.prepare()
        cold = [await bench.from_mirror(cold=True) for _ in range(rounds)]
        warm = [await bench.from_mirror(cold=False) for _ in range(rounds)]
        peer = [await bench.from_peer() for _ in range(rounds)]
        start = [await bench.to_a_replica() for _ in range(rounds)]
    rows = row("mirror's folder, cold page cache, to node", mib, cold, ">= 0.8")
    rows += row("mirror's folder, in the page cache, to node", mib, warm, ">= 0.8")
    rows += row("node to node over loopback, in the page cache", mib, peer, ">= 0.8")
    rows += row("node's cache to a process, in the page cache", mib, start, ">= 0.8")
    for what, key in ((f"one file of {mib} MiB", "one"), (f"{SMALL_FILES} files", "many")):
        seconds = sorted(second for each in start for second in each[key]["again"])
        slowest = f"slowest of {len(seconds)} {seconds[-1] * 1e3:.1f} ms"
        rows.append((f"a warm start adds, {what}", f"{median(seconds) * 1e3:.1f} ms, {slowest}", "", "", "< 20 ms"))
    fetched = [each["ours"] for each in (*cold, *warm, *peer)]
    assert all(each["corrupt"] == 0 for each in fetched)
    assert all(each["ours"]["tally"]["peer"] == mib * MIB for each in peer), "the mirror was not there to ask"
    memory = max(each["memory"] for each in fetched)
    rows.append((f"memory of the process, {mib} MiB fetched", f"{memory / MIB:.0f} MiB at most", "", "", "< 200 MB"))
    return rows


CHILDREN: Mapping[str, Callable[[list[str]], Any]] = {
    "ours": lambda a: asyncio.run(ours(Path(a[0]), Path(a[1]), ManifestId(a[2]), json.loads(a[3]))),
    "hold": lambda a: asyncio.run(hold(Path(a[0]), Path(a[1]), ManifestId(a[2]))),
    "copy": lambda a: copy(Path(a[0]), Path(a[1])),
    "send_bare": lambda a: send_bare(Path(a[0])),
    "receive_bare": lambda a: receive_bare(Path(a[0]), int(a[1]), int(a[2])),
    "read_all": lambda a: read_all(Path(a[0])),
}


def main(argv: list[str]) -> int:
    if argv[:1] == ["--child"]:
        found = CHILDREN[argv[1]](argv[2:])
        print(json.dumps(found)) if found is not None else None
        return 0
    parser = argparse.ArgumentParser(prog="python -m ops.bench.weights", description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="into RESULTS.md")
    asked = parser.parse_args(argv)
    loads = partial(", ".join, [f"{load:.1f}" for load in os.getloadavg()])
    rows = asyncio.run(measure(asked.mib, asked.rounds))
    where = f"{platform.machine()}, {os.cpu_count()} shared cores, load {loads()}, Python {platform.python_version()}"
    body = (
        f"`make bench-weights ARGS='--mib {asked.mib} --rounds {asked.rounds}'`, {where}. Chunks of"
        f" {CHUNK_BYTES // MIB} MiB. Limits and readers take turns; medians of the rounds, with the range of their"
        " ratios. Processor time is the reader's own; with other work on the cores it says more than the ratio, since"
        " who needs more of it waits longer for it. Nothing is synced within the time.\n\n"
        + table(("what", "measured", "processor time a GiB", "of its limit", "goal"), rows)
    )
    print(body)
    if asked.write:
        write_section("Weights", body)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
