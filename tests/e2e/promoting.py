"""Promotions of a real model under load, and what callers see of them: nothing.

`python -m tests.e2e.promoting --requests 20000` on a stack of its own: a plain promotion, a rolling one, a candidate
that never gets ready, the way back. In each, so many requests, some of them streams that are open while traffic moves:
none fails, none is cut, and none is answered by a deployment that production did not name at that position.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from events.base import Position
from events.environment import (
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionRolledBack,
    PromotionStarted,
    PromotionStepped,
)
from ops.local import attach
from tests.e2e.fixtures.release import WORDS
from tests.e2e.plane import GENEROUS_S, Plane, Pushed, start, until
from tests.e2e.projects import FIXTURES, project

SOURCE = FIXTURES / "release.py"
ROOM = "runtime:\n  predict_concurrency: 16\n"
BROKEN = "class Model:\n    def load(self):\n        raise RuntimeError('these weights are broken')\n\n"
REPLICAS = 3
CALLERS, STREAMERS = 8, 6
SHARE = 0.2
"""Of the requests, before and after what is done under load."""


@dataclass
class Load:
    """Callers of one URL, and account of all that they got."""

    url: str
    key: str
    wanted: int
    done: int = 0
    streams: int = 0
    failures: list[str] = field(default_factory=list)
    releases: Counter[str] = field(default_factory=Counter)
    routed: set[tuple[Position, str]] = field(default_factory=set)
    """Position and deployment of every answer."""
    over: bool = False

    async def reached(self, requests: float) -> None:
        async def there() -> bool:
            return self.done >= requests or bool(self.failures)

        await until(there, f"{requests:.0f} requests are answered", GENEROUS_S + self.wanted / 10)

    async def call(self, session: aiohttp.ClientSession, is_stream: bool) -> None:
        number = 0
        while not self.over:
            number += 1
            token = f"{'s' if is_stream else 'u'}{id(session)}-{number}"
            try:
                await (self._stream if is_stream else self._ask)(session, token)
            except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, AssertionError) as error:
                self.failures.append(f"{token}: {type(error).__name__}: {error}")
            self.done += 1

    async def _ask(self, session: aiohttp.ClientSession, token: str) -> None:
        async with session.post(self.url, json={"token": token}) as answer:
            said = await answer.json(content_type=None)
            assert answer.status == 200, f"{answer.status}: {said}"
            assert said["token"] == token, said
            self._note(answer, said["release"])

    async def _stream(self, session: aiohttp.ClientSession, token: str) -> None:
        async with session.post(self.url, json={"token": token, "stream": True}) as answer:
            said = (await answer.read()).decode()
            assert answer.status == 200, f"{answer.status}: {said}"
            release = said.partition("data: ")[2].partition(" ")[0]
            whole = "".join(f"data: {release} {number} {token}\n\n" for number in range(WORDS))
            assert said == whole, f"a stream was cut or mixed: {said!r}"
            self.streams += 1
            self._note(answer, release)

    def _note(self, answer: aiohttp.ClientResponse, release: str) -> None:
        self.releases[release] += 1
        self.routed.add((Position(int(answer.headers["x-causeway-position"])), answer.headers["x-causeway-deployment"]))


@asynccontextmanager
async def load(plane: Plane, pushed: Pushed, wanted: int) -> AsyncIterator[Load]:
    """Under way until the body is through and a share more is answered; so many requests at least."""
    load = Load(f"{plane.url}{pushed.production}/predict", plane.key, wanted)
    headers = {"Authorization": f"Api-Key {plane.key}"}
    timeout = aiohttp.ClientTimeout(total=GENEROUS_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session:
        callers = [asyncio.create_task(load.call(session, n < STREAMERS)) for n in range(CALLERS + STREAMERS)]
        try:
            yield load
            await load.reached(max(wanted, load.done + wanted * SHARE))
        finally:
            load.over = True
            await asyncio.gather(*callers)


async def misrouted(plane: Plane, pushed: Pushed, load: Load) -> list[str]:
    """Answers by a deployment that production did not name at the position that they say."""
    named: set[str] = set()
    by_position: list[tuple[int, frozenset[str]]] = []
    for recorded in await plane.events():
        event = recorded.event
        if getattr(event, "environment", None) == "production" and getattr(event, "model_id", "") == pushed.model_id:
            match event:
                case PromotionStepped() | PromotionRolledBack():
                    named = {each for each in named if each != event.deployment_id}
                    named |= {str(event.deployment_id)} if event.percent else set()
                case PromotionCompleted():
                    named = {str(event.deployment_id)}
                case PromotionFailed() | PromotionCancelled():
                    named.discard(str(event.deployment_id))
            by_position.append((recorded.position, frozenset(named)))
    wrong = []
    for position, deployment in sorted(load.routed):
        there = next((names for at, names in reversed(by_position) if at <= position), frozenset())
        if deployment not in there:
            wrong.append(f"{deployment} answered at {position}, where production named {set(there)}")
    return wrong


@dataclass
class Stage:
    """One model with its releases, and a stack under it."""

    plane: Plane
    folder: Path
    requests: int
    releases: dict[str, Pushed] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    async def push(self, name: str, *flags: str, source: str | None = None) -> Pushed:
        text = SOURCE.read_text().replace('"unknown"', f'"{name}"') if source is None else source
        made = project(self.folder / name, "release", text, ROOM)
        self.releases[name] = await self.plane.push(made, *flags)
        return self.releases[name]

    async def configure(self, **settings: Any) -> None:
        pushed = next(iter(self.releases.values()))
        async with self.plane.http() as http:
            answer = await http.patch(f"/v1/models/{pushed.model_id}/environments/production", json=settings)
        assert answer.status_code == 200, answer.text

    async def promote(self, name: str) -> None:
        """Until it has ended one way or the other."""
        pushed = self.releases[name]
        said = await self.plane.causeway("promote", pushed.deployment_id, "--output", "json")
        self.told.append(said.told)

    async def first(self) -> None:
        """One release in production with as many replicas as the scenarios need, and another beside it."""
        one = await self.push("one")
        await self.plane.reaches(one, "ACTIVE")
        size = {"min_replica": REPLICAS, "max_replica": REPLICAS, "concurrency_target": CALLERS + STREAMERS}
        await self.configure(autoscaling_settings=size)
        two = await self.push("two")
        await self.plane.reaches(two, "ACTIVE")
        await self.replicas(one, REPLICAS)

    async def replicas(self, pushed: Pushed, count: int) -> None:
        async def there() -> bool:
            return bool((await self.plane.deployment(pushed))["active_replica_count"] == count)

        await until(there, f"{pushed.deployment_id} has {count} ready replicas")

    async def under_load(self, act: Callable[[], Awaitable[None]]) -> Load:
        pushed = self.releases["one"]
        async with load(self.plane, pushed, self.requests) as under:
            await under.reached(self.requests * SHARE)
            await act()
        assert not under.failures, f"{len(under.failures)} of {under.done} failed: {under.failures[:5]}"
        assert under.streams, "no stream was open"
        wrong = await misrouted(self.plane, pushed, under)
        assert not wrong, f"{len(wrong)} answers: {wrong[:5]}"
        return under

    async def ended(self, kind: type[Any], name: str) -> Any:
        """The end of the last promotion."""
        ends = await self.plane.events("PromotionCompleted", "PromotionFailed", "PromotionCancelled")
        own = [each for each in ends if getattr(each.event, "model_id", "") == self.releases["one"].model_id]
        last = own[-1].event
        assert isinstance(last, kind), last
        assert last.deployment_id == self.releases[name].deployment_id, last
        return last


async def plain(stage: Stage) -> Load:
    under = await stage.under_load(lambda: stage.promote("two"))
    await stage.ended(PromotionCompleted, "two")
    assert set(under.releases) == {"one", "two"}, under.releases
    return under


async def failed(stage: Stage) -> Load:
    """A candidate whose load() raises: given up, with the reason, and the healthy version was never touched."""
    await stage.push("broken", source=BROKEN)
    drained = len(await stage.plane.events("ReplicaDraining"))
    under = await stage.under_load(lambda: stage.promote("broken"))
    end = await stage.ended(PromotionFailed, "broken")
    assert "these weights are broken" in end.reason or "replicas failed" in end.reason, end
    assert set(under.releases) == {"two"}, under.releases
    healthy = stage.releases["two"].deployment_id
    since = (await stage.plane.events("ReplicaDraining"))[drained:]
    assert not [each for each in since if getattr(each.event, "deployment_id", "") == healthy]
    return under


async def rolled_back(stage: Stage) -> Load:
    """The release before, promoted again: no build."""
    builds = len(await stage.plane.events("BuildRequested"))
    under = await stage.under_load(lambda: stage.promote("one"))
    await stage.ended(PromotionCompleted, "one")
    assert len(await stage.plane.events("BuildRequested")) == builds
    assert set(under.releases) == {"two", "one"}, under.releases
    return under


async def rolling(stage: Stage) -> Load:
    """Replica by replica; both answer meanwhile. A new release: one that has had load begins with what it had then."""
    three = await stage.push("three")
    await stage.plane.reaches(three, "ACTIVE")
    config = {"max_surge_percent": 10, "stabilization_time_seconds": 1}
    await stage.configure(promotion_settings={"rolling_deploy": True, "rolling_deploy_config": config})
    await stage.replicas(stage.releases["one"], REPLICAS)
    before = (await stage.plane.events())[-1].position
    under = await stage.under_load(lambda: stage.promote("three"))
    await stage.ended(PromotionCompleted, "three")
    steps = [each.event for each in await stage.plane.events("PromotionStepped", after=before)]
    shares = [each.percent for each in steps if isinstance(each, PromotionStepped)]
    assert len({share for share in shares if 0 < share < 100}) >= 2, f"traffic moved in steps: {shares}"
    assert set(under.releases) == {"one", "three"}, under.releases
    (begun,) = await stage.plane.events("PromotionStarted", after=before)
    assert isinstance(begun.event, PromotionStarted) and begun.event.settings.rolling_deploy
    await stage.configure(promotion_settings={"rolling_deploy": False})
    return under


SCENARIOS = (plain, failed, rolled_back, rolling)


async def main(requests: int) -> int:
    with tempfile.TemporaryDirectory(prefix="promoting-") as made:
        base = Path(made)
        plane = await asyncio.to_thread(start, base / "state", base / "home")
        try:
            stage = Stage(plane, base / "projects", requests)
            await stage.first()
            for scenario in SCENARIOS:
                began = time.monotonic()
                under = await scenario(stage)
                seconds = time.monotonic() - began
                print(
                    f"{scenario.__name__}: {under.done} requests, {under.streams} of them streams, 0 failed, 0 cut,"
                    f" in {seconds:.0f} s; answered by {dict(under.releases)}",
                    flush=True,
                )
        finally:
            await asyncio.to_thread(attach.down, plane.settings)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000, help="of each scenario")
    sys.exit(asyncio.run(main(parser.parse_args().requests)))
