"""A cold start: from the first parked request to its answer, beside the bare start of the very same model server.

    python -m ops.bench.coldstart [--starts 15] [--write]

Starts a stack of its own, pushes `examples/counter`, and in turns starts the server bare (its command line and
environment, no sandbox, asked every 2 ms until it is ready) and lets a request find the deployment at zero. Our share
is what the answer took beyond the bare start's median of the same run.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from events.base import DeploymentId
from events.codec import Recorded
from events.replica import ReplicaAssigned, ReplicaEnvironmentReady, ReplicaProcessStarted, ReplicaReady
from events.scaling import ReplicaTargetRaised
from ops import config, operator_key, wiring
from ops.bench.results import table, write_section
from ops.config import CHECKOUT, Settings
from ops.demo.hands import Hands
from ops.local import attach
from ops.render import console

GOAL_MS = 50.0
EVENTS = (ReplicaTargetRaised, ReplicaAssigned, ReplicaEnvironmentReady, ReplicaProcessStarted, ReplicaReady)
STEPS = ("request to decision", "decision to assignment", "environment ready", "process started", "ready", "answer")


def bare(server: psutil.Process) -> float:
    """Seconds until another of the same server is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = server.environ() | {"INFERENCE_SERVER_PORT": str(port)}
    home = tempfile.mkdtemp(prefix="bare-")
    # Its own folders belong to the replica that runs.
    env |= {name: home for name in ("HOME", "TMPDIR") if name in env}
    began = time.perf_counter()
    child = subprocess.Popen(
        server.cmdline(), env=env, cwd=server.cwd(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not ready(port):
            if child.poll() is not None:
                raise RuntimeError(f"the bare server ended with {child.returncode}")
            time.sleep(0.002)
        return time.perf_counter() - began
    finally:
        child.kill()
        child.wait()
        shutil.rmtree(home, ignore_errors=True)


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/model", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def server_of(settings: Settings, replica: str) -> psutil.Process:
    """The innermost process: what the sandbox was put around."""
    words = (settings.folder("replicas") / replica / "process").read_text().split()
    keeper = psutil.Process(int(words[0]))
    with_port = [each for each in keeper.children(recursive=True) if "INFERENCE_SERVER_PORT" in _environ(each)]
    return [each for each in with_port if "python" in Path(each.cmdline()[0]).name][-1]


def _environ(process: psutil.Process) -> dict[str, str]:
    try:
        return dict(process.environ())
    except psutil.Error:
        return {}


def steps_of(recorded: Sequence[Recorded], asked_at: float, answered_at: float) -> list[float]:
    """Milliseconds of each step, by the times of the events."""
    times = [asked_at]
    for kind in EVENTS:
        times.append(next(each.meta.at.timestamp() for each in recorded if isinstance(each.event, kind)))
    times.append(answered_at)
    return [(b - a) * 1e3 for a, b in pairwise(times)]


class Stand:
    def __init__(self, settings: Settings, hands: Hands) -> None:
        self.settings, self.hands = settings, hands

    def events(self, deployment_id: DeploymentId, after: int) -> list[Recorded]:
        async def read() -> Sequence[Recorded]:
            async with wiring.open_log(self.settings) as log:
                return await log.read()

        recorded = asyncio.run(read())
        mine = [each for each in recorded if getattr(each.event, "deployment_id", "") == deployment_id]
        return [each for each in mine if each.position > after]

    def measure(self, starts: int) -> tuple[list[float], list[list[float]]]:
        pushed = self.hands.push(CHECKOUT / "examples" / "counter")
        model, deployment_id = pushed["model_id"], DeploymentId(pushed["model_version_id"])
        resource = f"/v1/models/{model}/deployments/{deployment_id}"
        path = f"/v1/models/{model}/deployments/production/autoscaling_settings"
        bares, rows = [], []
        for _ in range(starts):
            last = self.events(deployment_id, 0)
            replica = [each.event for each in last if isinstance(each.event, ReplicaReady)][-1]
            bares.append(bare(server_of(self.settings, replica.replica_id)))
            self.hands.call("PATCH", path, {"scale_down_delay": 1})
            self.hands.wait_for("zero", lambda: self._status(resource) == "SCALED_TO_ZERO")
            self.hands.call("PATCH", path, {"scale_down_delay": 900})
            time.sleep(1.0)
            after = self.events(deployment_id, 0)[-1].position
            asked_at = time.time()
            self.hands.post(f"/model-{model}/production/predict", {"by": 1}, shown=False)
            answered_at = time.time()
            rows.append(steps_of(self.events(deployment_id, after), asked_at, answered_at))
        return bares, rows

    def _status(self, resource: str) -> str:
        answer: dict[str, Any] = self.hands.call("GET", resource)[0]
        return str(answer["status"])


def report(bares: list[float], rows: list[list[float]]) -> str:
    bare_ms = median(bares) * 1e3
    totals = sorted(sum(row) for row in rows)
    whole, worst = median(totals), totals[int(0.95 * (len(totals) - 1))]
    share = whole - bare_ms
    columns = [sorted(column) for column in zip(*rows, strict=True)]
    lines = [
        (name, f"{median(column):.1f} ms", f"{column[int(0.95 * (len(column) - 1))]:.1f} ms")
        for name, column in zip(STEPS, columns, strict=True)
    ]
    lines += [
        ("**request to answer**", f"{whole:.1f} ms", f"{worst:.1f} ms"),
        ("bare start of the same server", f"{bare_ms:.1f} ms", f"{max(bares) * 1e3:.1f} ms (slowest)"),
        ("**our share**", f"{share:.1f} ms (goal: under {GOAL_MS:g} ms)", ""),
        ("ratio to the bare start", f"{whole / bare_ms:.3f}", ""),
    ]
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    what = f"{len(rows)} cold starts of `examples/counter` in turns with bare ones"
    head = f"`python -m ops.bench.coldstart`, {where}, {what}.\n\n"
    return head + table(("step", "p50", "p95"), lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.coldstart", description=__doc__)
    parser.add_argument("--starts", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="into RESULTS.md")
    asked = parser.parse_args(argv)
    state = Path(tempfile.mkdtemp(prefix="causeway-coldstart-"))
    own = {name: value for name, value in os.environ.items() if not name.startswith("CAUSEWAY_")}
    settings = config.load(own | {"CAUSEWAY_STATE": str(state), "CAUSEWAY_PORT": "0"}).but(cache=config.load().cache)
    running = attach.start_detached(settings)
    try:
        attached = attach.attached(settings)
        hands = Hands(settings, console(sys.stderr))
        hands.url, hands.key = running.url, _key(attached)
        bares, rows = Stand(attached, hands).measure(asked.starts)
    finally:
        attach.down(settings)
        shutil.rmtree(state, ignore_errors=True)
    body = report(bares, rows)
    print(body)
    print(json.dumps({"bare_s": bares, "steps_ms": rows}), file=sys.stderr)
    if asked.write:
        write_section("Cold start", body)
    return 0


def _key(settings: Settings) -> str:
    async def ensured() -> str:
        async with wiring.open_log(settings) as log:
            key, _ = await operator_key.ensured(log, settings.folder("run"))
            return key

    return asyncio.run(ensured())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
