"""h11, the strict reader, on both sides of the gateway: which messages a stream of bytes is, and how it ends."""

from dataclasses import dataclass, field
from typing import Literal

import h11

Headers = list[tuple[bytes, bytes]]
HEAD_BYTES_MAX = 1 << 20
"""Ours is the gateway's business; h11 is not to refuse before it."""
_DONE = h11.EndOfMessage()


@dataclass
class Request:
    method: bytes
    target: bytes
    headers: Headers
    closes: bool
    """Nothing may follow it."""
    body: bytes = b""
    whole: bool = False

    def values(self, name: bytes) -> list[bytes]:
        return [value for each, value in self.headers if each == name]


@dataclass
class Answer:
    status: int
    headers: Headers
    body: bytes = b""
    whole: bool = False
    interim: int = 0

    def value(self, name: bytes) -> bytes | None:
        return next((value for each, value in self.headers if each == name), None)


Ending = Literal["open", "malformed", "over"]


@dataclass
class RequestReader:
    """Of a server's side: feed it bytes, look at `requests`. `over`: the connection ends after the last of them."""

    requests: list[Request] = field(default_factory=list)
    ending: Ending = "open"
    why: str = ""

    def __post_init__(self) -> None:
        self._h11 = h11.Connection(h11.SERVER, HEAD_BYTES_MAX)
        self._between = b""
        """Arrived, and maybe the empty lines before a request, which are to be skipped (RFC 9112 2.2)."""

    def feed(self, data: bytes) -> None:
        if self.ending != "open" or not data:
            return
        try:
            self._feed(data)
        except h11.RemoteProtocolError as error:
            self.ending, self.why = "malformed", str(error)

    def _feed(self, data: bytes) -> None:
        while data and self.ending == "open":
            if self._h11.their_state is h11.IDLE and self._h11.trailing_data[0] == b"":
                data = self._between + data
                while data.startswith(b"\r\n"):
                    data = data[2:]
                self._between = b""
                if data in (b"", b"\r"):
                    self._between = data
                    return
            self._h11.receive_data(data)
            data = self._read()

    def _read(self) -> bytes:
        """What follows the message, if it is complete."""
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                return b""
            if isinstance(event, h11.Request):
                closes = event.http_version < b"1.1" or b"close" in _tokens(list(event.headers))
                self.requests.append(Request(event.method, event.target, list(event.headers), closes))
            elif isinstance(event, h11.Data):
                self.requests[-1].body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return self._ended()
            else:
                raise AssertionError(event)

    def _ended(self) -> bytes:
        self.requests[-1].whole = True
        if self.requests[-1].closes:
            self.ending = "over"
        rest, _ = self._h11.trailing_data
        self._h11 = h11.Connection(h11.SERVER, HEAD_BYTES_MAX)
        return rest


def _tokens(headers: Headers) -> set[bytes]:
    return {token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")}


def read_requests(raw: bytes) -> RequestReader:
    reader = RequestReader()
    reader.feed(raw)
    return reader


def read_answers(raw: bytes, methods: list[bytes], *, ended: bool) -> tuple[list[Answer], str]:
    """What a client makes of `raw` that asked with these methods in turn. `ended`: the connection ended in order.

    The last answer may be incomplete. Also returned: what is wrong with the stream, or nothing.
    """
    connection = h11.Connection(h11.CLIENT, HEAD_BYTES_MAX)
    connection.receive_data(raw)
    if ended:
        connection.receive_data(b"")
    answers: list[Answer] = []
    for method in [*methods, b"GET"]:
        if connection.trailing_data == (b"", True) or (not ended and not connection.trailing_data[0]):
            return answers, ""
        connection.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        connection.send(_DONE)
        answer: Answer | None = None
        interim = 0
        try:
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    return answers, "" if answer or not connection.trailing_data[0] else "half a head"
                if isinstance(event, h11.ConnectionClosed):
                    return answers, "" if answer is None else "closed within an answer"
                if isinstance(event, h11.InformationalResponse):
                    interim += 1
                elif isinstance(event, h11.Response):
                    answer = Answer(event.status_code, list(event.headers), interim=interim)
                    answers.append(answer)
                elif isinstance(event, h11.Data):
                    assert answer is not None
                    answer.body += bytes(event.data)
        except h11.RemoteProtocolError as error:
            return answers, f"malformed: {error}"
        assert answer is not None
        answer.whole = True
        if connection.their_state is not h11.DONE:
            return answers, f"{connection.trailing_data[0][:60]!r} after the end" if connection.trailing_data[0] else ""
        connection.start_next_cycle()
    return answers, "" if connection.trailing_data[0] == b"" else "an answer that nobody asked for"
