"""Where a body ends. One small reader for each way that HTTP/1.1 has to say it; no sockets.

`take` gives the payload in what has arrived and how many bytes of it belong to this body; what is left belongs to
the next message. Payloads are framed anew on the other side, so chunk extensions and trailers go no further.
"""

import re
from typing import Protocol

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?")
_PLAIN_SIZE_LINE = re.compile(rb"([1-9A-Fa-f][0-9A-Fa-f]{0,14})\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\x00-\x08\x0a-\x1f\x7f]*")
_LINE_BYTES_MAX = 1024
_TRAILER_BYTES_MAX = 16 * 1024


class BadFraming(Exception):
    """A body whose end cannot be known."""


class Framing(Protocol):
    done: bool

    def take(self, arrived: bytes) -> tuple[list[bytes], int]: ...


class Sized:
    """Content-Length."""

    __slots__ = ("done", "left")

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0

    def take(self, arrived: bytes) -> tuple[list[bytes], int]:
        size = len(arrived)
        if size <= self.left:
            self.left -= size
            self.done = self.left == 0
            return [arrived], size
        used, self.left, self.done = self.left, 0, True
        return ([arrived[:used]] if used else []), used


class UntilClose:
    """A response that ends with its connection."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def take(self, arrived: bytes) -> tuple[list[bytes], int]:
        return [arrived], len(arrived)


class Chunked:
    """Transfer-Encoding: chunked. Lines end with CRLF and nothing else, or it is BadFraming."""

    __slots__ = ("_left", "_line", "_trailer_bytes", "done")

    def __init__(self) -> None:
        self.done = False
        self._left = 0
        """Of the current chunk, its closing CRLF included."""
        self._line = b""
        """A line whose end has not come yet."""
        self._trailer_bytes: int | None = None
        """None: not in the trailers."""

    def take(self, arrived: bytes) -> tuple[list[bytes], int]:
        payload: list[bytes] = []
        at, size = 0, len(arrived)
        while at < size and not self.done:
            if self._left:
                at = self._chunk(arrived, at, payload)
                continue
            end = arrived.find(b"\n", at)
            self._line += arrived[at:] if end < 0 else arrived[at : end + 1]
            if len(self._line) > _LINE_BYTES_MAX:
                raise BadFraming("a line between chunks is too long")
            if end < 0:
                return payload, size
            line, self._line = self._line, b""
            if not line.endswith(b"\r\n"):
                raise BadFraming("a line between chunks ends without CR LF")
            self._end_line(line[:-2])
            at = end + 1
        return payload, at

    def plain(self, arrived: bytes) -> int | None:
        """The payload's size, if all that has arrived is whole chunks with nothing beside: it can go on as it is."""
        if self._left or self._line or self._trailer_bytes is not None:
            return None
        at, payload = 0, 0
        while at < len(arrived):
            found = _PLAIN_SIZE_LINE.match(arrived, at)
            if found is None:
                return None
            size = int(found[1], 16)
            end = found.end() + size
            at = end + 2
            if arrived[end:at] != b"\r\n":
                return None
            payload += size
        return payload

    def _chunk(self, arrived: bytes, at: int, payload: list[bytes]) -> int:
        if self._left > 2:
            piece = arrived[at : at + self._left - 2]
            payload.append(piece)
            self._left -= len(piece)
            at += len(piece)
        while 0 < self._left <= 2 and at < len(arrived):
            if arrived[at] != b"\r\n"[2 - self._left]:
                raise BadFraming("a chunk is longer than it says")
            self._left -= 1
            at += 1
        return at

    def _end_line(self, line: bytes) -> None:
        if self._trailer_bytes is None:
            found = _SIZE_LINE.fullmatch(line)
            if found is None:
                raise BadFraming("a chunk has no proper size")
            chunk = int(found[1], 16)
            if chunk:
                self._left = chunk + 2
            else:
                self._trailer_bytes = 0
        elif not line:
            self.done = True
        else:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > _TRAILER_BYTES_MAX or not _TRAILER.fullmatch(line):
                raise BadFraming("the trailers are malformed or too long")


LAST_CHUNK = b"0\r\n\r\n"


def chunk(payload: bytes) -> bytes:
    """Never empty: an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)
