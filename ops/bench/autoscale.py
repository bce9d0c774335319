"""The autoscaler's loop: what one tick costs a deployment, and how that grows with the number of deployments.

    python -m ops.bench.autoscale [--write]

The real reactor hears a second's reports of every busy deployment (from two gateway workers each) and looks at what is
due, with nothing between; processor time is measured. Its limit, in the same run: handing the same signals to a
function that does nothing.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import median

from events.base import (
    ORIGIN,
    Actor,
    BlobDigest,
    BuildId,
    CommandId,
    CorrelationId,
    DeploymentId,
    EventId,
    Metadata,
    Position,
    ReplicaId,
    StreamName,
)
from events.build import BuildSucceeded
from events.codec import Recorded
from events.replica import ReplicaReady
from events.scaling import AutoscalingSettings, Grounds, ReplicaTargetRaised, ScalingConfigured
from events.signals import Load, Signal
from events.union import AnyEvent
from handlers.reactors.autoscale import AUTOSCALE
from handlers.reactors.autoscale_state import AutoscaleState
from ops.bench.results import table, write_section

TICK_S = 1.0
WORKERS = ("gateway-1", "gateway-2")
SIZES = ((1_000, 50), (10_000, 500), (100_000, 5_000))
"""Deployments, and how many of them are busy."""
TICKS, WARM_UP = 40, 10
AT = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = AutoscalingSettings(max_replica=50, concurrency_target=4)
_DIGEST = BlobDigest("sha256:" + "0" * 64)


def life_of(deployment_id: DeploymentId, number: int) -> Iterator[AnyEvent]:
    """Of a deployment that serves with two replicas, or rests."""
    yield BuildSucceeded(
        build_id=BuildId("b"),
        deployment_id=deployment_id,
        bundle=_DIGEST,
        environment=_DIGEST,
        python_version="3.11",
        truss_hash="",
        truss_signature=_DIGEST,
        seconds=1.0,
    )
    yield ScalingConfigured(deployment_id=deployment_id, settings=SETTINGS, source="settings")
    grounds = Grounds(settings=SETTINGS)
    yield ReplicaTargetRaised(deployment_id=deployment_id, previous=0, target=2, rule="activation", grounds=grounds)
    yield ReplicaReady(replica_id=ReplicaId(f"r{number}"), deployment_id=deployment_id, address="", seconds=1.0)


def state_of(deployments: int) -> AutoscaleState:
    state = AUTOSCALE.initial(AT - timedelta(days=1))
    meta = Metadata(
        id=EventId(""),
        command_id=CommandId(""),
        correlation_id=CorrelationId(""),
        causation_id=None,
        actor=Actor("bench", "internal"),
        at=AT,
    )
    position = ORIGIN
    for number in range(deployments):
        deployment_id = DeploymentId(f"d{number}")
        for event in life_of(deployment_id, number):
            position = Position(position + 1)
            recorded = Recorded(position, StreamName("scaling", deployment_id), event, meta)
            state = AUTOSCALE.evolve(state, recorded)
    return state


def reports(busy: int, tick: int, dice: Random) -> list[Load]:
    return [
        Load(
            worker=worker,
            number=tick + 1,
            deployment_id=DeploymentId(f"d{number}"),
            in_flight=dice.randint(1, 4),
            parked=0,
            mean=dice.uniform(1.0, 3.0),
            peak=4,
            span_s=TICK_S,
            at=AT,
        )
        for number in range(busy)
        for worker in WORKERS
    ]


def nothing(state: AutoscaleState, signal: Signal, now: datetime) -> AutoscaleState:
    return state


def measure(deployments: int, busy: int) -> tuple[float, float, float, int]:
    """Median seconds a tick, the slowest, the bare hand-over's median, and the decisions that were called for."""
    state, dice = state_of(deployments), Random(1)
    assert AUTOSCALE.ripe is not None, "the autoscaler looks by itself"
    AUTOSCALE.ripe(state, AT)
    ticks, bare, decisions = [], [], 0
    for tick in range(TICKS + WARM_UP):
        now = AT + timedelta(seconds=tick * TICK_S)
        told = reports(busy, tick, dice)
        began = time.process_time()
        for load in told:
            nothing(state, load, now)
        heard = time.process_time()
        for load in told:
            state = AUTOSCALE.hear(state, load, now)
        dues, _ = AUTOSCALE.ripe(state, now)
        ended = time.process_time()
        decisions += len(dues)
        if tick >= WARM_UP:
            bare.append(heard - began)
            ticks.append(ended - heard)
    return median(ticks), max(ticks), median(bare), decisions


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.autoscale", description=__doc__)
    parser.add_argument("--write", action="store_true", help="into RESULTS.md")
    asked = parser.parse_args(argv)
    rows, first = [], 0.0
    for deployments, busy in SIZES:
        typical, slowest, bare, _ = measure(deployments, busy)
        each = typical / busy
        first = first or each
        rows.append(
            (
                f"{deployments:,}",
                f"{busy:,}",
                f"{typical * 1e3:.1f} ms",
                f"{slowest * 1e3:.1f} ms",
                f"{each * 1e6:.1f} µs",
                f"{each / first:.2f}",
                f"{typical / deployments * 1e6:.2f} µs",
                f"{typical / bare:.0f}",
                f"{typical / TICK_S:.1%}",
            )
        )
        print(f"{deployments:,} deployments, {busy:,} busy: {typical * 1e3:.1f} ms a tick", file=sys.stderr)
    head = (
        "deployments", "busy", "tick, median", "slowest", "a busy one", "growth", "any one", "of the bare hand-over",
        "of the 1 s tick",
    )  # fmt: skip
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    body = (
        f"`make bench-autoscale`, {where}. Two gateway workers report each busy one every second.\n"
        f"Processor time over {TICKS} ticks; growth is the cost of a busy one against the first row.\n\n"
        + table(head, rows)
    )
    print(body)
    if asked.write:
        write_section("Autoscaler", body)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
