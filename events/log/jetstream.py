"""The log on JetStream: one stream, one message an event, one atomic batch a decision of several.

No blind append exists. Every decision carries the position that its aggregate must be at, so sending it again is
harmless: when an answer did not come it is sent again, and when it is then refused, the history itself says whether
it was there already.
"""

import asyncio
import ssl
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from secrets import token_hex
from typing import Any

import msgspec

from events.base import ORIGIN, Position, StreamName
from events.codec import Recorded, encode, event_type
from events.log import Ambiguous, Conflict, Draft, LogBroken, LogUnavailable, check_decision
from events.log import jetstream_checks as checks
from events.log import jetstream_reader as reader
from events.log.jetstream_checks import STREAM
from events.log.jetstream_link import Link, NoAnswer, NotSent, Outgoing, Reach
from events.log.nats_wire import Login
from events.log.subjects import subject_of

OUTAGE_S, CLUSTER_OUTAGE_S = 2.0, 8.0
"""How long to wait for a broker that is away before saying so: a restart takes about one second, an election five."""
CLUSTER_GRACE_S = 10.0
"""How long a missing or shorter stream may be a cluster that is still putting itself together."""
WRONG_LAST_POSITION, REPEATED_IDS, NO_MESSAGE = (10071, 10164), 10201, 10037


