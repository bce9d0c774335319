"""What an answer means: the status decides, whatever else a receiver sends, or does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from gateway.webhooks.post import RETRY_AFTER_MAX_S, Answer, Poster, meaning
from gateway.webhooks.targets import Targets
from tests.gateway.webhooks.plant import LOOPBACK, SECRET
from tests.gateway.webhooks.test_lanes import recorded

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@asynccontextmanager
async def answering(raw: bytes, then_hang: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Its address, and the heads of the requests that it got."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            length = next(line for line in heads[-1].lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            writer.write(raw)
            if then_hang:
                await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", heads
    finally:
        server.close()


async def answer_to(raw: bytes, then_hang: bool = False, deadline_s: float = 60.0) -> Answer:
    async with answering(raw, then_hang) as (url, _), Poster(Targets(LOOPBACK)) as post:
        return await post(url, SECRET, recorded(1, 1), 1, deadline_s)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", ("delivered", 200, "")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ("delivered", 200, "")),
        (b"HTTP/1.0 204 OK\r\n\r\n", ("delivered", 204, "")),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\n", ("away", 503, "answered 503")),
        (b"HTTP/1.1 410 Gone\r\nContent-Length: 100\r\n\r\n", ("failed", 410, "answered 410")),
        (
            b"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n\x1f\x8b\x00\x1b[3m\n!",
            ("failed", 500, "answered 500: \ufffd [3m !"),
        ),
        (b"SSH-2.0-x\r\n", ("failed", None, "what it answers is not HTTP: Bad status line")),
        (b"", ("failed", None, "Server disconnected")),
    ],
)
async def test_the_status_decides_whatever_becomes_of_the_rest(
    raw: bytes, expected: tuple[str, int | None, str]
) -> None:
    answer = await answer_to(raw)
    assert (answer.result, answer.status, answer.reason[: len(expected[2])]) == expected
    assert len(answer.reason) == len(expected[2]) or answer.status is None


async def test_who_takes_it_and_never_ends_his_answer_has_taken_it() -> None:
    assert await answer_to(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", True, 0.5) == Answer("delivered", 200, "")


async def test_an_answer_is_asked_for_as_it_can_be_shown() -> None:
    async with (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (url, heads),
        Poster(Targets(LOOPBACK)) as post,
    ):
        assert (await post(url, SECRET, recorded(1, 1), 1, 60.0)).result == "delivered"
    assert b"\r\naccept-encoding: identity\r\n" in heads[0].lower()


@pytest.mark.parametrize(
    ("after", "wait_s"),
    [
        ("", 0.0),
        ("30", 30.0),
        ("9" * 5000, RETRY_AFTER_MAX_S),
        ("Sun, 22 Nov 2026 12:01:30 GMT", 90.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2099 11:00:00 GMT", RETRY_AFTER_MAX_S),
        ("-5", 0.0),
        ("soon", 0.0),
    ],
)
def test_patience_is_asked_for_in_seconds_or_until_a_time(after: str, wait_s: float) -> None:
    assert meaning(429, {"Retry-After": after}, "", NOW) == Answer("away", 429, "answered 429", wait_s)
