"""Small scripted model servers: each speaks just enough HTTP/1.1 to be a replica, and records what it was sent.

Also when its callers left.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec


class Seen(msgspec.Struct):
    """A request as a replica got it."""

    line: str
    headers: dict[str, str]
    body: bytes


Script = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


def answer(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{more}\r\n".encode() + body


async def echo(seen: Seen, out: asyncio.StreamWriter) -> None:
    out.write(answer(seen.body))


class ScriptedReplica:
    def __init__(self, script: Script = echo) -> None:
        self.script = script
        self.seen: list[Seen] = []
        self.connections = 0
        self.arrived = asyncio.Condition()
        self.caller_left = asyncio.Event()
        self.writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.address = ""

    async def start(self) -> "ScriptedReplica":
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: asyncio.StreamReaderProtocol(_Incoming(), self._serve), "127.0.0.1", 0, backlog=2048
        )
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def kill(self) -> None:
        """As a crash: nothing listens any more, and open connections break."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self.writers):
            writer.transport.abort()

    async def seen_count(self, count: int) -> None:
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.seen) >= count)

    async def _serve(self, incoming: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        assert isinstance(incoming, _Incoming)
        self.connections += 1
        self.writers.add(out)
        leaving = asyncio.ensure_future(incoming.ended.wait())
        try:
            while not out.is_closing():
                seen = await read_message(incoming)
                async with self.arrived:
                    self.seen.append(seen)
                    self.arrived.notify_all()
                answering = asyncio.ensure_future(self.script(seen, out))
                await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if not answering.done():
                    self.caller_left.set()
                    answering.cancel()
                    break
                await answering
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            leaving.cancel()
            self.writers.discard(out)
            out.close()


class _Incoming(asyncio.StreamReader):
    """Tells when the other side ends, also while nobody reads."""

    def __init__(self) -> None:
        super().__init__(limit=2**24)
        self.ended = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.ended.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.ended.set()


async def read_message(incoming: asyncio.StreamReader) -> Seen:
    head = (await incoming.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head[:-4].split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    if headers.get("transfer-encoding") == "chunked":
        return Seen(line, headers, await read_chunks(incoming))
    return Seen(line, headers, await incoming.readexactly(int(headers.get("content-length", "0"))))


async def read_chunks(incoming: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await incoming.readuntil(b"\r\n"), 16):
        body += (await incoming.readexactly(size + 2))[:-2]
    await incoming.readexactly(2)
    return body
