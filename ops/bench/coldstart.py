"""A cold start: from the first parked request to its answer, beside the bare start of the very same model server.

    python -m ops.bench.coldstart [--starts 15] [--write]

Starts a stack of its own and pushes `examples/counter`. In turns, the server is started bare (its command line and
environment, sandbox included) and asked every 2 ms until it is ready and has answered one request; and a request finds
the deployment at zero, while somebody else asks the new replica every 2 ms since when it is really ready. Our share is
the time to the answer without the server's own: from its process to its readiness, and one request.
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
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
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
ASK_EVERY_S = 0.002
EVENTS = (ReplicaTargetRaised, ReplicaAssigned, ReplicaEnvironmentReady, ReplicaProcessStarted, ReplicaReady)
STEPS = (
    "request to decision",
    "decision to assignment",
    "environment ready",
    "process started",
    "ready",
    "routed",
    "answer",
)


def bare(settings: Settings, replica: str) -> tuple[float, float]:
    """Seconds until another of the same server is ready, on another port, on its own; and of its first answer."""
    folder = settings.folder("replicas") / replica
    server = psutil.Process(int((folder / "process").read_text().split()[1]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = server.environ()
    taken = env["INFERENCE_SERVER_PORT"]
    command = [str(port) if word == taken else word for word in server.cmdline()]
    began = time.perf_counter()
    child = subprocess.Popen(
        command,
        env=env | {"INFERENCE_SERVER_PORT": str(port)},
        cwd=folder / "bundle" / "app",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not ready(f"127.0.0.1:{port}"):
            if child.poll() is not None:
                raise RuntimeError(f"the bare server ended with {child.returncode}")
            time.sleep(ASK_EVERY_S)
        is_ready = time.perf_counter()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/models/model:predict", data=b'{"by": 1}')
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
        return is_ready - began, time.perf_counter() - is_ready
    finally:
        # The sandbox does not take its content along when it is killed.
        for each in psutil.Process(child.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        child.kill()
        child.wait()


def ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/v1/models/model", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class Watch(threading.Thread):
    """Sees the next replica of this machine begin, and since when it is ready."""

    def __init__(self, replicas: Path) -> None:
        super().__init__(daemon=True)
        self._replicas = replicas
        self._known = set(replicas.iterdir())
        self.began_at = self.ready_at = 0.0

    def run(self) -> None:
        record: dict[str, Any] = {}
        while not record:
            time.sleep(ASK_EVERY_S)
            for folder in set(self._replicas.iterdir()) - self._known:
                if (folder / "record.json").exists():
                    record = json.loads((folder / "record.json").read_text())
        while not ready(record["address"]):
            time.sleep(ASK_EVERY_S)
        self.ready_at = time.time()
        self.began_at = datetime.fromisoformat(record["started_at"]).timestamp()


def steps_of(recorded: Sequence[Recorded], asked_at: float, parked_until: float, answered_at: float) -> list[float]:
    """Milliseconds of each step, by the times of the events."""
    times = [asked_at]
    for kind in EVENTS:
        times.append(next(each.meta.at.timestamp() for each in recorded if isinstance(each.event, kind)))
    times += [parked_until, answered_at]
    return [(b - a) * 1e3 for a, b in pairwise(times)]


class Round(msgspec.Struct, frozen=True):
    """All in milliseconds."""

    bare: float
    predict: float
    """One request to the bare server."""
    steps: list[float]
    own: float
    """The server's, in the cold start: from its process to its readiness."""
    asked_ms: float
    ready_ms: float
    """When, since the epoch."""


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

    def measure(self, starts: int) -> list[Round]:
        pushed = self.hands.push(CHECKOUT / "examples" / "counter")
        model, deployment_id = pushed["model_id"], DeploymentId(pushed["model_version_id"])
        resource = f"/v1/models/{model}/deployments/{deployment_id}"
        path = f"/v1/models/{model}/deployments/production/autoscaling_settings"
        rounds = []
        for _ in range(starts):
            last = self.events(deployment_id, 0)
            replica = [each.event for each in last if isinstance(each.event, ReplicaReady)][-1]
            bare_s, predict_s = bare(self.settings, replica.replica_id)
            self.hands.call("PATCH", path, {"scale_down_delay": 1})
            self.hands.wait_for("zero", lambda: self._status(resource) == "SCALED_TO_ZERO")
            self.hands.call("PATCH", path, {"scale_down_delay": 900})
            time.sleep(1.0)
            after = self.events(deployment_id, 0)[-1].position
            watch = Watch(self.settings.folder("replicas"))
            watch.start()
            asked_at = time.time()
            _, headers = self.hands.post(f"/model-{model}/production/predict", {"by": 1}, shown=False)
            answered_at = time.time()
            parked_until = asked_at + float(headers["x-causeway-parked-ms"]) / 1e3
            watch.join()
            steps = steps_of(self.events(deployment_id, after), asked_at, parked_until, answered_at)
            own_ms = (watch.ready_at - watch.began_at) * 1e3
            rounds.append(Round(bare_s * 1e3, predict_s * 1e3, steps, own_ms, asked_at * 1e3, watch.ready_at * 1e3))
        return rounds

    def _status(self, resource: str) -> str:
        answer: dict[str, Any] = self.hands.call("GET", resource)[0]
        return str(answer["status"])


def report(rounds: list[Round]) -> str:
    predict = median(each.predict for each in rounds)
    columns = [*zip(*(each.steps for each in rounds), strict=True)]
    whole = [sum(each.steps) for each in rounds]
    own = [each.own + predict for each in rounds]
    share = [sum(each.steps) - each.own - predict for each in rounds]
    bare_ms = [each.bare + each.predict for each in rounds]
    named = [
        *zip(STEPS, columns, strict=True),
        ("**request to answer**", whole),
        ("of it the server's own start and one request", own),
        ("readiness seen late by", [sum(each.steps[:5]) + each.asked_ms - each.ready_ms for each in rounds]),
        (f"**our share** (goal: p50 under {GOAL_MS:g} ms)", share),
        ("bare start of the same server and one request", bare_ms),
        ("of it the request", [each.predict for each in rounds]),
    ]
    lines = [(name, f"{median(column):.1f} ms", f"{high(column):.1f} ms") for name, column in named]
    lines.append(("ratio of the whole to the server's own", f"{median(whole) / median(own):.3f}", ""))
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    what = f"{len(rounds)} cold starts of `examples/counter` in turns with bare ones"
    busy = f"load average at the end: {os.getloadavg()[0]:.1f}"
    head = f"`python -m ops.bench.coldstart`, {where}, {what}; {busy}.\n\n"
    return head + table(("step", "p50", "p95"), lines)


def high(column: Sequence[float]) -> float:
    return sorted(column)[int(0.95 * (len(column) - 1) + 0.5)]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.coldstart", description=__doc__)
    parser.add_argument("--starts", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="into RESULTS.md")
    asked = parser.parse_args(argv)
    state = Path(tempfile.mkdtemp(prefix="causeway-coldstart-"))
    here = config.load()
    own = dict(here.inherited_env) | {"CAUSEWAY_STATE": str(state), "CAUSEWAY_PORT": "0"}
    settings = config.load(own).but(cache=here.cache)
    running = attach.start_detached(settings)
    try:
        attached = attach.attached(settings)
        hands = Hands(settings, console(sys.stderr))
        hands.url, hands.key = running.url, _key(attached)
        rounds = Stand(attached, hands).measure(asked.starts)
    finally:
        attach.down(settings)
        shutil.rmtree(state, ignore_errors=True)
    body = report(rounds)
    print(body)
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
