"""A gateway that begins while NATS is away serves with the last table and the last keys, says so, and catches up.

Everything is real: the server, the log, the gateway's process and a replica.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from events.log.jetstream import JetStreamLog
from ops.config import CHECKOUT, load
from projections.access import ACCESS
from projections.routing import ROUTING
from projections.stores.snapshots import Snapshots
from projections.view import View
from tests.gateway.chaos.story import Story
from tests.gateway.dataplane.happened import KEY, MODEL, ONE, TWO
from tests.nats import NatsServer, free_port

GENEROUS_S = 90.0


class Gateway:
    """`python -m ops.serve gateway`, as a supervisor starts it."""

    def __init__(self, state: Path, nats: NatsServer) -> None:
        self.port = free_port()
        self.settings = load({}).but(
            state=state, port=self.port, nats_url=nats.url, nats_monitor_url=nats.monitor_url, park_deadline_s=1.0
        )
        self._said = state.parent / "gateway.log"

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        env = {"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin"} | self.settings.environ()
        with self._said.open("ab") as said:
            process = subprocess.Popen(
                (sys.executable, "-m", "ops.serve", "gateway"), env=env, stdout=said, stderr=said
            )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def said(self) -> str:
        return self._said.read_text()

    async def kept(self, position: int) -> None:
        """Waits until the last table is on disk."""
        view, snapshots = View(ROUTING), Snapshots(self.settings.folder("snapshots") / "gateway")
        until = time.monotonic() + GENEROUS_S
        while view.position < position or snapshots.true_until((view, View(ACCESS))) is None:
            assert time.monotonic() < until, self.said()
            await asyncio.sleep(0.05)
            await snapshots.restore(view, None)

    async def ask(self, session: aiohttp.ClientSession) -> tuple[int, str, float | None]:
        """Status, deployment and the age of the table, of an answer; waits until somebody listens."""
        until = time.monotonic() + GENEROUS_S
        url = f"http://127.0.0.1:{self.port}/model-{MODEL}/production/predict"
        while True:
            try:
                async with session.post(url, data=b"unary 1", headers={"Authorization": f"Bearer {KEY}"}) as answer:
                    await answer.read()
                    stale = answer.headers.get("x-causeway-stale-s")
                    deployment = answer.headers.get("x-causeway-deployment", "")
                    return answer.status, deployment, None if stale is None else float(stale)
            except aiohttp.ClientConnectorError:
                assert time.monotonic() < until, self.said()
                await asyncio.sleep(0.05)


@pytest.mark.timeout(400)
async def test_a_gateway_begins_with_what_was_last_known(tmp_path: Path) -> None:
    with NatsServer(tmp_path) as nats:
        log = await JetStreamLog.connect(nats.url, create=True, monitor_url=nats.monitor_url)
        story, gateway = Story(log), Gateway(tmp_path / "state", nats)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            try:
                await story.begin()
                await story.start("first", ONE)
                with gateway.running():
                    assert await gateway.ask(session) == (200, ONE, None)
                    await story.start("second", TWO)
                    await gateway.kept(await story.switch(TWO))
                nats.kill()
                with gateway.running() as process:
                    status, deployment, stale_s = await gateway.ask(session)
                    assert (status, deployment) == (200, TWO), gateway.said()
                    assert stale_s is not None and "beginning with what was known" in gateway.said()
                    await asyncio.sleep(0.3)
                    later_s = (await gateway.ask(session))[2]
                    assert later_s is not None and later_s > stale_s, "its age is told, and grows"
                    async with session.get(f"http://127.0.0.1:{gateway.port}/healthz") as health:
                        assert (await health.json())["status"] == "stale"
                    nats.start()
                    await story.switch(ONE)
                    until = time.monotonic() + GENEROUS_S
                    while (asked := await gateway.ask(session)) != (200, ONE, None):
                        assert time.monotonic() < until and asked[0] == 200, (asked, gateway.said())
                        await asyncio.sleep(0.05)
                    assert process.poll() is None
            finally:
                await story.end()
                await log.close()


async def test_a_gateway_that_has_never_known_anything_does_not_pretend(tmp_path: Path) -> None:
    with NatsServer(tmp_path) as nats:
        gateway = Gateway(tmp_path / "state", nats)
        nats.kill()
        with gateway.running() as process:
            code = await asyncio.to_thread(process.wait, GENEROUS_S)
    assert code == 3 and "NATS cannot be reached" in gateway.said() and "Traceback" not in gateway.said()
