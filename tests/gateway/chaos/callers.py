"""Callers that keep asking, check every byte of every answer, and keep account of what went wrong.

A connection that breaks before the first byte of an answer is opened anew and the request is sent again, as any
client would do. Whether that was to be expected is decided afterwards, by the port it had.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field

from events.base import Position
from tests.gateway.dataplane.happened import KEY

CHUNKS = 8
STREAM_EVERY = 5
DEADLINE_S = 60.0
HEAD = (
    "POST /model-m1/predict HTTP/1.1\r\nhost: gateway\r\n"
    f"authorization: Bearer {KEY}\r\ncontent-type: text/plain\r\ncontent-length: "
)


@dataclass
class Broken:
    """A connection that ended in the middle of a request."""

    port: int
    answered: bool
    """Part of the answer had come."""
    replica: str
    reason: str


@dataclass
class Account:
    wanted: int
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Nothing further happens: calls may end."""
    begun: int = 0
    done: int = 0
    streams: int = 0
    broken: list[Broken] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    routed: set[tuple[Position, str, str]] = field(default_factory=set)
    """Position, deployment and replica of answers."""
    stale: int = 0
    """Answers that said that the log is away."""
    retried_by_gateway: int = 0
    told_to_close: int = 0
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    def count(self) -> None:
        self.done += 1
        self._moved.set()

    async def reached(self, share: float) -> None:
        while self.done < self.wanted * share:
            self._moved.clear()
            await self._moved.wait()


class Answer(Exception):
    """What is not as it should be."""


async def call_on(account: Account, address: tuple[str, int], callers: int) -> None:
    """Until as many requests as wanted have been made and all is over."""
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(_Caller(account, address).run())


class _Caller:
    def __init__(self, account: Account, address: tuple[str, int]) -> None:
        self._account, self._address = account, address
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        account = self._account
        while account.begun < account.wanted or not account.over.is_set():
            account.begun += 1
            number = account.begun
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await self._until_answered(number)
            except TimeoutError:
                account.wrong.append(f"request {number}: no answer within {DEADLINE_S:g} s")
                self._leave()
            account.count()
        self._leave()

    async def _until_answered(self, number: int) -> None:
        while True:
            self._replica, self._begun = "", False
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_connection(*self._address)
            port: int = self._writer.get_extra_info("sockname")[1]
            try:
                await self._ask(number)
                return
            except Answer as wrong:
                self._account.wrong.append(f"request {number}: {wrong}")
                self._leave()
                return
            except (OSError, asyncio.IncompleteReadError) as error:
                self._account.broken.append(Broken(port, self._begun, self._replica, repr(error)))
                self._leave()
                if self._begun:
                    return

    async def _ask(self, number: int) -> None:
        assert self._reader is not None and self._writer is not None
        is_stream, token = number % STREAM_EVERY == 0, f"token-{number}"
        body = f"stream {CHUNKS} {token}" if is_stream else f"unary {token}"
        self._writer.write(f"{HEAD}{len(body)}\r\n\r\n{body}".encode())
        headers = await self._head()
        if is_stream:
            self._account.streams += 1
            expected = "".join(f"{each} {token}\n" for each in range(CHUNKS))
            said = await self._chunks()
        else:
            expected = f"{self._replica} {token}"
            said = (await self._reader.readexactly(int(headers["content-length"]))).decode()
        if said != expected:
            raise Answer(f"the answer is {said!r}, not {expected!r}")
        if headers.get("connection") == "close":
            self._account.told_to_close += 1
            self._leave()

    async def _head(self) -> dict[str, str]:
        assert self._reader is not None
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self._begun = True
        headers = dict(line.split(": ", 1) for line in lines if line)
        if not status.startswith("HTTP/1.1 200 "):
            raise Answer(f"{status}: {await self._reader.read(1000)!r}")
        account = self._account
        self._replica = headers["x-causeway-replica"]
        account.routed.add(
            (Position(int(headers["x-causeway-position"])), headers["x-causeway-deployment"], self._replica)
        )
        account.stale += "x-causeway-stale-s" in headers
        account.retried_by_gateway += headers["x-causeway-attempts"] != "1"
        return headers

    async def _chunks(self) -> str:
        assert self._reader is not None
        said = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            said += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return said.decode()

    def _leave(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
        self._reader = self._writer = None
