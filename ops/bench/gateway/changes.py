"""From before an event is appended until every gateway worker answers by it, seen from outside.

Production moves between two deployments, again and again; one caller a worker asks all the time and reads in the
answer's headers which deployment it came from. The time includes the durable append, the fold, and the whole request
that shows it, so it is more than any caller waits.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp

from events.base import DeploymentId
from ops.bench.gateway.measure import Bench, answers
from ops.bench.gateway.ours import HEADERS, ONE, PATH, TWO, Plane, connected, promote
from ops.bench.gateway.pinned import started, wait_until

WORKERS = 2
ASK_EVERY_S = 0.0005
REST_S = 0.02
START_DEADLINE_S, DEADLINE_S = 60.0, 10.0
_REQUEST = f"POST {PATH} HTTP/1.1\r\nhost: bench\r\n{HEADERS}content-length: 2\r\n\r\n{{}}".encode()


def changes(bench: Bench, plane: Plane, count: int) -> list[float]:
    """Milliseconds, for the slowest worker of each change."""
    with ExitStack() as stack:
        ports = [stack.enter_context(_worker(bench, plane)) for _ in range(WORKERS)]
        return asyncio.run(_watch(plane, ports, count))


@contextmanager
def _worker(bench: Bench, plane: Plane) -> Iterator[int]:
    folder = Path(mkdtemp(prefix="w-", dir=bench.folder))
    place = bench.place(folder)
    command = plane.gateway(place)
    with started(command.words, command.env, bench.proxy_core, folder) as tree:
        wait_until(lambda: answers(command, place.port), tree, START_DEADLINE_S)
        yield place.port


class Watcher:
    """Asks one worker all the time; knows since when it answers by which deployment."""

    def __init__(self) -> None:
        self.seen = asyncio.Event()
        self.wanted: DeploymentId | None = None
        self.at_ns = 0

    def want(self, deployment_id: DeploymentId) -> None:
        self.seen.clear()
        self.wanted = deployment_id

    async def run(self, port: int) -> None:
        incoming, out = await asyncio.open_connection("127.0.0.1", port)
        try:
            while True:
                out.write(_REQUEST)
                head = (await incoming.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                await incoming.readexactly(int(fields["content-length"]))
                if fields["x-causeway-deployment"] == self.wanted and not self.seen.is_set():
                    self.at_ns = time.monotonic_ns()
                    self.seen.set()
                await asyncio.sleep(ASK_EVERY_S)
        finally:
            out.close()


async def _watch(plane: Plane, ports: Sequence[int], count: int) -> list[float]:
    log = await connected(plane.nats)
    watchers = [Watcher() for _ in ports]
    asking = [asyncio.create_task(watcher.run(port)) for watcher, port in zip(watchers, ports, strict=True)]
    took_ms = []
    try:
        at = await log.head()
        for number in range(count):
            wanted = (TWO, ONE)[number % 2]
            for watcher in watchers:
                watcher.want(wanted)
            began_ns = time.monotonic_ns()
            at = await promote(log, wanted, at)
            async with asyncio.timeout(DEADLINE_S):
                for watcher in watchers:
                    await watcher.seen.wait()
            took_ms.append((max(watcher.at_ns for watcher in watchers) - began_ns) / 1e6)
            await asyncio.sleep(REST_S)
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await log.close()
    return took_ms
