"""A small model server in a process of its own, which can be killed: `python -m tests.gateway.chaos.replica NAME`.

A body `unary TOKEN` is answered at once, `stream COUNT TOKEN` in chunks. It prints its port, ends when its standard
input ends, and on SIGTERM when its last answer is complete.
"""

import asyncio
import signal
import sys
from typing import cast

import uvloop

CHUNK_EVERY_S = 0.004


class Model(asyncio.Protocol):
    answering = 0
    name = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._arrived = b""

    def data_received(self, data: bytes) -> None:
        self._arrived += data
        head, end, body = self._arrived.partition(b"\r\n\r\n")
        lowered = head.lower()
        at = lowered.find(b"content-length:")
        if not end or at < 0:
            return
        length = int(lowered[at + 15 :].split(b"\r\n", 1)[0])
        if len(body) >= length:
            self._arrived = body[length:]
            self._answer(body[:length])

    def _answer(self, body: bytes) -> None:
        kind, *rest = body.split()
        if kind == b"stream":
            Model.answering += 1
            self._transport.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            self._stream(0, int(rest[0]), rest[1])
        else:
            said = self.name + b" " + rest[0]
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(said) + said)

    def _stream(self, number: int, count: int, token: bytes) -> None:
        if self._transport.is_closing() or number == count:
            Model.answering -= 1
            if number == count and not self._transport.is_closing():
                self._transport.write(b"0\r\n\r\n")
            return
        said = b"%d %s\n" % (number, token)
        self._transport.write(b"%x\r\n%s\r\n" % (len(said), said))
        asyncio.get_running_loop().call_later(CHUNK_EVERY_S, self._stream, number + 1, count, token)


async def main(name: str) -> None:
    loop = asyncio.get_running_loop()
    Model.name = name.encode()
    server = await loop.create_server(Model, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    loop.add_reader(sys.stdin, over.set)
    await over.wait()
    server.close()
    while Model.answering > 0:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
