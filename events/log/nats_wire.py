"""A lean NATS connection for readers: many messages for little work, and nothing that hides a failure.

It speaks only what reading a stream needs: connect, one inbox, requests, and frames taken in bulk as they arrived.
It never reconnects: whoever reads opens a new one and resumes where it was, so no message can be lost unseen between
two connections. Appending goes through nats-py (`events/log/jetstream.py`).
"""

import asyncio
import ssl
from collections.abc import Sequence
from secrets import token_hex
from typing import cast
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

CONNECT_TIMEOUT_S = 3.0
DEFAULT_PORT = 4222


Frame = tuple[bytes, bytes, bytes, bytes]
"""One delivered message: subject, reply subject, raw header block, payload. A bare tuple, because hundreds of thousands
a second are made."""


class WireLost(ConnectionError):
    """The connection is gone, or the server refused what was asked. Open another."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Where the servers are and how to log in. `url` may name several, separated by commas. Raises ValueError."""

    url: str
    user: str | None = None
    password: str | None = None
    token: str | None = None
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        for server in self.servers() or ("",):
            try:
                address = address_of(server)
                known = address.hostname is not None and address.port != 0
            except ValueError:
                known = False
            if not known:
                shown = server.rpartition("@")[2]
                raise ValueError(f"{shown!r} is no address of a NATS server: write one such as nats://127.0.0.1:4222")

    def servers(self) -> tuple[str, ...]:
        return tuple(server.strip() for server in self.url.split(",") if server.strip())

    @property
    def where(self) -> str:
        """The servers as they may be shown: an address may hold a password."""
        return ", ".join(server.rpartition("@")[2] for server in self.servers())


def address_of(server: str) -> SplitResult:
    return urlsplit(server if "//" in server else f"nats://{server}")


def split_frames(buffer: bytes) -> tuple[list[Frame], list[bytes], int]:
    """The complete frames in the buffer, the other protocol lines, and how many bytes they took."""
    frames: list[Frame] = []
    lines: list[bytes] = []
    begin, size = 0, len(buffer)
    find = buffer.find
    while True:
        end = find(b"\r\n", begin)
        if end < 0:
            break
        line = buffer[begin:end]
        first = line[:4]
        if first == b"HMSG":
            words = line.split(b" ")
            body = end + 2
            after = body + int(words[-1])
            if after + 2 > size:
                break
            text = body + int(words[-2])
            reply = words[3] if len(words) == 6 else b""
            frames.append((words[1], reply, buffer[body:text], buffer[text:after]))
            begin = after + 2
        elif first == b"MSG ":
            words = line.split(b" ")
            body = end + 2
            after = body + int(words[-1])
            if after + 2 > size:
                break
            reply = words[3] if len(words) == 5 else b""
            frames.append((words[1], reply, b"", buffer[body:after]))
            begin = after + 2
        else:
            lines.append(line)
            begin = end + 2
    return frames, lines, begin


