"""Signals over a network that loses, doubles, delays and splits, by seed.

Each process has its own side. A side that is cut off neither sends nor hears; when it is let back it hears `Resumed`,
as a process does whose own connection was interrupted. A muted side only stops being heard: it does not know.
"""

import asyncio
from collections.abc import AsyncIterator
from random import Random

import msgspec

from events.signals import Resumed, Signal
from tests.sim.loop import SimClock


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """Probabilities, per signal and listener, and the longest delay."""

    lost: float = 0.0
    doubled: float = 0.0
    longest_delay_s: float = 0.002


FAIR = Weather()
STORMY = Weather(lost=0.15, doubled=0.1, longest_delay_s=1.5)


class SimNetwork:
    def __init__(self, random: Random) -> None:
        self.weather = FAIR
        self._random = random
        self._sides: dict[str, Side] = {}

    def side(self, name: str, clock: SimClock) -> "Side":
        if name not in self._sides:
            self._sides[name] = Side(name, self, clock)
        return self._sides[name]

    def calm(self) -> None:
        self.weather = FAIR
        for side in self._sides.values():
            side.muted = False
            side.join()

    def carry(self, signal: Signal) -> None:
        loop, dice, weather = asyncio.get_running_loop(), self._random, self.weather
        for side in self._sides.values():
            if dice.random() < weather.lost:
                continue
            for _ in range(2 if dice.random() < weather.doubled else 1):
                loop.call_later(dice.uniform(0, weather.longest_delay_s), side.hear, signal)


class Side:
    """One process's end of the channel; outlives the process's lives."""

    def __init__(self, name: str, network: SimNetwork, clock: SimClock) -> None:
        self.name = name
        self.muted = False
        self._cut = False
        self._network = network
        self._clock = clock
        self._listeners: list[asyncio.Queue[Signal]] = []

    def cut(self) -> None:
        self._cut = True

    def join(self) -> None:
        if self._cut:
            self._cut = False
            self.hear(Resumed(at=self._clock.now()))

    def hear(self, signal: Signal) -> None:
        if not self._cut:
            for queue in self._listeners:
                queue.put_nowait(signal)

    async def publish(self, signal: Signal) -> None:
        if not (self._cut or self.muted):
            self._network.carry(signal)

    async def listen(self) -> AsyncIterator[Signal]:
        queue: asyncio.Queue[Signal] = asyncio.Queue()
        self._listeners.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.remove(queue)
