"""A network of its own for one command, in which our plane is at port 8000 and `api.localhost` is known.

Way A of the bare truss client needs exactly that, and a test may neither take port 8000 of the machine nor write to
its /etc/hosts. Run as a script inside `unshare --net --mount`: brings loopback up, passes the given ports on to the
plane through a socket file (which is the same in every network), and runs the command. Outside, `doorway` opens that
file.
"""

import asyncio
import fcntl
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

SIOCSIFFLAGS, IFF_UP = 0x8914, 1


@asynccontextmanager
async def doorway(file: Path, port: int) -> AsyncIterator[None]:
    """Whoever connects to the socket file is connected to the port."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _join(reader, writer, *await asyncio.open_connection("127.0.0.1", port))

    server = await asyncio.start_unix_server(pass_on, str(file))
    try:
        yield
    finally:
        server.close()
        file.unlink(missing_ok=True)


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    other_reader: asyncio.StreamReader,
    other_writer: asyncio.StreamWriter,
) -> None:
    await asyncio.gather(_pour(reader, other_writer), _pour(other_reader, writer))


async def _pour(source: asyncio.StreamReader, into: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(1 << 16):
            into.write(piece)
            await into.drain()
    except ConnectionError:
        pass  # One side left; the other is told by the end of ours.
    finally:
        into.close()


def _loopback_up() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def _serve(file: str, ports: list[int], ready: threading.Event) -> None:
    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _join(reader, writer, *await asyncio.open_unix_connection(file))

    async def serve() -> None:
        for port in ports:
            await asyncio.start_server(pass_on, "127.0.0.1", port)
        ready.set()
        await asyncio.Event().wait()

    asyncio.run(serve())


def main(file: str, ports: str, *command: str) -> int:
    _loopback_up()
    ready = threading.Event()
    threading.Thread(target=_serve, args=(file, [int(port) for port in ports.split(",")], ready), daemon=True).start()
    ready.wait()
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
