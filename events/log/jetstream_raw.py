"""The stream as bytes, whatever state it is in, and a new stream written from bytes: for seals, archives and repair.

Unlike the readers of the log this takes a hole for a fact to report. The server leaves out what it cannot read (a bad
checksum, a lost block), so a position that does not come is one that the log has lost.
"""

from collections.abc import AsyncIterable, AsyncIterator
from secrets import token_hex
from typing import Any

import msgspec

from events.base import ORIGIN, Position
from events.log import LogBroken, LogUnavailable
from events.log.jetstream_checks import STREAM, STREAM_NOT_FOUND, stream_config
from events.log.nats_wire import Login, Wire, WireLost, status_of
from events.log.raw import RawMessage

PULL, WINDOW = 2000, 500
SILENCE_S = 10.0
_BATCH_HEADERS = ("Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit")
"""Of a decision of several events. Written again, each is a message of its own, in the same place."""


class JetStreamRaw:
    def __init__(self, url: str) -> None:
        self._login = Login(url=url)

    async def raw_head(self) -> Position:
        """Raises LogUnavailable, and LogBroken when there is no stream."""
        answer = await self._ask(f"$JS.API.STREAM.INFO.{STREAM}")
        error = answer.get("error")
        if error is not None and error["err_code"] == STREAM_NOT_FOUND:
            raise LogBroken(f"the stream {STREAM} is missing")
        if error is not None:
            raise LogUnavailable(f"the stream cannot be asked: {error['description']}")
        return Position(answer["state"]["last_seq"])

    async def _ask(self, subject: str, question: object = None) -> Any:
        try:
            wire = await Wire.open(self._login)
            try:
                payload = b"" if question is None else msgspec.json.encode(question)
                return msgspec.json.decode(await wire.request(subject, payload))
            finally:
                wire.close()
        except (OSError, TimeoutError) as error:
            raise LogUnavailable(str(error) or type(error).__name__) from error

    async def raw(self, after: Position, until: Position) -> AsyncIterator[RawMessage]:
        if until <= after:
            return
        try:
            wire = await Wire.open(self._login)
            try:
                async for message in _pass(wire, after, until):
                    yield message
            finally:
                wire.close()
        except (OSError, TimeoutError) as error:
            raise LogUnavailable(str(error) or type(error).__name__) from error

    async def write(self, messages: AsyncIterable[RawMessage], replicas: int = 1) -> Position:
        """Makes the stream and fills it; every message gets the position that it had. Gives the last one.

        Raises LogUnavailable, and LogBroken when there is a stream already or a position differs.
        """
        made = await self._ask(f"$JS.API.STREAM.CREATE.{STREAM}", stream_config(replicas))
        if "error" in made or made["state"]["last_seq"] != ORIGIN:
            raise LogBroken(f"there is a stream {STREAM} already, or none can be made: {made.get('error', made)}")
        try:
            wire = await Wire.open(self._login)
            try:
                return await _write(wire, messages)
            finally:
                wire.close()
        except (OSError, TimeoutError) as error:
            raise LogUnavailable(str(error) or type(error).__name__) from error


async def _pass(wire: Wire, after: Position, until: Position) -> AsyncIterator[RawMessage]:
    consumer = token_hex(8)
    config = {
        "name": consumer,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": after + 1,
        "ack_policy": "none",
        "inactive_threshold": 60_000_000_000,
        "mem_storage": True,
        "num_replicas": 1,
    }
    question = msgspec.json.encode({"stream_name": STREAM, "config": config})
    answer = msgspec.json.decode(await wire.request(f"$JS.API.CONSUMER.CREATE.{STREAM}.{consumer}", question))
    if "error" in answer:
        raise WireLost(f"no consumer: {answer['error']['description']}")
    pull = msgspec.json.encode({"batch": PULL, "no_wait": True})
    left = 0
    while True:
        if left == 0:
            wire.publish(f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{consumer}", pull, "p")
            left = PULL
        for subject, reply, headers, payload in await wire.take():
            if not reply:
                if status_of(headers) in (404, 408):
                    return  # there is no more
                raise WireLost(f"the server ended the reading: {headers[9:80].decode(errors='replace').strip()}")
            left -= 1
            words = reply.split(b".")
            position = Position(int(words[5] if len(words) == 9 else words[7]))
            if position > until:
                return
            yield RawMessage(position, subject.decode(), headers.decode(), payload)
            if position == until:
                return


async def _write(wire: Wire, messages: AsyncIterable[RawMessage]) -> Position:
    last, waiting = ORIGIN, 0
    answered = ORIGIN

    async def settle(most: int) -> None:
        nonlocal waiting, answered
        while waiting > most:
            for _, _, headers, answer in await wire.take():
                if status_of(headers):
                    raise WireLost("nobody takes the messages: JetStream is not ready")
                said = msgspec.json.decode(answer)
                if said.get("seq") != answered + 1:
                    raise LogBroken(f"position {answered + 1} was not written in its place: {said}")
                answered, waiting = Position(answered + 1), waiting - 1

    async for message in messages:
        if message.position != last + 1:
            raise LogBroken(f"after position {last} comes {message.position}: positions would not be the same")
        wire.publish_with_headers(message.subject, _kept(message.headers), message.body, "w")
        last, waiting = message.position, waiting + 1
        await settle(WINDOW)
    await settle(0)
    return last


def _kept(headers: str) -> bytes:
    if not headers:
        return b"NATS/1.0\r\n\r\n"
    lines = headers.split("\r\n")
    return "\r\n".join(line for line in lines if line.partition(":")[0] not in _BATCH_HEADERS).encode()
