"""One webhook at work: reads what it wants from the feed, sends it, keeps its place.

It shares nothing with other webhooks but the feed, which waits for nobody. What has not been noted yet when the process
dies is sent again.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog

from events.base import Actor, CommandId, EventId, Position, derive
from events.codec import Recorded, event_type
from events.log import LogUnavailable
from events.log.feed import Feed
from events.log.losses import taken_back, unknown_to
from events.seal import LossAccepted
from events.signals.deliveries import Attempt, Deliveries, DeliveriesUnavailable, Note, Place
from gateway.webhooks.lanes import Job, Lanes, Policy
from gateway.webhooks.post import Answer
from handlers.base import Command, Refused
from handlers.deciders.webhook import GiveUpDelivery, ReportRedelivery
from handlers.dispatch import Contended, Dispatch
from projections.selection import Selection, selects
from projections.webhooks import Webhook

_log = structlog.get_logger()
T = TypeVar("T")
Post = Callable[[str, str, Recorded, int, float], Awaitable[Answer]]

NOTE_EVERY_S, QUIET_NOTE_EVERY_S = 0.25, 10.0
RETRY_S = 1.0
ATTEMPTS_IN_NOTE = 200
UNNOTED_MAX = 2000
NEVER_SENT = frozenset(("DeliveryGivenUp", "RedeliveryRequested", "RedeliverySucceeded"))
"""About deliveries: sending them would make more of them. Other subscribers get them."""


class Delivery:
    def __init__(
        self,
        webhook: Webhook,
        secret: str,
        *,
        feed: Feed,
        deliveries: Deliveries,
        dispatch: Dispatch,
        post: Post,
        rng: random.Random,
        policy: Policy,
    ) -> None:
        self._webhook, self._secret = webhook, secret
        self._feed, self._deliveries, self._dispatch, self._post = feed, deliveries, dispatch, post
        self._rng, self._policy = rng, policy
        self._wanted = selects(Selection(webhook.types, webhook.entities))
        self._lanes = Lanes(policy)
        self._asked_for: set[tuple[Position, int]] = set()
        self._read_to = self._noted_to = webhook.after
        self._losses: tuple[EventId, ...] = ()
        """That were read."""
        self._told_of: frozenset[EventId] = frozenset()
        """Losses that it is told of, whatever it selects: they took its place back."""
        self._attempts: list[Attempt] = []
        self._waits: str | None = None
        self._woken, self._room, self._unnoted = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def changed(self, webhook: Webhook) -> None:
        """It was moved, or dead letters were asked for again."""
        if webhook.url != self._webhook.url:
            self._lanes.at_once()
        self._webhook = webhook
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled. Raises LogBroken."""
        await self._resume()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read())
                tasks.create_task(self._keep_notes())
                tasks.create_task(self._send(tasks))
        finally:
            await self._note()

    async def _resume(self) -> None:
        me = self._webhook.webhook_id
        place = await patiently(lambda: self._deliveries.place(me))
        losses = await patiently(self._feed.losses)
        if place is None:
            self._losses = tuple(each.meta.id for each in losses if each.position <= self._read_to)
            return
        unknown = unknown_to(place.read_to, place.losses, losses)
        read_to = taken_back(place.read_to, unknown)
        self._read_to = self._noted_to = read_to
        self._losses, self._told_of = place.losses, frozenset(each.meta.id for each in unknown)
        gone = [each.position for each in place.open if each.position > read_to]
        if unknown:
            _log.error("a webhook had read what the log has lost, and goes on before it", webhook=me,
                       had_read_to=place.read_to, goes_on_after=read_to, never_delivered=gone)  # fmt: skip
        for each in place.open:
            if each.position <= read_to:
                self._lanes.add(Job(await self._event(each.position), each.attempts))

    async def _event(self, position: Position) -> Recorded:
        return await patiently(lambda: self._feed.one(position))

    async def _read(self) -> None:
        """Looks through the log as far as there is room for what it finds."""
        while True:
            while not self._lanes.room:
                self._room.clear()
                await self._room.wait()
            batch = await patiently(lambda: self._feed.after(self._read_to))
            for recorded in batch:
                if isinstance(recorded.event, LossAccepted):
                    self._losses = (*self._losses, recorded.meta.id)
                if recorded.meta.id in self._told_of or (
                    event_type(recorded.event) not in NEVER_SENT and self._wanted(recorded)
                ):
                    self._lanes.add(Job(recorded))
            self._read_to = batch[-1].position
            self._woken.set()

    async def _send(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._woken.clear()
            await self._ask_again()
            now = time.monotonic()
            while (job := self._lanes.take(now)) is not None:
                tasks.create_task(self._deliver(job))
            next_at = self._lanes.next_at()
            # What is due and yet was not taken waits for one that is under way, which wakes us when it ends.
            pause_s = None if next_at is None or next_at <= now else next_at - now
            try:
                async with asyncio.timeout(pause_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _ask_again(self) -> None:
        for letter in [each for each in self._webhook.dead.values() if each.waiting]:
            key = (letter.position, letter.asked)
            if key not in self._asked_for:
                self._asked_for.add(key)
                self._lanes.add(Job(await self._event(letter.position), asked=letter.asked))

    async def _deliver(self, job: Job) -> None:
        started = time.monotonic()
        number = job.attempts + 1
        answer = await self._post(self._webhook.url, self._secret, job.recorded, number, self._policy.deadline_s)
        now = time.monotonic()
        self._attempts.append(_attempt(job, number, answer, now - started))
        match answer.result:
            case "delivered":
                if job.asked:
                    await self._say(ReportRedelivery(**self._ids("redelivered", job), attempts=number))
                self._lanes.settled(job)
            case "away":
                self._lanes.away(job, now, self._rng.random(), answer.retry_after_s)
            case "failed":
                if not self._lanes.failed(job, now, self._rng.random()):
                    told: dict[str, Any] = {
                        "event_id": job.recorded.meta.id,
                        "attempts": number,
                        "reason": answer.reason,
                    }
                    await self._say(GiveUpDelivery(**self._ids("given up", job), **told))
                    self._lanes.dropped(job)
        self._waits = answer.reason if self._lanes.paused(time.monotonic()) else None
        for event in (self._unnoted, self._woken, self._room):
            event.set()

    def _ids(self, what: str, job: Job) -> dict[str, Any]:
        meta, me = job.recorded.meta, self._webhook.webhook_id
        return {
            "id": CommandId(derive(what, me, job.recorded.position, job.asked, length=24)),
            "actor": Actor(f"webhook:{me}", "internal"),
            "correlation_id": meta.correlation_id,
            "causation_id": meta.id,
            "webhook_id": me,
            "position": job.recorded.position,
        }

    async def _say(self, command: Command) -> None:
        """On record, whatever it takes; unless there is no such webhook any more."""
        while True:
            try:
                await patiently(lambda: self._dispatch(command))
                return
            except Refused as refused:
                if refused.kind == "not_found":
                    return
                _log.error("not recorded", command=type(command).__name__, reason=refused.reason, retry_in_s=RETRY_S)
                await asyncio.sleep(RETRY_S)

    async def _keep_notes(self) -> None:
        while True:
            try:
                async with asyncio.timeout(QUIET_NOTE_EVERY_S):
                    await self._unnoted.wait()
            except TimeoutError:
                if self._read_to == self._noted_to:
                    continue
            await asyncio.sleep(NOTE_EVERY_S)
            if not await self._note():
                await asyncio.sleep(RETRY_S)

    async def _note(self) -> bool:
        """Where it stands, and the attempts since the last note. False: the store is away; all of it is noted later."""
        self._unnoted.clear()
        attempts = self._attempts[:ATTEMPTS_IN_NOTE]
        open_now = self._lanes.open
        full = None if self._lanes.room else f"{len(open_now)} events are open: the log is read no further"
        place = Place(self._read_to, open_now, self._waits or full, self._losses)
        try:
            await self._deliveries.keep(self._webhook.webhook_id, Note(place, tuple(attempts)))
        except DeliveriesUnavailable as away:
            _log.warning("not noted", webhook=self._webhook.webhook_id, why=str(away))
            del self._attempts[:-UNNOTED_MAX]
            self._unnoted.set()
            return False
        del self._attempts[: len(attempts)]
        self._noted_to = place.read_to
        if self._attempts:
            self._unnoted.set()
        return True


async def patiently(question: Callable[[], Awaitable[T]]) -> T:
    """Asked until it is answered."""
    while True:
        try:
            return await question()
        except (LogUnavailable, DeliveriesUnavailable, Contended) as away:
            _log.warning("webhooks wait", why=str(away), retry_in_s=RETRY_S)
            await asyncio.sleep(RETRY_S)


def _attempt(job: Job, number: int, answer: Answer, seconds: float) -> Attempt:
    recorded = job.recorded
    return Attempt(
        position=recorded.position,
        event_id=recorded.meta.id,
        type=event_type(recorded.event),
        at=time.time(),
        number=number,
        result=answer.result,
        status=answer.status,
        reason=answer.reason,
        seconds=seconds,
    )
