"""Event to route: from before a `ReplicaReady` is appended until another process would route a request to it.

    python -m ops.bench.route [--events 1000] [--write]

The other process follows the log as a gateway does and asks `choose` after every fold. Its limit, measured in the same
run and in turns: a bare message over core NATS (nothing stored, nothing decoded) to that same process.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from statistics import median

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from events.base import ORIGIN, DeploymentId, ReplicaId, StreamName
from events.log.jetstream import JetStreamLog
from events.log.jetstream_link import settled
from events.model import DeploymentPushed, ModelRegistered
from events.replica import ReplicaDraining, ReplicaReady
from gateway.addresses import Target
from gateway.choose import Route, choose
from ops.bench.history import history
from ops.bench.log import server
from ops.bench.results import table, write_section
from projections.follow import Follower
from projections.routing import ROUTING
from projections.view import View

PACE_S = 0.01
GOAL_MS = 20.0
BARE = "bench.bare"


class Idle(msgspec.Struct, frozen=True):
    """A gateway without traffic."""

    in_flight: dict[ReplicaId, int] = {}
    avoided: frozenset[ReplicaId] = frozenset()
    resting: frozenset[ReplicaId] = frozenset()
    waiting: frozenset[DeploymentId] = frozenset()
    waiting_elsewhere: frozenset[DeploymentId] = frozenset()
    turn: int = 0


async def follow(url: str) -> None:
    """The other process: a line for every replica that `choose` begins to name, and for every bare message."""
    log = await JetStreamLog.connect(url)
    client = await nats.connect(url)
    view = View(ROUTING)

    def look() -> None:
        for model_id in view.state.models:
            chosen = choose(view.state, Target(model_id, "environment", "production"), Idle())
            for deployment in view.state.deployments.values():
                if not isinstance(chosen, Route) and deployment.replicas:
                    chosen = choose(view.state, Target(model_id, "deployment", deployment.deployment_id), Idle())
            if isinstance(chosen, Route):
                print(chosen.replica.replica_id, time.monotonic_ns(), flush=True)

    async def bare(message: Msg) -> None:
        print(message.data.decode(), time.monotonic_ns(), flush=True)

    await client.subscribe(BARE, cb=bare)
    await settled(client)
    view.on_change(look)
    print("ready", time.monotonic_ns(), flush=True)
    await Follower(log, (view,)).run()


async def measure(count: int) -> tuple[list[float], list[float]]:
    """Milliseconds from append to route, and from publish to arrival."""
    with tempfile.TemporaryDirectory(prefix="causeway-bench-") as folder, server(Path(folder)) as address:
        log = await JetStreamLog.connect(address.url, create=True, monitor_url=address.monitor_url)
        client = await nats.connect(address.url)
        command = (sys.executable, "-m", "ops.bench.route", "--follow", address.url)
        other = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert other.stdout is not None
        try:
            await _next(other.stdout)
            return await _rounds(log, client, other.stdout, count)
        finally:
            other.terminate()
            await other.wait()
            await client.close()
            await log.close()


async def _rounds(
    log: JetStreamLog, client: Client, said: asyncio.StreamReader, count: int
) -> tuple[list[float], list[float]]:
    drafts = list(islice(history("routed"), 40))
    registered = next(draft for _, draft in drafts if isinstance(draft[0], ModelRegistered))
    pushed = next(draft for _, draft in drafts if isinstance(draft[0], DeploymentPushed))
    assert isinstance(pushed[0], DeploymentPushed)
    stream = StreamName("model", pushed[0].model_id)
    await log.append(stream, (pushed,), await log.append(stream, (registered,), ORIGIN))
    deployment_id, metas = pushed[0].deployment_id, (meta for _, (_, meta) in history("lives"))
    routed, bare = [], []
    for number in range(count):
        replica_id = ReplicaId(f"{deployment_id}-{number}")
        ready = ReplicaReady(replica_id=replica_id, deployment_id=deployment_id, address="127.0.0.1:1", seconds=1.0)
        drained = ReplicaDraining(replica_id=replica_id, deployment_id=deployment_id, reason="measured")
        life = StreamName("replica", replica_id)
        began = time.monotonic_ns()
        at = await log.append(life, ((ready, next(metas)),), ORIGIN)
        routed.append((await _time_of(said, replica_id) - began) / 1e6)
        await log.append(life, ((drained, next(metas)),), at)
        began = time.monotonic_ns()
        await client.publish(BARE, b"bare-%d" % number)
        bare.append((await _time_of(said, f"bare-{number}") - began) / 1e6)
        await asyncio.sleep(PACE_S)
    return routed, bare


async def _next(said: asyncio.StreamReader) -> tuple[str, int]:
    async with asyncio.timeout(30):
        words = (await said.readline()).split()
    return words[0].decode(), int(words[1])


async def _time_of(said: asyncio.StreamReader, what: str) -> int:
    while True:
        name, at = await _next(said)
        if name == what:
            return at


def _spread(milliseconds: list[float]) -> tuple[float, float]:
    ordered = sorted(milliseconds)
    return median(ordered), ordered[int(len(ordered) * 0.99)]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.route", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--follow", metavar="URL", help="be the other process")
    parser.add_argument("--write", action="store_true", help="put the result into ops/bench/RESULTS.md")
    options = parser.parse_args(arguments)
    if options.follow:
        asyncio.run(follow(options.follow))
        return 0
    routed, bare = asyncio.run(measure(options.events))
    (p50, p99), (bare_p50, bare_p99) = _spread(routed), _spread(bare)
    rows = [
        ("bare message to the other process", f"p50 {bare_p50:.2f} ms, p99 {bare_p99:.2f} ms", "limit", ""),
        (
            "event appended (durably), folded, routed in the other process",
            f"p50 {p50:.2f} ms, p99 {p99:.2f} ms",
            f"p50 {p50 / bare_p50:.1f} x, p99 {p99 / bare_p99:.1f} x",
            f"p99 <= {GOAL_MS:.0f} ms",
        ),
    ]
    measured = table(("what", "measured", "to its limit", "goal"), rows)
    print(measured)
    if options.write:
        load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
        where = (
            f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} shared cores ({platform.machine()}, load {load}),"
            f" Python {platform.python_version()}: `python -m ops.bench.route --events {options.events} --write`."
            " At a hundred a second."
        )
        write_section("Event to route", f"{where}\n\n{measured}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
