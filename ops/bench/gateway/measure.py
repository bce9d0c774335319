"""What is asked of each proxy in its turn: one start, then throughput, latency, streams, and idle connections."""

import http.client
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ops.bench.gateway.peers import Command, Peer, Place
from ops.bench.gateway.pinned import DidNotStart, Tree, started, wait_until
from ops.config import load
from ops.local.ports import PortClaims

UNARY_CONNECTIONS, STREAMS, CHUNK_GAP_MS = 64, 512, 5


class Heard(msgspec.Struct, frozen=True):
    """What the callers report."""

    answered: int
    per_s: float
    chunks_per_s: float
    errors: int
    p50_us: float
    p99_us: float


class Turn(msgspec.Struct):
    """One round of one proxy. None: not measured."""

    requests_per_s: float
    p99_ms: float
    cpu_us: float | None
    p50_alone_us: float
    chunks_per_s: float | None
    resident_bytes: int | None
    idle_resident_bytes: int | None
    errors: int


@dataclass(frozen=True)
class Bench:
    """What all turns share."""

    folder: Path
    load_program: Path
    replicas: tuple[int, ...]
    proxy_core: int
    load_core: int
    seconds: float
    idle_connections: int
    claims: PortClaims

    def ask(self, mode: str, command: Command, port: int, connections: int, seconds: float) -> Heard:
        done = subprocess.run(
            self._words(mode, command, port, connections, seconds),
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=seconds + 60,
        )  # fmt: skip
        if done.returncode:
            raise DidNotStart(f"the load generator failed: {done.stderr.strip()}")
        return msgspec.json.decode(done.stdout, type=Heard)

    @contextmanager
    def idle(self, command: Command, port: int) -> Iterator[None]:
        """All connections open; each has had one answer."""
        words = self._words("idle", command, port, self.idle_connections, 1)
        callers = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert callers.stdin is not None and callers.stdout is not None
        try:
            if not callers.stdout.readline():
                raise DidNotStart(f"{self.idle_connections} connections could not be opened")
            yield
        finally:
            callers.stdin.close()
            callers.wait()
            callers.stdout.close()

    def _words(self, mode: str, command: Command, port: int, connections: int, seconds: float) -> list[str]:
        return [
            str(self.load_program), mode, str(port), command.path, command.headers, str(connections), str(seconds)
        ]  # fmt: skip

    def place(self, folder: Path) -> Place:
        return Place(folder, self.claims.pick(None), self.claims.pick(None), self.replicas, self.load_core)


def direct(bench: Bench) -> Turn:
    """The limit: callers and model server without anything between."""
    command, port = Command(()), bench.replicas[0]
    unary = bench.ask("unary", command, port, UNARY_CONNECTIONS, bench.seconds)
    alone = bench.ask("unary", command, port, 1, bench.seconds / 2)
    streams = bench.ask("sse", command, port, STREAMS, bench.seconds)
    errors = unary.errors + alone.errors + streams.errors
    return Turn(unary.per_s, unary.p99_us / 1e3, None, alone.p50_us, streams.chunks_per_s, None, None, errors)


def proxied(bench: Bench, peer: Peer) -> Turn:
    """Raises DidNotStart."""
    folder = Path(tempfile.mkdtemp(prefix="b-", dir=bench.folder))
    place = bench.place(folder)
    command = peer.begin(place)
    env = dict(load().inherited_env) | dict(command.env)
    try:
        with started(command.words, env, bench.proxy_core, folder) as tree:
            wait_until(lambda: answers(command, place.port), tree, peer.start_deadline_s)
            before = tree.cpu_s(bench.proxy_core)
            unary = bench.ask("unary", command, place.port, UNARY_CONNECTIONS, bench.seconds)
            cpu_us = (tree.cpu_s(bench.proxy_core) - before) * 1e6 / max(1, unary.answered)
            alone = bench.ask("unary", command, place.port, 1, bench.seconds / 2)
            resident = tree.resident_bytes()
            streams = bench.ask("sse", command, place.port, STREAMS, bench.seconds)
            idle_resident = None if peer.is_slow else _with_idle(bench, command, place.port, tree)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    errors = unary.errors + alone.errors + streams.errors
    per_s, p99_ms, chunks = unary.per_s, unary.p99_us / 1e3, streams.chunks_per_s
    return Turn(per_s, p99_ms, cpu_us, alone.p50_us, chunks, resident, idle_resident, errors)


def _with_idle(bench: Bench, command: Command, port: int, tree: Tree) -> int | None:
    if not bench.idle_connections:
        return None
    try:
        with bench.idle(command, port):
            return tree.resident_bytes()
    except DidNotStart as error:
        print(f"bench-gateway: {error}", file=sys.stderr)
        return None


def answers(command: Command, port: int) -> bool:
    """Whether one whole request is answered with 200."""
    headers = dict(line.split(": ", 1) for line in command.headers.split("\r\n") if line)
    body = json.dumps({"model": "m", "stream": False, "messages": [{"role": "user", "content": "x"}]})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", command.path, body, headers | {"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
        return response.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
