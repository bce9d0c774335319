"""Asks a model server how it is: one small request without a client library, many times a second while models load."""

import asyncio
import json
from urllib.parse import quote

from agents.effects import Probed

READY = "/v1/models/model"
ALIVE = "/"
_BODY_BYTES = 64 * 1024
_LISTENING_EVERY_S = 0.01


async def wait_until_listening(address: str, at_most_s: float) -> None:
    """Nothing of the server's is spent by asking whether its port is open, so this may ask often."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(at_most_s):
            while True:
                try:
                    _, writer = await asyncio.open_connection(host, int(port))
                except OSError:
                    await asyncio.sleep(_LISTENING_EVERY_S)
                else:
                    writer.close()
                    return
    except TimeoutError:
        return


async def probe(address: str, timeout_s: float = 5.0) -> Probed:
    """Readiness; a server whose readiness hangs but that still answers is unready, not silent."""
    try:
        async with asyncio.timeout(timeout_s):
            status, body = await get(address, READY)
    except ConnectionRefusedError:
        return Probed("silent", f"nothing listens on {address}")
    except (OSError, EOFError, ValueError, TimeoutError) as error:
        return await _alive(address, timeout_s, str(error) or f"{READY} gave no answer in {timeout_s:g} s")
    return Probed("ready") if status == 200 else Probed("unready", f"{status} {_error(body)}")


async def _alive(address: str, timeout_s: float, why: str) -> Probed:
    try:
        async with asyncio.timeout(timeout_s):
            await get(address, ALIVE)
    except (OSError, EOFError, ValueError, TimeoutError):
        return Probed("silent", f"does not answer: {why}")
    return Probed("unready", why)


async def get(address: str, path: str) -> tuple[int, bytes]:
    """Status and body. Raises OSError, EOFError or ValueError."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        request = f"GET {quote(path)} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        await writer.drain()
        answer = await reader.read(_BODY_BYTES)
        while chunk := await reader.read(_BODY_BYTES):
            answer = (answer + chunk)[:_BODY_BYTES]
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/"):
        raise EOFError(f"{address} closed the connection without an answer")
    return int(words[1]), body


def _error(body: bytes) -> str:
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if isinstance(said, dict) and "error" in said:
        return str(said["error"])[:300]
    return body.decode(errors="replace").strip()[:300]
