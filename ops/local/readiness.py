"""How a child is known to be ready: it says so on a descriptor, or it answers a probe.

Saying so is exact and wakes the supervisor at once; probes are for programs that are not ours. A probe
answers False while its server cannot serve yet and never raises for that.
"""

import asyncio
import os
import struct
from collections.abc import Awaitable, Callable

PROBE_DEADLINE_S = 5.0
READY = b"ready\n"


def announce(ready_fd: int | None) -> None:
    """Called once by a role that can serve now, with `Settings.ready_fd`; does nothing when nobody waits."""
    if ready_fd is None:
        return
    try:
        os.write(ready_fd, READY)
        os.close(ready_fd)
    except OSError as error:
        raise RuntimeError(
            f"CAUSEWAY_READY_FD={ready_fd} is no pipe of a supervisor; unset it to start a role by hand"
        ) from error


async def announced(pipe: int) -> bool:
    """Waits for the child's word; False if the child closed the descriptor (or died) without giving it."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(pipe, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(pipe)
    return os.read(pipe, 64).startswith(READY)


def http_ok(port: int, path: str, host: str = "127.0.0.1") -> Callable[[], Awaitable[bool]]:
    """A probe: GET answers 200."""

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        status_line = await reader.readline()
        return b" 200 " in status_line

    return lambda: _ask(lambda: asyncio.open_connection(host, port), answers)


def postgres_ok(socket_path: str) -> Callable[[], Awaitable[bool]]:
    """A probe: PostgreSQL lets its superuser in (it answers an error while it still recovers)."""

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        startup = struct.pack("!i", 196608) + b"user\0postgres\0database\0postgres\0\0"
        writer.write(struct.pack("!i", len(startup) + 4) + startup)
        first = await reader.read(1)
        writer.write(b"X\0\0\0\4")
        return first == b"R"

    return lambda: _ask(lambda: asyncio.open_unix_connection(socket_path), answers)


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _ask(
    connect: Callable[[], Awaitable[Streams]],
    answers: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]],
) -> bool:
    try:
        async with asyncio.timeout(PROBE_DEADLINE_S):
            reader, writer = await connect()
            try:
                return await answers(reader, writer)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
