"""The log beside its limits: durable append beside a bare publish, follow and fold beside a bare decode loop.

    python -m ops.bench.log [--events 300000] [--write]

Starts a nats-server of its own in a temporary folder, configured as the local stack configures its server. What is
compared runs in turns, so that a busy machine is equally unkind to both. Takes about a minute.
"""

import argparse
import asyncio
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, cast

import nats
from nats.aio.client import Client

from events.base import ORIGIN, Position, StreamName
from events.codec import Recorded, decode, encode
from events.log import Draft
from events.log.jetstream import JetStreamLog, outgoing
from events.log.jetstream_checks import stream_config
from ops.bench.history import history
from ops.bench.results import table, write_section
from ops.config import load
from ops.local.nats_server import NatsAddress, binary, configuration
from ops.local.ports import PortClaims
from projections.routing import ROUTING
from projections.view import View

APPENDS = 3000
FOLLOW_ROUNDS, DECODE_SAMPLE = 5, 50_000
PACED, PACE_S = 300, 0.01
FILL_BATCH = 1000
APPEND_GOAL, FOLLOW_GOAL = 0.8, 150_000

Row = tuple[str, str, str, str]


@contextmanager
def server(folder: Path) -> Iterator[NatsAddress]:
    claims = PortClaims()
    address = NatsAddress(claims.pick(None), claims.pick(None), secrets.token_urlsafe(16))
    config = folder / "nats.conf"
    config.write_text(configuration(address, folder / "store"))
    with (folder / "nats.log").open("wb") as said:
        child = subprocess.Popen([binary(load()), "-c", config], stdout=said, stderr=said)
    try:
        yield address
    finally:
        child.terminate()
        child.wait()
        claims.close()


@asynccontextmanager
async def connected(address: NatsAddress) -> AsyncIterator[tuple[JetStreamLog, Client]]:
    """The log, checked as in earnest, and a plain client with a stream of the same durability beside it."""
    log = await JetStreamLog.connect(address.url, create=True, monitor_url=address.monitor_url)
    client = await nats.connect(address.url)
    plain = stream_config(1) | {"name": "BARE", "subjects": ["bare.>"]}
    config = nats.js.api.StreamConfig.from_response(plain | {"duplicate_window": 120 * 10**9})
    await client.jetstream().add_stream(config)
    try:
        yield log, client
    finally:
        await client.close()
        await log.close()


async def fill(client: Client, count: int) -> None:
    """The events as the log itself writes them, but many decisions to an atomic batch, which is quicker."""
    events = history("filled")
    for begin in range(0, count, FILL_BATCH):
        *most, last = (
            _in_batch(message, f"fill-{begin}", number)
            for number, message in enumerate(islice(events, min(FILL_BATCH, count - begin)), 1)
        )
        for subject, headers, payload in most:
            await client.publish(subject, payload, headers=headers)
        subject, headers, payload = last
        answer = await client.request(subject, payload, timeout=30, headers=headers | {"Nats-Batch-Commit": "1"})
        if b'"error"' in answer.data:
            raise RuntimeError(f"the batch at {begin} was refused: {answer.data.decode()}")


def _in_batch(event: tuple[StreamName, Draft], batch: str, number: int) -> tuple[str, dict[str, str], bytes]:
    stream, draft = event
    ((subject, headers, payload),) = outgoing(stream, (draft,), ORIGIN)
    kept = {name: text for name, text in headers.items() if not name.startswith("Nats-Expected")}
    return subject, kept | {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}, payload


async def appends(log: JetStreamLog, client: Client) -> list[Row]:
    """Single-event decisions, each after the answer to the last one, in turns with bare publishes of the same bytes."""
    bare_s, ours_s = [], []
    jetstream = client.jetstream()
    at, stream = ORIGIN, StreamName("bench", "appended")
    for _, (event, meta) in islice(history("appended"), APPENDS):
        payload = encode(event, meta)
        began = time.perf_counter()
        await jetstream.publish("bare.event", payload, timeout=30)
        published = time.perf_counter()
        at = await log.append(stream, ((event, meta),), at)
        ours_s.append(time.perf_counter() - published)
        bare_s.append(published - began)
    return [
        ("bare serial publish, acknowledged after sync", _rate_of(bare_s), "limit", ""),
        ("serial append, guarded", _rate_of(ours_s), f"{sum(bare_s) / sum(ours_s):.2f}", f">= {APPEND_GOAL}"),
    ]


