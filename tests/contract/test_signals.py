"""Signals: heard by everybody who listens now, kept nowhere, and never in anybody's way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from events.base import DeploymentId, NodeId
from events.log.jetstream_link import settled
from events.signals import Answers, Heartbeat, Load, Resumed, Signal, Signals, WakeAsked
from events.signals.answers import Durations
from events.signals.core_nats import CoreNatsSignals
from events.signals.memory import MemorySignals
from tests.contract.decisions import GENEROUS_S
from tests.nats import PATIENCE_S, NatsServer, plain_client

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BEAT = Heartbeat(node_id=NodeId("n"), boot_id="b", at=AT)
WAKE = WakeAsked(deployment_id=DeploymentId("d"), at=AT)
ALL: tuple[Signal, ...] = (
    Load(worker="w", deployment_id=DeploymentId("d"), in_flight=3, parked=1, at=AT),
    WAKE,
    Answers(
        worker="w",
        number=1,
        deployment_id=DeploymentId("d"),
        requests=3,
        errors=1,
        durations=(Durations(140, 2), Durations(7, 1)),
        at=AT,
    ),
    BEAT,
)


class Ear:
    """A listener, and what it has heard."""

    def __init__(self, signals: Signals) -> None:
        self.heard: list[Signal] = []
        self._task = asyncio.create_task(self._listen(signals))

    async def _listen(self, signals: Signals) -> None:
        async with aclosing(cast(Any, signals.listen())) as stream:
            async for signal in stream:
                self.heard.append(signal)

    async def until_heard(self, wanted: Signal) -> None:
        async with asyncio.timeout(GENEROUS_S):
            while wanted not in self.heard:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    @property
    def resumed(self) -> int:
        return sum(isinstance(each, Resumed) for each in self.heard)

    async def until_resumed(self, times: int) -> None:
        """Once nothing is missed any more, which may be after the first signal."""
        async with asyncio.timeout(GENEROUS_S):
            while self.resumed < times:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    def close(self) -> None:
        self._task.cancel()


async def _reaches(signals: Signals, ear: Ear, signal: Signal) -> None:
    """Sends again until it is heard: a lossy channel promises no more."""
    async with asyncio.timeout(GENEROUS_S):
        while signal not in ear.heard:
            await signals.publish(signal)
            await asyncio.sleep(0.01)


@pytest.fixture
def server(tmp_path: Path) -> Any:
    with NatsServer(tmp_path) as running:
        yield running


@pytest.fixture(params=["memory", "core NATS"])
async def signals(request: pytest.FixtureRequest) -> AsyncIterator[Signals]:
    if request.param == "memory":
        yield MemorySignals()
        return
    server: NatsServer = request.getfixturevalue("server")
    signals = await CoreNatsSignals.connect(server.url)
    yield signals
    await signals.close()


async def test_every_signal_reaches_every_listener_as_it_was(signals: Signals) -> None:
    ears = [Ear(signals), Ear(signals)]
    for ear in ears:
        await _reaches(signals, ear, WAKE)
    for signal in ALL:
        await signals.publish(signal)
    for ear in ears:
        for signal in ALL:
            await ear.until_heard(signal)
        ear.close()


async def test_what_was_sent_before_anybody_listened_is_gone(signals: Signals) -> None:
    for signal in ALL:
        await signals.publish(signal)
    ear = Ear(signals)
    later = Load(worker="later", deployment_id=DeploymentId("d"), in_flight=0, parked=0, at=AT)
    await _reaches(signals, ear, later)
    assert {signal for signal in ear.heard if not isinstance(signal, Resumed)} == {later}
    ear.close()


async def test_a_listener_that_left_and_one_that_came_back_hear_each_signal_once(signals: Signals) -> None:
    gone = Ear(signals)
    await _reaches(signals, gone, WAKE)
    gone.close()
    await asyncio.sleep(0.02)
    before = len(gone.heard)
    ear = Ear(signals)
    await _reaches(signals, ear, ALL[2])
    await asyncio.sleep(0.05)
    count = ear.heard.count(ALL[0])
    await signals.publish(ALL[0])
    await ear.until_heard(ALL[0])
    await asyncio.sleep(0.05)
    assert ear.heard.count(ALL[0]) == count + 1
    assert len(gone.heard) == before
    ear.close()


async def test_the_channel_may_be_away_and_listeners_are_told_when_it_is_back(server: NatsServer) -> None:
    sender, receiver = await CoreNatsSignals.connect(server.url), await CoreNatsSignals.connect(server.url)
    ear = Ear(receiver)
    await _reaches(sender, ear, WAKE)
    before = ear.resumed
    server.kill()
    for _ in range(20):
        await sender.publish(ALL[0])
        await asyncio.sleep(0.005)
    assert sender.dropped > 0
    server.start()
    await _reaches(sender, ear, BEAT)
    await ear.until_resumed(before + 1)
    ear.close()
    await sender.close()
    await receiver.close()


async def test_who_starts_before_the_server_works_once_it_is_there(server: NatsServer) -> None:
    server.kill()
    signals = await CoreNatsSignals.connect(server.url, patience_s=0.1)
    ear = Ear(signals)
    await signals.publish(WAKE)
    server.start()
    await _reaches(signals, ear, ALL[2])
    await ear.until_resumed(1)
    ear.close()
    await signals.close()


async def test_a_signal_of_a_newer_version_is_dropped_and_counted(server: NatsServer) -> None:
    signals = await CoreNatsSignals.connect(server.url)
    ear = Ear(signals)
    await _reaches(signals, ear, WAKE)
    async with plain_client(server) as client:
        await client.publish("sig.Mood", b'{"type":"Mood","of":"node"}')
        await settled(client, PATIENCE_S)
    await _reaches(signals, ear, ALL[2])
    assert signals.dropped == 1
    ear.close()
    await signals.close()
