"""Callers of all manners, over and over: patient ones, those that wait for a replica, and those that leave midway."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

from tests.gateway.dataplane.happened import KEY, TWO

Address = tuple[str, int]

STEADY = 32
ROUND = 1000
LEAVING, WAITING = 40, 10
"""Of these, for every ROUND of steady requests."""
WITHIN_S = 120.0


def request(body: str, path: str = "/model-m1/predict", length: int | None = None) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {KEY}\r\n"
    return f"{head}content-length: {len(body) if length is None else length}\r\n\r\n{body}".encode()


ASLEEP = f"/model-m1/deployment/{TWO}/predict"


@dataclass
class Soaked:
    wanted: int
    steady: int = 0
    left: int = 0
    waited: int = 0
    wrong: list[str] = field(default_factory=list)
    samples: list[tuple[int, int]] = field(default_factory=list)
    """Requests so far, resident bytes."""

    @property
    def requests(self) -> int:
        return self.steady + self.left + self.waited


class _Steady(asyncio.Protocol):
    """One request after the other on one connection."""

    def __init__(self, soaked: Soaked, count: int) -> None:
        self._soaked, self._left = soaked, count
        self._arrived = b""
        self._request = request("unary patience")
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._arrived += data
        if not self._arrived.endswith(b" patience"):
            return
        if not self._arrived.startswith(b"HTTP/1.1 200 "):
            self._soaked.wrong.append(self._arrived[:200].decode())
        self._arrived = b""
        self._soaked.steady += 1
        self._left -= 1
        if self._left:
            self._transport.write(self._request)
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._left:
            self._soaked.wrong.append(f"a steady connection ended: {exc!r}, after {self._arrived!r}")
        if not self.over.done():
            self.over.set_result(None)


async def soak(
    soaked: Soaked, address: Address, release: Callable[[], Awaitable[None]], sample: Callable[[], Awaitable[None]]
) -> None:
    """`release` lets those go that wait; `sample` is called after every round."""
    kinds = itertools.cycle((_half_a_head, _half_a_body, _no_answer, _mid_stream, _parked))
    while soaked.requests < soaked.wanted and not soaked.wrong:
        async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
            waiting = [group.create_task(_wait(soaked, address)) for _ in range(WAITING)]
            for _ in range(STEADY):
                group.create_task(_ask_steadily(soaked, address, ROUND // STEADY))
            for kind in itertools.islice(kinds, LEAVING):
                await _leave(soaked, address, kind)
            await release()
            await asyncio.wait(waiting)
        await sample()


async def _ask_steadily(soaked: Soaked, address: Address, count: int) -> None:
    _, protocol = await asyncio.get_running_loop().create_connection(lambda: _Steady(soaked, count), *address)
    await protocol.over


async def _wait(soaked: Soaked, address: Address) -> None:
    """For a replica of the deployment that sleeps."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request("unary waited", ASLEEP))
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readuntil(b"waited")
    if not head.startswith(b"HTTP/1.1 200 "):
        soaked.wrong.append(head.decode())
    soaked.waited += 1
    writer.close()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _leave(soaked: Soaked, address: Address, kind: Callable[[Streams], Awaitable[None]]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    with contextlib.suppress(OSError):
        await kind((reader, writer))
    writer.transport.abort()
    soaked.left += 1


async def _half_a_head(streams: Streams) -> None:
    streams[1].write(request("")[:40])


async def _half_a_body(streams: Streams) -> None:
    streams[1].write(request("unary half", length=5000))


async def _no_answer(streams: Streams) -> None:
    streams[1].write(request("stream 20 nobody"))


async def _mid_stream(streams: Streams) -> None:
    streams[1].write(request("stream 20 nobody"))
    await streams[0].readuntil(b"0 nobody")


async def _parked(streams: Streams) -> None:
    streams[1].write(request("unary nobody", ASLEEP))
    await asyncio.sleep(0.002)
