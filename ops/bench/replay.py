"""Looking back over a long log: follow and fold all views, and the state at any position from kept snapshots.

    python -m ops.bench.replay [--events 1000000] [--write]

A nats-server of its own, filled with a lifelike history; the snapshots are kept by the very loop that the control
process runs. Limits measured in the same run: following without a fold, and a fold from the first event.
"""

import argparse
import asyncio
import gc
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from events.base import Position, derive
from events.codec import Recorded
from events.log.jetstream import JetStreamLog
from ops.bench.log import connected, fill, followed_s, server
from ops.bench.peer import beside_eventsourcing
from ops.bench.results import table, write_section
from ops.blame import blame
from ops.cli import SELDOM
from ops.config import CHECKOUT, Settings, load
from ops.local.nats_server import NatsAddress
from ops.names import NAMES
from ops.past import HISTORY, Past, past_of
from ops.replay import LOOKED_BACK_AT, difference, position_of, snapshot_at, state_at
from ops.whence import entity_of
from ops.why import timeline, why
from projections.routing import ROUTING
from projections.stores.kept import KeptSnapshots, apart_at, keep_snapshots
from projections.stores.whereabouts import KeptWhereabouts, keep_whereabouts
from projections.view import View

SAMPLES = 9
GOAL_S = 1.0
Row = tuple[str, str, str, str]


async def folding(log: JetStreamLog, count: int) -> list[Row]:
    bare_s = await followed_s(log, count, lambda batch: None)
    rows: list[Row] = [("follow and decode", f"{count / bare_s:,.0f} events/s", "limit", "")]
    for name, projections in (("the routing table", (ROUTING,)), ("all views and names", LOOKED_BACK_AT)):
        views = [View(each) for each in projections]

        def fold(batch: tuple[Recorded, ...], views: list[View[Any]] = views) -> None:
            for view in views:
                view.fold(batch)

        spent_s = await followed_s(log, count, fold)
        rows.append((f"follow and fold {name}", f"{count / spent_s:,.0f} events/s", f"{bare_s / spent_s:.2f}", ""))
    return rows


async def keeping(log: JetStreamLog, count: int, snapshots: Path) -> tuple[Past, Row]:
    """All snapshots of a log that nobody has looked at before."""
    folder = snapshots / HISTORY
    kept, began = KeptSnapshots(folder), time.perf_counter()
    last = count // apart_at(Position(count)) * apart_at(Position(count))
    index = KeptWhereabouts(folder)
    task = asyncio.gather(keep_snapshots(log, kept, LOOKED_BACK_AT), keep_whereabouts(log, index))
    while not (kept.positions(NAMES) and kept.positions(NAMES)[-1] >= last):  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    while len(await index.of(log)) < count // index.size:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    spent_s = time.perf_counter() - began
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    states_mb, indexes_mb = (
        sum(each.stat().st_size for each in folder.glob(pattern)) / 1e6 for pattern in ("*/*.snapshot", "*/*.index")
    )
    said = f"{count / spent_s:,.0f} events/s; {len(kept.positions(ROUTING))} of each, {states_mb:,.0f} MB in all"
    return past_of(log, snapshots), (
        "keep snapshots and the index all along",
        f"{said}; the index {indexes_mb:,.0f} MB",
        "",
        "",
    )


