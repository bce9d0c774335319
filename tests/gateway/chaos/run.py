"""All that may happen to a gateway, under load, in one run: `python -m tests.gateway.chaos.run --requests 50000`.

A replica is killed, another is drained, production moves to another deployment, a gateway worker is killed, the broker
is away for seconds, the gateway is reloaded. No request fails, but for those on a killed process's own connections:
with a gateway worker, what it was just answering; with a replica, streams that had begun.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import uvloop

from events.base import ORIGIN, DeploymentId, Position
from events.log.jetstream import JetStreamLog
from ops.config import Settings
from ops.local import attach
from tests.gateway.chaos import gateways
from tests.gateway.chaos.callers import Account, Broken, call_on
from tests.gateway.chaos.story import Story
from tests.gateway.dataplane.happened import KEY, ONE, TWO
from tests.nats import NatsServer

FIRST, SECOND = ("one-a", "one-b", "one-c"), ("two-a", "two-b")


@dataclass
class Outcome:
    account: Account
    callers: int
    seconds: float = 0.0
    killed_ports: set[int] = field(default_factory=set)
    """Connections of callers to the gateway worker that was killed."""
    switched_at: Position = ORIGIN
    gone_from: dict[str, Position] = field(default_factory=dict)
    """No answer that was routed at this position or later may come from the replica."""
    workers: set[str] = field(default_factory=set)
    stale_metric_s: float = 0.0
    log: list[str] = field(default_factory=list)

    def unexcused(self) -> list[Broken]:
        killed = FIRST[0]
        return [
            each
            for each in self.account.broken
            if each.port not in self.killed_ports and not (each.answered and each.replica == killed)
        ]

    def misrouted(self) -> list[tuple[Position, str, str]]:
        found = []
        for position, deployment, replica in self.account.routed:
            serving: DeploymentId = TWO if position >= self.switched_at else ONE
            gone = self.gone_from.get(replica)
            if deployment != serving or (gone is not None and position >= gone):
                found.append((position, deployment, replica))
        return found

    def summary(self) -> str:
        account = self.account
        cut = sum(each.answered for each in account.broken)
        return (
            f"{account.done} requests ({account.streams} streams) in {self.seconds:.1f} s by {self.callers} callers:"
            f" {len(account.wrong) + len(self.unexcused())} failed, {len(self.misrouted())} misrouted."
            f" On connections of the killed processes: {len(account.broken) - cut} sent again by the caller,"
            f" {cut} answers cut. Repeated by the gateway: {account.retried_by_gateway}; answered while the broker was"
            f" away: {account.stale}; connections told to close: {account.told_to_close}."
        )


async def chaos(folder: Path, *, requests: int, callers: int, broker_away_s: float) -> Outcome:
    with NatsServer(folder / "broker") as server:
        log = await JetStreamLog.connect(server.url, create=True, monitor_url=server.monitor_url)
        story = Story(log)
        try:
            await story.begin()
            for name in FIRST:
                await story.start(name, ONE)
            outcome = Outcome(Account(requests), callers)
            with gateways.running(folder / "state", server, workers=2) as settings:
                began = time.monotonic()
                async with asyncio.TaskGroup() as group:
                    group.create_task(_happen(outcome, settings, server, story, broker_away_s))
                    group.create_task(call_on(outcome.account, gateways.address(settings), callers))
                outcome.seconds = time.monotonic() - began
            return outcome
        finally:
            await story.end()
            await log.close()


async def _happen(outcome: Outcome, settings: Settings, server: NatsServer, story: Story, broker_away_s: float) -> None:
    account, gone = outcome.account, outcome.gone_from

    def say(what: str) -> None:
        outcome.log.append(f"after {account.done}: {what}")

    await _look(outcome, settings)
    await account.reached(0.08)
    gone[FIRST[0]] = await story.kill(FIRST[0])
    say("a replica was killed")
    await account.reached(0.2)
    gone[FIRST[1]] = await story.drain(FIRST[1])
    say("a replica was drained")
    for name in SECOND:
        await story.start(name, TWO)
    await account.reached(0.35)
    outcome.switched_at = await story.switch(TWO)
    say("production moved to another deployment")
    await account.reached(0.45)
    outcome.killed_ports = await asyncio.to_thread(gateways.kill_one, settings)
    say(f"a gateway worker was killed with {len(outcome.killed_ports)} connections")
    await account.reached(0.6)
    await asyncio.to_thread(server.kill)
    say("the broker was killed")
    until = time.monotonic() + broker_away_s
    while time.monotonic() < until or not outcome.stale_metric_s:
        await asyncio.sleep(0.5)
        await _look(outcome, settings)
    await asyncio.to_thread(server.start)
    say("the broker is back")
    await account.reached(0.75)
    await asyncio.to_thread(gateways.serving, settings)
    say("every worker serves")
    told: list[str] = []
    await asyncio.to_thread(attach.reload, settings, "gateway", told.append)
    say(f"the gateway was reloaded: {'; '.join(told)}")
    await asyncio.to_thread(gateways.drained, settings)
    say("the processes that were replaced have ended")
    account.over.set()


async def _look(outcome: Outcome, settings: Settings) -> None:
    for name, labels, value in await scrape(settings):
        if name == "causeway_gateway_stale_seconds":
            outcome.stale_metric_s = max(outcome.stale_metric_s, value)
        if name == "causeway_gateway_requests_total":
            outcome.workers.add(labels)


async def scrape(settings: Settings) -> list[tuple[str, str, float]]:
    host, port = gateways.address(settings)
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        answer = await http.get(f"http://{host}:{port}/metrics", headers={"authorization": f"Bearer {KEY}"})
    answer.raise_for_status()
    samples = []
    for line in answer.text.splitlines():
        if not line.startswith("#"):
            what, _, value = line.rpartition(" ")
            name, _, labels = what.partition("{")
            samples.append((name, labels.rstrip("}"), float(value)))
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=50_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="causeway-chaos-") as folder:
        outcome = uvloop.run(chaos(Path(folder), requests=options.requests, callers=24, broker_away_s=5))
    for line in outcome.log:
        print(line)
    print(outcome.summary())
    failed = [*outcome.account.wrong, *map(str, outcome.unexcused()), *map(str, outcome.misrouted())]
    for line in failed[:20]:
        print(f"FAILED: {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