class Wire(asyncio.Protocol):
    """One connection with one inbox. Not for concurrent use: one reader owns it."""

    def __init__(self) -> None:
        self.inbox = f"_INBOX.{token_hex(11)}"
        self._transport: asyncio.Transport | None = None
        self._chunks: list[bytes] = []
        self._rest = b""
        self._arrived = asyncio.Event()
        self._lost: Exception | None = None
        self._requests = 0

    @classmethod
    async def open(cls, login: Login) -> "Wire":
        """Connects to the first server that answers. Raises WireLost when none does."""
        problems: list[str] = []
        for server in login.servers():
            wire = cls()
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await wire._connect(server, login)
                return wire
            except (OSError, TimeoutError, ValueError) as error:
                wire.close()
                problems.append(f"{server.rpartition('@')[2]}: {str(error) or type(error).__name__}")
        raise WireLost("; ".join(problems) or "no server is named")

    async def _connect(self, server: str, login: Login) -> None:
        address = address_of(server)
        loop = asyncio.get_running_loop()
        host, port = address.hostname or "127.0.0.1", address.port or DEFAULT_PORT
        transport, _ = await loop.create_connection(lambda: self, host, port)
        greeting = await self._line()
        if not greeting.startswith(b"INFO "):
            raise WireLost(f"this is no NATS server: it says {greeting[:60]!r}")
        if login.tls is not None or address.scheme == "tls":
            context = login.tls or ssl.create_default_context()
            secure = await loop.start_tls(transport, self, context, server_hostname=host)
            assert secure is not None, "start_tls gives no transport only for server sides"
            self._transport = secure
        options: dict[str, object] = {"verbose": False, "pedantic": False, "lang": "causeway", "version": "1"}
        options |= {"protocol": 1, "headers": True, "no_responders": True, "name": "causeway reader"}
        user = login.user or (unquote(address.username) if address.username else None)
        password = login.password or (unquote(address.password) if address.password else None)
        if login.token or (user and not password):
            options["auth_token"] = login.token or user
        elif user:
            options |= {"user": user, "pass": password}
        hello = msgspec.json.encode(options)
        self._write(b"CONNECT %b\r\nSUB %b.> 1\r\nPING\r\n" % (hello, self.inbox.encode()))
        while (answer := await self._line()).startswith(b"INFO "):
            pass
        if answer != b"PONG":
            raise WireLost(f"the server refused the connection: {answer.decode(errors='replace')}")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._chunks.append(data)
        self._arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = exc or EOFError("the server closed the connection")
        self._arrived.set()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def publish(self, subject: str, payload: bytes, answer_to: str) -> None:
        """`answer_to`: the last token of the inbox subject that answers go to."""
        head = f"PUB {subject} {self.inbox}.{answer_to} {len(payload)}\r\n".encode()
        self._write(head + payload + b"\r\n")

    def publish_with_headers(self, subject: str, headers: bytes, payload: bytes, answer_to: str) -> None:
        """`headers`: the whole block, as a message of the log has it."""
        sizes = f"{len(headers)} {len(headers) + len(payload)}"
        self._write(f"HPUB {subject} {self.inbox}.{answer_to} {sizes}\r\n".encode() + headers + payload + b"\r\n")

    async def request(self, subject: str, payload: bytes = b"", timeout_s: float = 5.0) -> bytes:
        """One question, one answer. Other frames that arrive meanwhile are dropped: ask before you pull."""
        self._requests += 1
        name = f"r{self._requests}"
        wanted = f"{self.inbox}.{name}".encode()
        self.publish(subject, payload, name)
        async with asyncio.timeout(timeout_s):
            while True:
                for name_of_frame, _, headers, answer in await self.take():
                    if name_of_frame == wanted:
                        if status_of(headers) == 503:
                            raise WireLost(f"nobody answers {subject}: JetStream is not ready")
                        return answer

    async def take(self) -> Sequence[Frame]:
        """All that has arrived, at least one frame. Raises WireLost."""
        while True:
            await self._some()
            frames, lines, used = split_frames(self._rest)
            self._rest = self._rest[used:]
            for line in lines:
                self._obey(line)
            if frames:
                return frames

    def _obey(self, line: bytes) -> None:
        if line.startswith(b"PING"):
            self._write(b"PONG\r\n")
        elif line.startswith(b"-ERR"):
            self.close()
            raise WireLost(line.decode(errors="replace"))

    async def _line(self) -> bytes:
        """The next line of the greeting, before any frame can come."""
        while b"\r\n" not in self._rest:
            await self._some()
        line, _, self._rest = self._rest.partition(b"\r\n")
        return line

    async def _some(self) -> None:
        """Waits for more bytes and puts them behind the rest."""
        while not self._chunks:
            if self._lost is not None:
                raise WireLost(str(self._lost)) from self._lost
            self._arrived.clear()
            await self._arrived.wait()
        self._rest += self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()

    def _write(self, octets: bytes) -> None:
        if self._lost is not None or self._transport is None:
            raise WireLost(str(self._lost or "not connected"))
        self._transport.write(octets)


def status_of(headers: bytes) -> int:
    """The inline status of a message from the server itself (`NATS/1.0 408 …`), 0 for an ordinary message."""
    status = headers[9:12]
    return int(status) if status.isdigit() else 0
