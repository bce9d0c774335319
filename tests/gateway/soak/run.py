"""A real gateway process under a mix of callers for a long time: `python -m tests.gateway.soak.run --requests 1000000`.

After the first tenth its resident memory must not grow by 2 %. When all callers have left and the replicas are gone,
its descriptors and tasks must be as many as at the start.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil
import uvloop

from events.log.jetstream import JetStreamLog
from ops.config import Settings
from tests.gateway.chaos import gateways
from tests.gateway.chaos.run import scrape
from tests.gateway.chaos.story import Story
from tests.gateway.dataplane.happened import ONE, TWO
from tests.gateway.soak.callers import Soaked, soak
from tests.nats import NatsServer

GROWTH_MAX = 0.02
SETTLED_S = 60.0
ASLEEP = "two-a"


async def run(folder: Path, requests: int) -> list[str]:
    """What is wrong."""
    with NatsServer(folder / "broker") as server:
        log = await JetStreamLog.connect(server.url, create=True, monitor_url=server.monitor_url)
        story = Story(log)
        try:
            await story.begin()
            await story.start("one-a", ONE)
            await story.start(ASLEEP, TWO)
            await story.unready(ASLEEP)
            with gateways.running(folder / "state", server, workers=1) as settings:
                return await _soak(story, settings, requests)
        finally:
            await story.end()
            await log.close()


async def _soak(story: Story, settings: Settings, requests: int) -> list[str]:
    process = psutil.Process(gateways.pids(settings)["gateway"])
    soaked, began, told = Soaked(requests), time.monotonic(), 0
    await _state_of(process, settings)
    at_start = await _state_of(process, settings)

    async def release() -> None:
        await story.ready_again(ASLEEP)

    async def sample() -> None:
        nonlocal told
        await story.unready(ASLEEP)
        rss = process.memory_info().rss
        soaked.samples.append((soaked.requests, rss))
        if soaked.requests >= told + requests / 20:
            told = soaked.requests
            rate = soaked.requests / (time.monotonic() - began)
            print(f"{soaked.requests} requests, {rate:.0f}/s, {rss / 2**20:.1f} MiB", flush=True)

    await soak(soaked, gateways.address(settings), release, sample)
    await story.unready("one-a")
    until = time.monotonic() + SETTLED_S
    while (at_end := await _state_of(process, settings)) != at_start and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.5)
    growth = _growth(soaked)
    print(
        f"{soaked.steady} answered, {soaked.waited} waited for a replica, {soaked.left} left midway, in"
        f" {time.monotonic() - began:.0f} s; memory {growth:+.2%} after the first tenth;"
        f" (descriptors, tasks) {at_start} at the start, {at_end} at the end"
    )
    wrong = [*soaked.wrong]
    if growth >= GROWTH_MAX:
        wrong.append(f"resident memory grew by {growth:.2%}: {soaked.samples[:: max(1, len(soaked.samples) // 20)]}")
    if at_end != at_start:
        wrong.append(f"(descriptors, tasks) were {at_start} at the start and are {at_end} at the end")
    return wrong


async def _state_of(process: psutil.Process, settings: Settings) -> tuple[int, int]:
    samples = {name: value for name, _, value in await scrape(settings)}
    return process.num_fds(), int(samples["causeway_gateway_tasks"])


def _growth(soaked: Soaked) -> float:
    """From the second twentieth to the last."""
    total = soaked.requests
    before = [rss for at, rss in soaked.samples if total * 0.05 <= at <= total * 0.1]
    after = [rss for at, rss in soaked.samples if at >= total * 0.95]
    return median(after) / median(before) - 1 if before and after else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="causeway-soak-") as folder:
        wrong = uvloop.run(run(Path(folder), options.requests))
    for line in wrong[:20]:
        print(f"WRONG: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
