"""The framing in which stock S3 clients send a body over https: sized chunks, then trailers (aws-chunked)."""

from collections.abc import AsyncIterator

TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_LINE_MAX = 8192


class BadChunks(ValueError):
    """A body that breaks off or is not framed as it says."""


async def unframed(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The bytes within the frames. Trailers (checksums) are read and not used: the transport has its own."""
    reader = _Reader(body)
    while True:
        line = await reader.line()
        try:
            left = int(line.split(b";")[0], 16)
        except ValueError:
            raise BadChunks(f"expected the size of a chunk in hexadecimal, got {line[:40]!r}") from None
        if left == 0:
            while await reader.line():
                pass
            return
        while left > 0:
            chunk = await reader.some(left)
            left -= len(chunk)
            yield chunk
        if await reader.line() != b"":
            raise BadChunks("a chunk is longer than its size says")


class _Reader:
    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._buffer = bytearray()

    async def _more(self) -> None:
        async for chunk in self._body:
            if chunk:
                self._buffer += chunk
                return
        raise BadChunks("the body breaks off: send it again")

    async def line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _LINE_MAX:
                raise BadChunks("a line of the framing is too long")
            await self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    async def some(self, most: int) -> bytes:
        if not self._buffer:
            await self._more()
        chunk = bytes(self._buffer[:most])
        del self._buffer[: len(chunk)]
        return chunk
