"""Weights to a node: from the mirror, from another node, and from the node's own cache to a replica.

    python -m ops.bench.weights [--mib 256] [--rounds 3] [--gbits 10] [--quick] [--write]

Each reader is a process of its own (`weights_readers.py`), which starts with an empty folder; readers take turns, and
the median of the rounds counts. The limits move the same bytes into a new file without looking at them: `cp` by the
kernel's own copy, `sendfile` into as many connections as ours has. Nobody syncs within the time that is measured.
rclone and iperf3 take part where they are installed. From node to node, the bytes go over loopback, where both sides
and the limit share the cores; and, where such a link can be made (`link.py`), from one network to another at its rate.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from agents.weights.manifest import VERSION, Chunk, File, Manifest, chunk_hash, chunk_key, encode, manifest_key
from events.weights import ManifestId
from ops.bench.link import LOOPBACK, Link, NoLink, shaped
from ops.bench.results import table, write_section
from ops.bench.weights_readers import CHUNK_BYTES, MIB
from projections.stores.objects import FolderObjects

SMALL_FILES = 200
CHECKED = "ours, every byte checked"
TOOLS: Mapping[str, str] = {"rclone": "rclone", "iperf": "iperf3"}
"""Programs that are only looked for."""
NAMES: Mapping[str, str] = {
    "limit": "limit",
    "ours": CHECKED,
    "ranges": "aiohttp, ranges, nothing checked",
    "hub": "huggingface_hub, snapshot_download",
    "rclone": "rclone copyto",
    "iperf": "iperf3, no files",
}


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


# The rounds.

Found = dict[str, dict[str, Any]]
"""Of each reader, what it measured."""


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

    async def child(self, role: str, *arguments: object, inside: tuple[str, ...] = ()) -> dict[str, Any]:
        process = await self._begin(role, *arguments, inside=inside)
        out, _ = await process.communicate(b"")
        assert process.returncode == 0, f"{role} failed"
        shutil.rmtree(self.root / "reader", ignore_errors=True)
        found: dict[str, Any] = json.loads(out)
        return found

    async def _begin(self, role: str, *arguments: object, inside: tuple[str, ...] = ()) -> asyncio.subprocess.Process:
        """`inside`: what runs it in another network."""
        pipe = asyncio.subprocess.PIPE
        words = (*inside, sys.executable, "-m", "ops.bench.weights_readers", role, *map(str, arguments))
        return await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL)

    @asynccontextmanager
    async def _beside(self, role: str, *arguments: object, inside: tuple[str, ...] = ()) -> AsyncIterator[Any]:
        """What it says first; it ends afterwards."""
        process = await self._begin(role, *arguments, inside=inside)
        try:
            assert process.stdout is not None
            yield json.loads(await process.stdout.readline())["address"]
        finally:
            await process.communicate(b"")

    async def from_mirror(self, turn: int, *, cold: bool) -> Found:
        async def read(role: str, *more: object) -> dict[str, Any]:
            if cold:
                await asyncio.to_thread(chill, self.mirror)
            return await self.child(role, self.root / "reader", self.mirror, *more)

        return await in_turn(turn, {"limit": lambda: read("copy"), "ours": lambda: read("ours", self.large, "{}")})

    async def from_bucket(self, turn: int) -> Found:
        """All from one server, which has it in the page cache."""
        async with self._beside("server", self.mirror, self.root / "plain") as url:
            reader, size = self.root / "reader", self.mib * MIB
            return await in_turn(
                turn,
                {"limit": self._bare, "ours": lambda: self.child("ours", reader, url, self.large, "{}")}
                | {name: partial(self.child, name, reader, url, size) for name in ("ranges", "hub", *_there("rclone"))},
            )

    async def from_peer(self, turn: int, link: Link = LOOPBACK) -> Found:
        holding = (self.root / "holder", self.mirror, self.large, link.address)
        async with self._beside("hold", *holding, inside=link.far) as address:
            wanted = (self.root / "reader", self.nothing, self.large, json.dumps({"holder": address}))
            iperf = (self.mib * MIB, link.address, json.dumps(link.far))
            return await in_turn(
                turn,
                {"limit": lambda: self._bare(link), "ours": lambda: self.child("ours", *wanted, inside=link.near)}
                | {name: partial(self.child, name, *iperf, inside=link.near) for name in _there("iperf")},
            )

    async def _bare(self, link: Link = LOOPBACK) -> dict[str, Any]:
        async with self._beside("send_bare", self.root / "plain", link.address, inside=link.far) as port:
            wanted = (link.address, port, self.mib * MIB)
            return await self.child("receive_bare", self.root / "reader", *wanted, inside=link.near)

    async def to_a_replica(self) -> Found:
        one = await self.child("ours", self.root / "reader", self.mirror, self.large, "{}")
        many = await self.child("ours", self.root / "reader", self.mirror, self.small, "{}")
        holder = self.root / "holder"
        (linked,) = (holder / "replicas").rglob("model")
        bare = await self.child("read_all", self.root / "plain")
        return {"one": one, "many": many, "ours": await self.child("read_all", linked), "limit": bare}


async def in_turn(turn: int, readers: Mapping[str, Callable[[], Awaitable[dict[str, Any]]]]) -> Found:
    """In every other round the last is the first: whoever comes first may be given memory that was never used."""
    order = reversed(list(readers)) if turn % 2 else readers
    return {name: await readers[name]() for name in order}


def _there(*names: str) -> tuple[str, ...]:
    return tuple(name for name in names if shutil.which(TOOLS[name]))


def rows_of(what: str, mib: int, rounds: list[Found], goal: str) -> list[tuple[str, ...]]:
    """The limit first, then all that are beside it in these rounds."""
    rows: list[tuple[str, ...]] = []
    for name in (each for each in NAMES if each in rounds[0]):
        seconds = median(each[name]["seconds"] for each in rounds)
        busy_s = median(each[name]["processor_s"] for each in rounds) * 1024 / mib
        shares = sorted(each["limit"]["seconds"] / each[name]["seconds"] for each in rounds)
        spread = f"{median(shares):.2f} ({shares[0]:.2f} to {shares[-1]:.2f})"
        rows.append(
            (
                f"{what}: {NAMES[name]}",
                f"{mib / seconds:,.0f} MiB/s",
                f"{busy_s:.2f} s",
                "limit" if name == "limit" else spread,
                goal if name == "ours" else "",
            )
        )
    return rows


async def measure(mib: int, rounds: int, gbits: int) -> tuple[list[tuple[str, ...]], str]:
    """And why there is no shaped link."""
    with tempfile.TemporaryDirectory(prefix="causeway-weights-") as scratch:
        bench = Bench(Path(scratch), mib)
        await bench.prepare()
        cold = [await bench.from_mirror(turn, cold=True) for turn in range(rounds)]
        warm = [await bench.from_mirror(turn, cold=False) for turn in range(rounds)]
        bucket = [await bench.from_bucket(turn) for turn in range(rounds)]
        peer = [await bench.from_peer(turn) for turn in range(rounds)]
        linked, why = [], ""
        try:
            with shaped(gbits) as link:
                linked = [await bench.from_peer(turn, link) for turn in range(rounds)]
        except NoLink as error:
            why = str(error)
        start = [await bench.to_a_replica() for _ in range(rounds)]
    rows = rows_of("mirror's folder, cold page cache, to node", mib, cold, ">= 0.8")
    rows += rows_of("mirror's folder, in the page cache, to node", mib, warm, ">= 0.8")
    rows += rows_of("bucket or hub over loopback to node", mib, bucket, "")
    rows += rows_of("node to node over loopback", mib, peer, ">= 0.8")
    if linked:
        rows += rows_of(f"node to node over a link of {gbits} Gbit/s", mib, linked, ">= 0.8")
    rows += rows_of("node's cache to a process, in the page cache", mib, start, ">= 0.8")
    for what, key in ((f"one file of {mib} MiB", "one"), (f"{SMALL_FILES} files", "many")):
        seconds = sorted(second for each in start for second in each[key]["again"])
        slowest = f"slowest of {len(seconds)} {seconds[-1] * 1e3:.1f} ms"
        rows.append((f"a warm start adds, {what}", f"{median(seconds) * 1e3:.1f} ms, {slowest}", "", "", "< 20 ms"))
    fetched = [each["ours"] for each in (*cold, *warm, *bucket, *peer, *linked)]
    assert all(each["corrupt"] == 0 for each in fetched)
    assert all(each["ours"]["tally"]["peer"] == mib * MIB for each in (*peer, *linked)), (
        "the mirror was not there to ask"
    )
    memory = max(each["memory"] for each in fetched)
    rows.append((f"memory of the process, {mib} MiB fetched", f"{memory / MIB:.0f} MiB at most", "", "", "< 200 MB"))
    return rows, why


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.weights", description=__doc__)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gbits", type=int, default=10, help="of the link between two nodes")
    parser.add_argument("--quick", action="store_true", help="one round of 64 MiB")
    parser.add_argument("--write", action="store_true", help="into RESULTS.md")
    asked = parser.parse_args(argv)
    mib, rounds = (64, 1) if asked.quick else (asked.mib, asked.rounds)
    loads = ", ".join([f"{load:.1f}" for load in os.getloadavg()])
    rows, no_link = asyncio.run(measure(mib, rounds, asked.gbits))
    where = f"{platform.machine()}, {os.cpu_count()} shared cores, load {loads}, Python {platform.python_version()}"
    lacking = [program for program in TOOLS.values() if not shutil.which(program)]
    body = (
        f"`make bench-weights ARGS='--mib {mib} --rounds {rounds}'`, {where}. Chunks of"
        f" {CHUNK_BYTES // MIB} MiB. Limits and readers take turns; medians of the rounds, with the range of their"
        " ratios. Processor time is the reader's own (iperf3: of the receiving side); with other work on the cores it"
        " says more than the ratio, since who needs more of it waits longer for it. Nothing is synced within the time."
        f"{' Not on this machine: ' + ', '.join(lacking) + '.' if lacking else ''}"
        f"{f' No link of {asked.gbits} Gbit/s could be made: {no_link}.' if no_link else ''}\n\n"
        + table(("what", "measured", "processor time a GiB", "of its limit", "goal"), rows)
    )
    print(body)
    if asked.write:
        write_section("Weights", body)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