async def paced_appends(log: JetStreamLog) -> Row:
    """From before an append until a follower in this process has the event, at a hundred a second."""
    head = await log.head()
    begun: dict[Position, float] = {}
    seen: dict[Position, float] = {}

    async def listen() -> None:
        async with aclosing(cast(Any, log.follow(head))) as batches:
            async for batch in batches:
                for recorded in batch:
                    seen[recorded.position] = time.perf_counter()
                if len(seen) == PACED:
                    return

    listening = asyncio.create_task(listen())
    at, stream = ORIGIN, StreamName("bench", "paced")
    for _, draft in islice(history("paced"), PACED):
        await asyncio.sleep(PACE_S)
        before = time.perf_counter()
        # The follower may see the event before the append returns, so the start is noted under the next position.
        begun[Position(head + len(begun) + 1)] = before
        at = await log.append(stream, (draft,), at)
    await listening
    return ("append to follower, at 100/s", _spread([seen[one] - begun[one] for one in begun]), "", "")


async def follow_rounds(log: JetStreamLog, count: int) -> list[Row]:
    payloads = [encode(*draft) for _, draft in islice(history("filled"), DECODE_SAMPLE)]
    decoded, followed, folded, busy_us = [], [], [], []
    for _ in range(FOLLOW_ROUNDS):
        began = time.perf_counter()
        for payload in payloads:
            decode(payload)
        decoded.append(len(payloads) / (time.perf_counter() - began))
        followed.append(count / await followed_s(log, count, lambda batch: None))
        busy = time.process_time()
        folded.append(count / await followed_s(log, count, View(ROUTING).fold))
        busy_us.append((time.process_time() - busy) * 1e6 / count)
    limit, plain, ours = max(decoded), max(followed), max(folded)
    return [
        ("bare decode loop over bytes in memory", _best_of(decoded), "limit", ""),
        (f"follow + decode, {count:,} events", _best_of(followed), f"{plain / limit:.2f}", ""),
        (
            "follow + decode + fold of the routing table, the same events",
            f"{_best_of(folded)}; own CPU {min(busy_us):.1f} µs an event",
            f"{ours / limit:.2f}",
            f">= {FOLLOW_GOAL:,} events/s",
        ),
    ]


def _best_of(rates: list[float]) -> str:
    """The least disturbed round is nearest to what the code can do; the median shows how busy the machine was."""
    return f"{max(rates):,.0f} events/s (median of {len(rates)}: {median(rates):,.0f})"


async def followed_s(log: JetStreamLog, count: int, fold: Callable[[tuple[Recorded, ...]], None]) -> float:
    """Seconds from the first event to the last."""
    began = time.perf_counter()
    async with aclosing(cast(Any, log.follow(ORIGIN))) as batches:
        async for batch in batches:
            fold(batch)
            if batch[-1].position >= count:
                break
    return time.perf_counter() - began


def _rate_of(seconds: list[float]) -> str:
    return f"{len(seconds) / sum(seconds):,.0f}/s, {_spread(seconds)}"


def _spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return f"p50 {median(ordered) * 1e3:.2f} ms, p99 {ordered[int(len(ordered) * 0.99)] * 1e3:.2f} ms"


async def measure(count: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="causeway-bench-") as folder, server(Path(folder)) as address:
        async with connected(address) as (log, client):
            began = time.perf_counter()
            await fill(client, count)
            print(f"filled {count:,} events in {time.perf_counter() - began:.0f} s", file=sys.stderr)
            rows = await follow_rounds(log, count)
            return [*await appends(log, client), await paced_appends(log), *rows]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.log", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--events", type=int, default=300_000, help="how long the history to follow is")
    parser.add_argument("--write", action="store_true", help="put the result into ops/bench/RESULTS.md")
    options = parser.parse_args(arguments)
    rows = asyncio.run(measure(options.events))
    measured = table(("what", "measured", "of its limit", "goal"), rows)
    print(measured)
    if options.write:
        load_average = ", ".join(f"{load:.1f}" for load in os.getloadavg())
        where = (
            f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} shared cores ({platform.machine()}, load {load_average}),"
            f" Python {platform.python_version()}: `python -m ops.bench.log --events {options.events} --write`."
            " `sync_interval: always`, one server, everything on one machine; what is compared runs in turns."
        )
        write_section("The log", f"{where}\n\n{measured}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
