"""How long pages of the audit trail take: each filter alone, filters together, and what is far from the end.

    python -m ops.bench.audit_pages [--rows 10000000] [--folder DIR] [--write]

Fills a PostgreSQL of its own with rows from events in memory, by the COPY of a rebuild and without a broker: ten
million of them take 9 GB below the folder for a while, and about ten minutes of two busy cores.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from events.base import Position
from ops.bench.audit import postgres
from ops.bench.audit_history import ALICE, LEFT, RETURNED, SPARSE, USUAL, fill_rows
from ops.bench.history import BEGAN
from ops.bench.results import table, write_section
from projections.audit import AuditQuery, AuditRow
from projections.stores.audit import AuditStore

TIMES = 15
GOAL_S = 0.020

Row = tuple[str, str, str, str]


def queries(count: int, some: AuditRow) -> dict[str, AuditQuery]:
    """`some`: a push from the middle."""
    middle = BEGAN + timedelta(milliseconds=137 * (count // 2))
    early = BEGAN + timedelta(milliseconds=137 * (count // 10))
    pushed, assigned, ready, rare = ("DeploymentPushed",), ("ReplicaAssigned",), ("ReplicaReady",), ("PromotionFailed",)
    return {
        "newest, no filter": AuditQuery(newest=True),
        "the page before a position, in the middle": AuditQuery(until_position=Position(count // 2), newest=True),
        "one deployment": AuditQuery(entity=some.entities[1], newest=True),
        "one node (in every sixth row)": AuditQuery(entity=USUAL, newest=True),
        "one node, from the middle on": AuditQuery(entity=USUAL, after=Position(count // 2)),
        "a node that left long ago": AuditQuery(entity=LEFT, newest=True),
        "a node that came back after long": AuditQuery(entity=RETURNED, newest=True),
        "a node in one of 1,000 rows": AuditQuery(entity=SPARSE, newest=True),
        "an entity that nobody is": AuditQuery(entity="node-none", newest=True),
        "one type": AuditQuery(types=("PromotionCompleted",), newest=True),
        "types by pattern": AuditQuery(types=("Replica*",), newest=True),
        "a person of long ago": AuditQuery(actor=ALICE.name, newest=True),
        "people": AuditQuery(actor="key:*"),
        "an actor that nobody is": AuditQuery(actor="token:*", newest=True),
        "a minute in the middle": AuditQuery(since=middle, until=middle + timedelta(minutes=1)),
        "one request's consequences": AuditQuery(correlation=some.correlation_id),
        "one type, newest before the middle": AuditQuery(types=pushed, until=middle, newest=True),
        "one deployment's replicas": AuditQuery(entity=some.entities[1], types=("Replica*",), newest=True),
        "one type, of which there is one row": AuditQuery(types=rare, newest=True),
        "one reactor's rows of that type": AuditQuery(actor="reactor:*", types=rare, newest=True),
        "one node's rows of that type": AuditQuery(entity=USUAL, types=rare, newest=True),
        "a person's pushes of one model": AuditQuery(actor=ALICE.name, types=pushed, entity=some.entity, newest=True),
        "a node that left, by type and time": AuditQuery(entity=LEFT, types=assigned, until=early, newest=True),
        "a reactor's rows of a type that only people cause": AuditQuery(
            actor="reactor:*", types=pushed, newest=True
        ),
        "a person of long ago and a frequent type, never together": AuditQuery(
            actor=ALICE.name, types=ready, newest=True
        ),
        "a node that left and a frequent type, never together": AuditQuery(entity=LEFT, types=ready, newest=True),
    }  # fmt: skip


async def pages(store: AuditStore, count: int) -> list[Row]:
    (some,) = await store.page(AuditQuery(after=Position(count // 2), limit=1, types=("DeploymentPushed",)))
    measured: list[Row] = []
    for name, query in queries(count, some).items():
        spent, found = [], tuple[AuditRow, ...]()
        for _ in range(TIMES):
            began = time.perf_counter()
            found = await store.page(query)
            spent.append(time.perf_counter() - began)
        text = f"{median(spent) * 1e3:.1f} ms, slowest of {TIMES} {max(spent) * 1e3:.1f} ms, {len(found)} rows"
        measured.append((f"page: {name}", text, "", f"< {GOAL_S * 1e3:.0f} ms"))
    return measured


async def measure(count: int, parent: Path | None) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="causeway-bench-", dir=parent) as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL may run as a user of its own
        async with postgres(folder / "state") as store:
            began = time.perf_counter()
            await fill_rows(store, count)
            spent_s = time.perf_counter() - began
            print(f"{count:,} rows in {spent_s:.0f} s", file=sys.stderr)
            used = sum(each.stat().st_size for each in (folder / "state" / "postgres").rglob("*") if each.is_file())
            filled = (f"{count:,} rows, from events made in memory", f"{spent_s:.0f} s, {used / 1e9:.1f} GB", "", "")
            return [filled, *await pages(store, count)]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m ops.bench.audit_pages", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--rows", type=int, default=10_000_000, help="how many")
    parser.add_argument("--folder", type=Path, help="where the database is for the while; default: the system's")
    parser.add_argument("--write", action="store_true", help="put the result into ops/bench/RESULTS.md")
    options = parser.parse_args(arguments)
    measured = table(("what", "measured", "of its limit", "goal"), asyncio.run(measure(options.rows, options.folder)))
    print(measured)
    if options.write:
        load_average = ", ".join(f"{load:.1f}" for load in os.getloadavg())
        where = (
            f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} shared cores ({platform.machine()}, load {load_average}),"
            f" Python {platform.python_version()}: `python -m ops.bench.audit_pages --rows {options.rows} --write`."
        )
        write_section("Pages of the audit trail", f"{where}\n\n{measured}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
