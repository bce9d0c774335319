"""The audit trail: a rebuild of all its rows beside its limit. Its pages: `ops.bench.audit_pages`.

    python -m ops.bench.audit [--events 1000000] [--write]

Starts a nats-server and a PostgreSQL of its own in a temporary folder, configured as the local stack configures them.
The limit is the same writing and indexing of events that lie ready in memory. What is compared runs in turns. Takes
about four minutes for a million events.
"""

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import msgspec

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.log import Log
from ops.bench.history import history
from ops.bench.log import connected, fill, server
from ops.bench.results import table, write_section
from ops.config import load
from ops.local.child import start
from ops.local.postgres import PostgresPlace, prepare
from projections.stores.audit_rebuild import rebuild
from projections.stores.postgres import PostgresAuditStore

WRITTEN, PIECE = 200_000, 2000
"""Rows that the limit is measured with, in pieces as a reader gives them."""
ROUNDS = 3
REBUILD_GOAL = 50_000

Row = tuple[str, str, str, str]


@asynccontextmanager
async def server_of_its_own(folder: Path) -> AsyncIterator[PostgresPlace]:
    """PostgreSQL as the local stack would start it."""
    settings = load({"CAUSEWAY_STATE": str(folder), "PATH": os.defpath})
    server = prepare(settings)
    started = start(server.child)
    draining = await asyncio.create_subprocess_exec("cat", stdin=started.output, stdout=subprocess.DEVNULL)
    try:
        assert server.child.ready is not None, "PostgreSQL is probed"
        while not await server.child.ready():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        yield server.place
    finally:
        started.popen.send_signal(server.child.stop_signal)
        await asyncio.to_thread(started.popen.wait)
        await draining.wait()


@asynccontextmanager
async def postgres(folder: Path) -> AsyncIterator[PostgresAuditStore]:
    async with server_of_its_own(folder) as place:
        store = PostgresAuditStore(place.url)
        try:
            yield store
        finally:
            await store.close()


async def _in_pieces(events: list[Recorded]) -> AsyncIterator[list[Recorded]]:
    for at in range(0, len(events), PIECE):
        yield events[at : at + PIECE]


async def written(store: PostgresAuditStore, events: list[Recorded]) -> float:
    """Rows a second from events in memory, as a rebuild writes and indexes them."""
    began = time.perf_counter()
    await store.fill_rebuilt(_in_pieces(events))
    rate = len(events) / (time.perf_counter() - began)
    await store.drop_rebuilt()
    return rate


class Timed(msgspec.Struct, frozen=True):
    loaded_s: float
    """Until the log was read and the rows were copied."""
    indexed_s: float
    compared_s: float
    """And switched."""
    cpu_s: float


async def timed(log: Log, store: PostgresAuditStore, count: int) -> Timed:
    steps: dict[str, float] = {}
    began, busy = time.perf_counter(), time.process_time()
    done = await rebuild(log, store, switch=True, tell=lambda step, rows: steps.update({step: time.perf_counter()}))
    ended, cpu_s = time.perf_counter(), time.process_time() - busy
    assert (done.rows, done.compared.differences, done.switched) == (count, 0, True), "every event is a row"
    return Timed(steps["indexes"] - began, steps["compare"] - began, ended - steps["compare"], cpu_s)


async def rebuilds(log: Log, store: PostgresAuditStore, count: int) -> list[Row]:
    """The first one fills an empty store; the others are compared with what is live."""
    ready = [
        Recorded(Position(number), stream, *draft)
        for number, (stream, draft) in enumerate(islice(history("filled"), min(count, WRITTEN)), 1)
    ]
    limits, done = list[float](), list[Timed]()
    for _ in range(ROUNDS):
        limits.append(await written(store, ready))
        done.append(await timed(log, store, count))
    assert await store.position() == count
    limit, rates = max(limits), [count / each.indexed_s for each in done]
    best = min(done, key=lambda each: each.indexed_s)
    each_of = ", ".join(f"{rate:,.0f}" for rate in limits)
    return [
        ("rows from events in memory, with indexes", f"{limit:,.0f} rows/s (of {each_of})", "limit", ""),
        (
            "rebuild: the log read, rows made, copied",
            f"{count / best.loaded_s:,.0f} rows/s; own CPU {best.cpu_s * 1e6 / count:.1f} µs a row",
            "",
            "",
        ),
        (
            "rebuild with its indexes",
            f"{max(rates):,.0f} rows/s (of {', '.join(f'{rate:,.0f}' for rate in rates)})",
            f"{max(rates) / limit:.2f}",
            f">= {REBUILD_GOAL:,}",
        ),
        (
            f"comparing with {count:,} live rows, and the switch",
            f"{min(each.compared_s for each in done[1:]):.1f} s",
            "",
            "",
        ),
    ]


async def measure(count: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="causeway-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL may run as a user of its own
        with server(folder) as address:
            async with connected(address) as (log, client), postgres(folder / "state") as store:
                began = time.perf_counter()
                await fill(client, count)
                print(f"filled {count:,} events in {time.perf_counter() - began:.0f} s", file=sys.stderr)
                assert await store.position() == ORIGIN
                return await rebuilds(log, store, count)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.audit", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="how many rows")
    parser.add_argument("--write", action="store_true", help="put the result into ops/bench/RESULTS.md")
    options = parser.parse_args(arguments)
    measured = table(("what", "measured", "of its limit", "goal"), asyncio.run(measure(options.events)))
    print(measured)
    if options.write:
        load_average = ", ".join(f"{load:.1f}" for load in os.getloadavg())
        where = (
            f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} shared cores ({platform.machine()}, load {load_average}),"
            f" Python {platform.python_version()}: `python -m ops.bench.audit --events {options.events} --write`."
            " nats-server, PostgreSQL and the rebuild share the machine."
        )
        write_section("The audit trail", f"{where}\n\n{measured}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