async def drawn(past: Past, count: int) -> tuple[list[Position], list[str]]:
    """Positions from the second half of the log, and names of deployments that were there by then."""
    rng = random.Random(1)
    positions = [Position(rng.randrange(count // 2, count)) for _ in range(SAMPLES)]
    return positions, rng.sample(sorted((await state_at(past, NAMES, Position(count // 2))).deployments), SAMPLES)


async def looking_back(log: JetStreamLog, past: Past, count: int) -> list[Row]:
    positions, deployments = await drawn(past, count)
    names = await state_at(past, NAMES)
    replicas = [f"{derive(names.deployments[each], 1)}" for each in deployments]
    times = [(await past.read(Position(each - 1), each))[0].meta.at for each in positions]
    began = time.perf_counter()
    await snapshot_at(log, "routing", positions[-1])
    zero_s = time.perf_counter() - began
    asked: list[tuple[str, Callable[[int], Awaitable[object]]]] = [
        ("state of the routing table", lambda n: snapshot_at(past, "routing", positions[n])),
        ("state of one deployment, by its name", lambda n: _by_name(past, deployments[n], positions[n])),
        ("state of everything", lambda n: snapshot_at(past, None, positions[n])),
        ("diff of the environments, 100 events", lambda n: _diff(past, positions[n])),
        ("a time's position", lambda n: position_of(past, times[n])),
        ("blame of a deployment's target", lambda n: blame(past, f"deployment:{deployments[n]}.target")),
        ("why a replica is there, and its life", lambda n: why(past, replicas[n])),
        ("why a deployment is as it is", lambda n: why(past, deployments[n])),
        ("timeline of a deployment", lambda n: timeline(past, deployments[n])),
    ]
    rows = [("state of the routing table, folded from zero", f"{zero_s:.2f} s", "limit", "")]
    for what, ask in asked:
        spent = []
        for number in range(SAMPLES):
            began = time.perf_counter()
            answer = await ask(number)
            spent.append(time.perf_counter() - began)
            del answer  # whoever asked reads it first
        middle = median(spent)
        goal = f"< {GOAL_S:g} s" if what.startswith("state") else ""
        rows.append((what, f"p50 {middle:.3f} s, slowest {max(spent):.3f} s", f"{middle / zero_s:.3f}", goal))
    return rows


async def _by_name(past: Past, name: str, position: Position) -> object:
    return await snapshot_at(past, await entity_of(past, name), position)


def commands(address: NatsAddress, state: Path, positions: list[Position], deployments: list[str]) -> list[Row]:
    """What a person waits for in all: Python, imports, the checks of the log, the answer, the printing."""
    settings = load({}).but(state=state, nats_url=address.url, nats_monitor_url=address.monitor_url)
    return [
        _command("start of the command line (`causeway --help`)", settings, [["--help"]] * SAMPLES),
        _command(
            "the command `causeway state DEPLOYMENT --at POSITION`, from its start to its end",
            settings,
            [["state", name, "--at", str(at)] for name, at in zip(deployments, positions, strict=True)],
        ),
    ]


def _command(what: str, settings: Settings, asked: list[list[str]]) -> Row:
    env = {"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin"} | settings.environ()
    spent = []
    for words in asked:
        began = time.perf_counter()
        subprocess.run((sys.executable, "-m", "ops.cli", *words), env=env, check=True, capture_output=True)
        spent.append(time.perf_counter() - began)
    return what, f"p50 {median(spent):.3f} s, slowest {max(spent):.3f} s", "", ""


async def _diff(past: Past, position: Position) -> object:
    return await difference(past, "environments", Position(position - 100), position)


async def measure(count: int) -> tuple[list[Row], str]:
    with tempfile.TemporaryDirectory(prefix="causeway-bench-") as folder, server(Path(folder)) as address:
        Path(folder).chmod(0o711)  # PostgreSQL may run as a user of its own
        async with connected(address) as (log, client):
            began = time.perf_counter()
            await fill(client, count)
            print(f"filled {count:,} events in {time.perf_counter() - began:.0f} s", file=sys.stderr)
            rows = await folding(log, count)
            past, row = await keeping(log, count, Path(folder) / "snapshots")
            print(f"{row[0]}: {row[1]}", file=sys.stderr)
            rows += [row, *await looking_back(log, past, count)]
            rows += commands(address, Path(folder), *await drawn(past, count))
            rows += await beside_eventsourcing(log, past, Path(folder))
            table = await state_at(past, ROUTING)
            live = sum(len(each.replicas) for each in table.deployments.values())
            size = len(msgspec.msgpack.encode(table)) / 1e6
            return (
                rows,
                f"{len(table.deployments):,} deployments, {live:,} live replicas, a routing table of {size:.0f} MB",
            )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.replay", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="how long the history is; at least 20,000")
    parser.add_argument("--write", action="store_true", help="put the result into ops/bench/RESULTS.md")
    options = parser.parse_args(arguments)
    gc.set_threshold(SELDOM)
    rows, size = asyncio.run(measure(options.events))
    measured = table(("what", "measured", "of its limit", "goal"), rows)
    print(measured)
    if options.write:
        load_average = ", ".join(f"{load:.1f}" for load in os.getloadavg())
        where = (
            f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} shared cores ({platform.machine()}, load {load_average}),"
            f" Python {platform.python_version()}: `python -m ops.bench.replay --events {options.events} --write`."
            f" At the end there are {size}. Positions are drawn from the second half, where states are largest;"
            f" {SAMPLES} of each."
        )
        write_section("Looking back", f"{where}\n\n{measured}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
