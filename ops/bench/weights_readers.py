"""What the bench of weights runs: each of these is a process, which prints what it found in a line of JSON.

A reader starts with an empty folder and one job: ours, a bare copy as its limit, or what people use otherwise. The
server has the same file for all of them: as a bucket, as a hub, and by ranges, each time by `sendfile`.
"""

import asyncio
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from agents.effects.objects import open_objects
from agents.effects.weights_chunks import PARALLEL
from agents.effects.weights_node import WeightsSettings, serve_weights
from agents.effects.weights_region import PIECE_BYTES
from agents.weights.chunks import AVERAGE_BYTES
from agents.weights.fetch import Corrupt
from events.base import NodeId, ReplicaId
from events.weights import ManifestId, Mount
from handlers.clock import SystemClock
from projections.stores.objects import FolderObjects

MIB = 1 << 20
CHUNK_BYTES = AVERAGE_BYTES
STARTS = 30
RANGE_BYTES = 8 << 20
REPO, COMMIT = "bench/model", "c" * 40


async def ours(folder: Path, mirror: str, manifest_id: ManifestId, peers: Mapping[NodeId, str]) -> dict[str, Any]:
    """`mirror`: a folder, or the address of the server, whose bucket it is then."""
    found: list[Corrupt] = []
    settings = WeightsSettings(folder=folder, budget_bytes=1 << 40, secret=b"bench")
    keys = {"AWS_ENDPOINT_URL": mirror, "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
    async with (
        open_objects("s3://bucket" if mirror.startswith("http") else mirror, keys) as store,
        serve_weights(
            settings,
            me=NodeId("reader"),
            mirror=store,
            nodes=lambda: peers,
            clock=SystemClock(),
            on_corrupt=found.append,
        ) as node,
    ):
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


async def hold(folder: Path, mirror: Path, manifest_id: ManifestId, host: str) -> None:
    """A node that has it all and serves it, until its input ends."""
    settings = WeightsSettings(folder=folder, budget_bytes=1 << 40, secret=b"bench", host=host)
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


def send_bare(file: Path, host: str) -> None:
    """A server that sends what a connection asks for, `start length`, by `sendfile`."""
    with socket.create_server((host, 0)) as listener:
        print(json.dumps({"address": listener.getsockname()[1]}), flush=True)
        for _ in range(PARALLEL):
            connection, _ = listener.accept()
            threading.Thread(target=_send, args=(connection, file)).start()


def _send(connection: socket.socket, file: Path) -> None:
    with connection, file.open("rb") as source:
        start, length = map(int, connection.recv(100).split())
        connection.sendfile(source, start, length)


def receive_bare(folder: Path, host: str, port: int, size: int) -> dict[str, Any]:
    folder.mkdir()
    handle = os.open(folder / "model", os.O_RDWR | os.O_CREAT)
    share = size // PARALLEL
    address = (host, port)
    threads = [threading.Thread(target=_receive, args=(handle, address, n * share, share)) for n in range(PARALLEL)]
    began, before = time.monotonic(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"seconds": time.monotonic() - began, "processor_s": time.process_time() - before}


def _receive(handle: int, address: tuple[str, int], start: int, length: int) -> None:
    buffer = memoryview(bytearray(PIECE_BYTES))
    with socket.create_connection(address) as connection:
        connection.sendall(f"{start} {length}".encode())
        done = 0
        while got := connection.recv_into(buffer, len(buffer), socket.MSG_WAITALL):
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


def server(mirror: Path, plain: Path) -> None:
    """Until its input ends."""
    asyncio.run(_server(mirror, plain))


async def _server(mirror: Path, plain: Path) -> None:
    from aiohttp import web

    size, etag = plain.stat().st_size, sha256(str(plain.stat().st_mtime_ns).encode()).hexdigest()

    async def bucket(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(mirror / request.match_info["key"], headers={"ETag": f'"{etag}"'})

    async def whole(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(plain, headers={"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    async def info(request: web.Request) -> web.Response:
        return web.json_response({"id": REPO, "_id": "x", "sha": COMMIT, "siblings": [{"rfilename": "model.bin"}]})

    async def tree(request: web.Request) -> web.Response:
        lfs = {"oid": etag, "size": size, "pointerSize": 130}
        return web.json_response([{"type": "file", "path": "model.bin", "size": size, "oid": "0" * 40, "lfs": lfs}])

    app = web.Application()
    app.router.add_get("/bucket/{key:.+}", bucket)
    app.router.add_get("/plain", whole)
    app.router.add_get(f"/api/models/{REPO}/revision/{{revision}}", info)
    app.router.add_get(f"/api/models/{REPO}/tree/{{revision}}", tree)
    app.router.add_get(f"/{REPO}/resolve/{COMMIT}/model.bin", whole)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(json.dumps({"address": f"http://127.0.0.1:{runner.addresses[0][1]}"}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await runner.cleanup()


async def ranges(folder: Path, url: str, size: int) -> dict[str, Any]:
    """What a few lines of aiohttp do: ranges side by side, each piece written where it belongs, nothing checked."""
    import aiohttp

    folder.mkdir()
    handle = os.open(folder / "model", os.O_RDWR | os.O_CREAT)
    starts = iter(range(0, size, RANGE_BYTES))

    async def take(session: aiohttp.ClientSession) -> None:
        for start in starts:
            wanted = {"Range": f"bytes={start}-{min(start + RANGE_BYTES, size) - 1}"}
            async with session.get(f"{url}/plain", headers=wanted) as answer:
                at = start
                async for piece in answer.content.iter_any():
                    at += os.pwrite(handle, piece, at)

    began, before = time.monotonic(), time.process_time()
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(take(session) for _ in range(PARALLEL)))
    found = {"seconds": time.monotonic() - began, "processor_s": time.process_time() - before}
    assert os.fstat(handle).st_size == size
    return found


HUB = """
import json, sys, time
from huggingface_hub import snapshot_download
began, before = time.monotonic(), time.process_time()
snapshot_download(sys.argv[1], local_dir=sys.argv[2])
print(json.dumps({"seconds": time.monotonic() - began, "processor_s": time.process_time() - before}))
"""


def hub(folder: Path, url: str, size: int) -> dict[str, Any]:
    own = {"PATH": "/usr/bin:/bin", "HF_ENDPOINT": url, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
    words = (sys.executable, "-c", HUB, REPO, str(folder / "got"))
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    said = subprocess.run(words, check=True, stdout=subprocess.PIPE, env=own | quiet).stdout
    assert (folder / "got" / "model.bin").stat().st_size == size
    found: dict[str, Any] = json.loads(said)
    return found


def rclone(folder: Path, url: str, size: int) -> dict[str, Any]:
    program = shutil.which("rclone")
    assert program is not None
    folder.mkdir()
    many = ("--multi-thread-streams", str(PARALLEL), "--multi-thread-cutoff", "1M")
    words = (program, "copyto", "--config", "/dev/null", "--http-url", url, ":http:plain", str(folder / "model"), *many)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(words, check=True, capture_output=True)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (folder / "model").stat().st_size == size
    return {
        "seconds": seconds,
        "processor_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }


def iperf(size: int, host: str, far: Sequence[str]) -> dict[str, Any]:
    """From memory to memory: no file on either side. `far`: what runs a command where the bytes come from."""
    program = shutil.which("iperf3")
    assert program is not None
    with socket.create_server(("", 0)) as free:
        port = str(free.getsockname()[1])
    words = (*far, program, "-s", "-1", "--forceflush", "-p", port)
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        while "listening" not in server.stdout.readline():
            assert server.poll() is None, "iperf3 does not listen"
        words = (program, "-R", "-c", host, "-p", port, "-P", str(PARALLEL), "-n", str(size // PARALLEL), "-J")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)["end"]["sum_received"]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        server.communicate(timeout=60)
    finally:
        server.kill()
        server.wait()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": size * 8 / told["bits_per_second"], "processor_s": used}


CHILDREN: Mapping[str, Callable[[list[str]], Any]] = {
    "ours": lambda a: asyncio.run(ours(Path(a[0]), a[1], ManifestId(a[2]), json.loads(a[3]))),
    "hold": lambda a: asyncio.run(hold(Path(a[0]), Path(a[1]), ManifestId(a[2]), a[3])),
    "copy": lambda a: copy(Path(a[0]), Path(a[1])),
    "send_bare": lambda a: send_bare(Path(a[0]), a[1]),
    "receive_bare": lambda a: receive_bare(Path(a[0]), a[1], int(a[2]), int(a[3])),
    "read_all": lambda a: read_all(Path(a[0])),
    "server": lambda a: server(Path(a[0]), Path(a[1])),
    "ranges": lambda a: asyncio.run(ranges(Path(a[0]), a[1], int(a[2]))),
    "hub": lambda a: hub(Path(a[0]), a[1], int(a[2])),
    "rclone": lambda a: rclone(Path(a[0]), a[1], int(a[2])),
    "iperf": lambda a: iperf(int(a[0]), a[1], json.loads(a[2])),
}


def main(argv: list[str]) -> None:
    found = CHILDREN[argv[0]](argv[1:])
    if found is not None:
        print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
