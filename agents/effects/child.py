"""Runs a short-lived child of a build: its environment is what is given and nothing else, its output comes line by
line, and however it or we end, none of its processes stays behind (`warden.py` sees to that).
"""

import asyncio
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

WARDEN = Path(__file__).parent / "warden.py"
_CHUNK_BYTES = 65_536
_TAIL_LINES = 400
_STOP_DEADLINE_S = 10.0


class Finished(msgspec.Struct, frozen=True):
    code: int
    lines: tuple[str, ...]
    """The last lines of its output."""


async def run_child(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path,
    on_line: Callable[[str], None] = lambda line: None,
) -> Finished:
    """Cancelling kills the child and everything that it started, before the cancellation goes on."""
    gone, alive = os.pipe()
    try:
        warden = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", WARDEN, *command,
            stdin=gone, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env=dict(env), cwd=cwd, start_new_session=True,
        )  # fmt: skip
    except BaseException:
        os.close(alive)
        raise
    finally:
        os.close(gone)
    assert warden.stdout is not None
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    try:
        async for line in _lines(warden.stdout):
            tail.append(line)
            on_line(line)
        return Finished(await warden.wait(), tuple(tail))
    finally:
        os.close(alive)
        if warden.returncode is None:
            await asyncio.shield(_end(warden))


async def _end(warden: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(_STOP_DEADLINE_S):
            await warden.wait()
    except TimeoutError:
        warden.kill()
        await warden.wait()


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines of any length and any bytes; of a line that was redrawn in place, what it last said."""
    rest = b""
    while chunk := await stream.read(_CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield _text(line)
        if len(rest) > _CHUNK_BYTES:
            yield _text(rest)
            rest = b""
    if rest:
        yield _text(rest)


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