class JetStreamLog:
    """Made by `connect`, which checks everything first."""

    def __init__(self, login: Login, *, patience_s: float = 15.0, clustered: bool = False) -> None:
        self._login = login
        self._patience_s = patience_s
        """How long an append whose answer did not come goes on asking, before it is Ambiguous."""
        self._outage_s = CLUSTER_OUTAGE_S if clustered else OUTAGE_S
        self._grace_s = CLUSTER_GRACE_S if clustered else 0.0
        self._reach = Reach()
        self._link = Link(login, self._reach)
        self._highest = ORIGIN

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        replicas: int = 1,
        create: bool = False,
        at_least: Position = ORIGIN,
        monitor_url: str | None = None,
        patience_s: float = 15.0,
        reach_within_s: float | None = None,
    ) -> "JetStreamLog":
        """Connects and checks server, stream and durability; several URLs are separated by commas.

        `create`: this is the first start, the stream may be made. `at_least`: the log is known to reach this far.
        `monitor_url`: the servers' monitoring addresses, the only place that says whether they sync before they
        acknowledge.
        `reach_within_s`: how long a server that is away is waited for, if not `patience_s`.
        Raises LogUnavailable, and LogBroken for anything that a person has to put right.
        """
        login = Login(url=url, user=user, password=password, token=token, tls=tls)
        log = cls(login, patience_s=patience_s, clustered=replicas > 1)
        try:
            await log._start(replicas, create, at_least, monitor_url, reach_within_s or patience_s)
        except BaseException:
            await log.close()
            raise
        return log

    async def _start(
        self, replicas: int, create: bool, at_least: Position, monitor_url: str | None, reach_within_s: float
    ) -> None:
        answer = await self._ask("STREAM.INFO", patience_s=reach_within_s)
        checks.check_version(self._link.server_version)
        if monitor_url is not None:
            await checks.check_sync(monitor_url)
        if checks.may_create(answer, create, at_least):
            answer = await self._ask("STREAM.CREATE", checks.stream_config(replicas), self._patience_s)
        self._highest = checks.check_state(answer, at_least)
        checks.check_config(answer["config"], replicas)

    async def close(self) -> None:
        await self._link.close()

    @property
    def stale_since(self) -> float | None:
        return self._reach.away_since

    async def append(self, stream: StreamName, drafts: tuple[Draft, ...], expected: Position) -> Position:
        check_decision(stream, drafts)
        started, pause_s, unanswered = time.monotonic(), 0.05, False
        while True:
            try:
                answer = await self._link.ask(*outgoing(stream, drafts, expected))
                error = answer.get("error")
                if error is None:
                    return self._seen(Position(answer["seq"]))
                code, problem = error["err_code"], str(error["description"])
                if code in WRONG_LAST_POSITION or code == REPEATED_IDS:
                    unanswered = True
                    return await self._settle(stream, drafts, expected)
            except NotSent as reason:
                problem = str(reason)
            except (NoAnswer, LogUnavailable) as reason:
                problem, unanswered = str(reason), True
            waited_s = time.monotonic() - started
            if waited_s + pause_s > (self._patience_s if unanswered else self._outage_s):
                raise Ambiguous(problem) if unanswered else LogUnavailable(problem)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 1.0)

    async def _settle(self, stream: StreamName, drafts: tuple[Draft, ...], expected: Position) -> Position:
        """After a refusal: the position of the same events if they are there already, else Conflict, or NoAnswer."""
        actual = await self._last_of(stream)
        wanted = drafts[-1][1].id
        for recorded in await self.read(ORIGIN, actual, stream):
            if recorded.meta.id == wanted:
                return recorded.position
        if actual == expected:
            # Refused for an event that is on its way into the log: perhaps our own. Only time tells.
            raise NoAnswer(f"{stream} refused a decision at {expected}, though it still is there")
        raise Conflict(stream, expected, actual)

    async def _last_of(self, stream: StreamName) -> Position:
        answer = await self._ask("STREAM.MSG.GET", {"last_by_subj": f"{subject_of(stream)}.>"})
        error = answer.get("error")
        if error is None:
            return self._seen(Position(answer["message"]["seq"]))
        if error["err_code"] == NO_MESSAGE:
            return ORIGIN
        raise LogUnavailable(str(error["description"]))

    async def _ask(self, name: str, question: dict[str, Any] | None = None, patience_s: float | None = None) -> Any:
        """The answer to a question that may be asked twice: it is asked until there is an answer."""
        until = time.monotonic() + (self._outage_s if patience_s is None else patience_s)
        while True:
            try:
                return await self._link.ask(_api(name, question))
            except (NotSent, NoAnswer) as error:
                if time.monotonic() > until:
                    raise LogUnavailable(str(error)) from error
                await asyncio.sleep(0.05)

    async def read(
        self, after: Position = ORIGIN, until: Position | None = None, stream: StreamName | None = None
    ) -> tuple[Recorded, ...]:
        one = stream is None and until == after + 1
        try:
            if one and after < self._highest:
                return (await self._one(Position(after + 1)),)
            head = await (self.head() if stream is None else self._last_of(stream))
            end = head if until is None else min(until, head)
            if end <= after:
                return ()
            if one:
                return (await self._one(end),)
            subject = "evt.>" if stream is None else f"{subject_of(stream)}.>"
            return await reader.read(self._login, after, end, subject)
        except OSError as error:
            raise LogUnavailable(str(error) or type(error).__name__) from error

    async def _one(self, position: Position) -> Recorded:
        """One event that is known to be there: a question and an answer, where a reader would need a connection."""
        answer = await self._ask("STREAM.MSG.GET", {"seq": position})
        error = answer.get("error")
        if error is None:
            message = answer["message"]
            return reader.recorded(position, message["subject"], b64decode(message.get("data", "")))
        await self.head()  # Says so if the log as a whole is not what it was.
        if error["err_code"] == NO_MESSAGE:
            raise LogBroken(f"a hole in the log: position {position} is missing, or the server cannot read it")
        raise LogUnavailable(str(error["description"]))

    async def head(self) -> Position:
        at_least, until = self._highest, time.monotonic() + self._grace_s
        while True:
            try:
                return self._seen(checks.check_state(await self._ask("STREAM.INFO"), at_least))
            except LogBroken:
                if time.monotonic() >= until:
                    raise
                await asyncio.sleep(0.2)

    def follow(self, after: Position) -> AsyncIterator[tuple[Recorded, ...]]:
        return reader.follow(self._login, after, self._seen, self._reach, self._grace_s)

    def _seen(self, position: Position) -> Position:
        """Notes that the log reaches this far: it can never be shorter again."""
        self._highest = max(self._highest, position)
        return position


def _api(name: str, question: dict[str, Any] | None = None) -> Outgoing:
    return f"$JS.API.{name}.{STREAM}", {}, msgspec.json.encode(question) if question else b""


def outgoing(stream: StreamName, drafts: tuple[Draft, ...], expected: Position) -> tuple[Outgoing, ...]:
    """The messages of one decision: subject, CloudEvents headers (binary mode), and what guards the append."""
    subject = subject_of(stream)
    batch = f"{drafts[0][1].id}-{token_hex(4)}"
    messages: list[Outgoing] = []
    for number, (event, meta) in enumerate(drafts, 1):
        headers = {
            "Nats-Msg-Id": meta.id,
            "ce-specversion": "1.0",
            "ce-id": meta.id,
            "ce-source": "causeway",
            "ce-type": event_type(event),
            "ce-subject": subject[4:],
            "ce-time": meta.at.isoformat(),
            "content-type": "application/json",
        }
        if number == 1:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(expected)
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = f"{subject}.>"
        if len(drafts) > 1:
            headers |= {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            if number == len(drafts):
                headers["Nats-Batch-Commit"] = "1"
        messages.append((f"{subject}.{event_type(event)}", headers, encode(event, meta)))
    return tuple(messages)
