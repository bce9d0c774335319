"""Reading the stream: plain pull requests, the next one sent ahead, frames decoded in bulk.

The rules it keeps: positions come one after the other without a gap, batches hold whole decisions, and what cannot be
put right by reading again is `LogBroken`. A reader owns its connection and its consumer; both are thrown away and made
anew, at the position after the last one received, whenever anything is doubtful.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from secrets import token_hex

import msgspec

from events.base import EventId, Position, StreamName
from events.codec import CorruptMessage, Recorded, decode
from events.log import LogBroken, LogUnavailable
from events.log.jetstream_checks import STREAM, check_state
from events.log.jetstream_link import Reach
from events.log.nats_wire import Frame, Login, Wire, WireLost, status_of
from events.log.subjects import stream_of

PULL = 4000
"""Messages asked for at a time; the next request goes out when half of them have come."""
HEARTBEAT_S = 1.0
SILENCE_S = 3.5
"""Longer than this without a message or a heartbeat: the connection is dead, whatever TCP says."""
EXPIRES_S = 30.0
MOST_STREAMS = 20_000
"""Aggregates whose names a reader keeps ready; most events come in bursts of the same few."""
MOST_BEATS = 10
"""A finite read that hears only so many heartbeats in a row gives up."""
FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 2.0
_NS = 1_000_000_000


class Gap(Exception):
    """The position after the last one received did not come."""


class Reader:
    """One pass over the stream, or over one aggregate's subjects, from a position on."""

    def __init__(self, wire: Wire, after: Position, subject: str, wanted: int | None) -> None:
        self.last = after
        self._wire = wire
        self._every = subject == "evt.>"
        self._subject = subject
        self._left = wanted
        """How many more messages the reader wants in all; None for no end."""
        self._asked = 0
        """How many messages the server may still send on requests already made."""
        self._consumer = token_hex(8)
        self._streams: dict[bytes, StreamName] = {}

    @classmethod
    async def open(
        cls,
        login: Login,
        after: Position,
        at_least: Position,
        subject: str = "evt.>",
        wanted: int | None = None,
    ) -> "Reader":
        wire = await Wire.open(login)
        try:
            reader = cls(wire, after, subject, wanted)
            check_state(msgspec.json.decode(await wire.request(f"$JS.API.STREAM.INFO.{STREAM}")), at_least)
            await reader._make_consumer()
        except BaseException:
            wire.close()
            raise
        return reader

    async def _make_consumer(self) -> None:
        config = {
            "name": self._consumer,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self.last + 1,
            "ack_policy": "none",
            "inactive_threshold": int(2 * EXPIRES_S * _NS),
            "mem_storage": True,
            "num_replicas": 1,
        }
        subject = f"$JS.API.CONSUMER.CREATE.{STREAM}.{self._consumer}"
        # With a filter the server counts what is still to come before it sends the first: in a long log that takes a
        # third of a second, also where the filter holds nothing back.
        if not self._every:
            config["filter_subject"] = self._subject
            subject += f".{self._subject}"
        question = msgspec.json.encode({"stream_name": STREAM, "config": config})
        error = msgspec.json.decode(await self._wire.request(subject, question)).get("error")
        if error is not None:
            raise WireLost(f"no consumer: {error['description']}")

    def close(self) -> None:
        # Without a connection the server forgets the consumer by itself, after its inactive_threshold.
        with contextlib.suppress(WireLost):
            self._wire.publish(f"$JS.API.CONSUMER.DELETE.{STREAM}.{self._consumer}", b"", "gone")
        self._wire.close()

    def _pull(self) -> None:
        """Keeps between half of PULL and one and a half asked for, so that the server never waits for the reader."""
        more = PULL if self._left is None else min(PULL, self._left - self._asked)
        if more > 0 and self._asked <= PULL // 2:
            limits = {"expires": int(EXPIRES_S * _NS), "idle_heartbeat": int(HEARTBEAT_S * _NS)}
            request = msgspec.json.encode({"batch": more, **limits})
            self._wire.publish(f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{self._consumer}", request, "p")
            self._asked += more

    async def take(self) -> list[Recorded]:
        """What has arrived, in order; possibly nothing. Raises WireLost, TimeoutError, Gap, LogBroken."""
        self._pull()
        async with asyncio.timeout(SILENCE_S):
            frames = await self._wire.take()
        found = self._recorded(frames)
        self._asked -= len(found)
        if self._left is not None:
            self._left -= len(found)
        return found

    def _recorded(self, frames: Sequence[Frame]) -> list[Recorded]:
        """The hot loop of every start: one pass, nothing called that need not be."""
        found: list[Recorded] = []
        every, last, streams = self._every, self.last, self._streams
        for subject, reply, headers, payload in frames:
            if not reply:
                self.last = last
                self._hear(headers)
                continue
            words = reply.split(b".")
            # $JS.ACK.<stream>.<consumer>.<delivered>.<position>.…; some servers put a domain and an account hash first.
            position = Position(int(words[5] if len(words) == 9 else words[7]))
            if position != last + 1 and (every or position <= last):
                raise Gap(f"after position {last} came {position}")
            last = position
            name = subject[: subject.rindex(b".")]
            stream = streams.get(name)
            if stream is None:
                stream = self._named(name)
            try:
                event, meta = decode(payload)
            except CorruptMessage as error:
                raise LogBroken(f"position {position} of the log: {error}") from error
            found.append(Recorded(position, stream, event, meta))
        self.last = last
        return found

    def _named(self, name: bytes) -> StreamName:
        if len(self._streams) >= MOST_STREAMS:
            self._streams.clear()
        stream = self._streams[name] = stream_of(name.decode())
        return stream

    def _hear(self, headers: bytes) -> None:
        """A word from the server itself: a heartbeat, the end of a pull request, or the end of the consumer."""
        status = status_of(headers)
        if status == 100:
            sent = header(headers, "Nats-Last-Stream")
            if self._every and sent is not None and int(sent) > self.last:
                raise Gap(f"after position {self.last} nothing came, though {int(sent)} was sent")
        elif status == 408:
            self._asked -= int(header(headers, "Nats-Pending-Messages") or self._asked)
        elif status:
            raise WireLost(f"the server ended the reading: {headers[9:80].decode(errors='replace').strip()}")


def recorded(position: Position, subject: str, payload: bytes) -> Recorded:
    """Raises LogBroken."""
    try:
        return Recorded(position, stream_of(subject.rpartition(".")[0]), *decode(payload))
    except CorruptMessage as error:
        raise LogBroken(f"position {position} of the log: {error}") from error


def header(block: bytes, name: str) -> str | None:
    found = block.partition(f"\r\n{name}: ".encode())[2].partition(b"\r\n")[0]
    return found.decode() or None


def split_whole(events: Sequence[Recorded]) -> int:
    """How many of the events, from the first on, form whole decisions."""
    for count in range(len(events), 0, -1):
        meta = events[count - 1].meta
        if meta.index + 1 >= meta.count:
            return count
    return 0


async def follow(
    login: Login, after: Position, seen: Callable[[Position], Position], reach: Reach, grace_s: float
) -> AsyncIterator[tuple[Recorded, ...]]:
    """Every event after the position, for ever. `seen(p)` notes that p exists and gives the highest such position.

    `grace_s`: how long a missing or shorter stream may be a cluster that is still putting itself together. After a cut
    the last event is read again: the log may have been restored meanwhile, without it, and be longer than before.
    """
    me, last, held = object(), after, list[Recorded]()
    known: EventId | None = None
    pause_s, doubt, doubted_at = FIRST_PAUSE_S, Position(-1), None
    try:
        while True:
            reader: Reader | None = None
            try:
                again = known
                reader = await Reader.open(login, last if again is None else Position(last - 1), at_least=seen(last))
                reach.regained(me)
                while True:
                    arrived = await reader.take()
                    if again is not None and arrived:
                        _check_same(arrived[0], again)
                        arrived, again = arrived[1:], None
                    found = held + arrived
                    whole = split_whole(found)
                    held, last = found[whole:], max(last, reader.last)
                    if found:
                        pause_s, doubted_at, known = FIRST_PAUSE_S, None, found[-1].meta.id
                    if whole:
                        seen(last)
                        yield tuple(found[:whole])
            except Gap as gap:
                if doubt == last:
                    raise LogBroken(f"a hole in the log: {gap}, twice") from gap
                doubt = last
            except LogBroken:
                doubted_at = time.monotonic() if doubted_at is None else doubted_at
                if time.monotonic() - doubted_at >= grace_s:
                    raise
                reach.lost(me)
            except (OSError, LogUnavailable):
                reach.lost(me)
            finally:
                if reader is not None:
                    reader.close()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)
    finally:
        reach.regained(me)


def _check_same(recorded: Recorded, known: EventId) -> None:
    if recorded.meta.id != known:
        raise LogBroken(
            f"event {recorded.position} of the log is not the one that was read there: the log was restored without it,"
            " or replaced. Who starts again begins with what is there now"
        )


async def read(login: Login, after: Position, until: Position, subject: str) -> tuple[Recorded, ...]:
    """Events with after < position <= until under the subject; one of them must be known to be at `until` or later."""
    wanted = until - after if subject == "evt.>" else None
    reader = await Reader.open(login, after, until, subject, wanted)
    try:
        found: list[Recorded] = []
        beats = 0
        while reader.last < until:
            arrived = await reader.take()
            found += arrived
            beats = 0 if arrived else beats + 1
            if beats > MOST_BEATS:
                raise WireLost(f"nothing came after position {reader.last}, though {until} is there")
        return tuple(recorded for recorded in found if recorded.position <= until)
    except Gap as gap:
        raise LogBroken(f"a hole in the log: {gap}") from gap
    finally:
        reader.close()
