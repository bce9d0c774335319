"""What pages are made from: the folds of a running plane and its log, or a capsule's.

Rows of events come from the audit trail. Without it they are found in the newest part of the log itself, and the page
says so: it shows less, but nothing wrong.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from events.base import ORIGIN, DeploymentId, Position, WebhookId
from events.codec import Recorded
from events.log import LogUnavailable
from events.signals.deliveries import Attempt, Deliveries, DeliveriesUnavailable, Place
from events.signals.load_history import LoadHistory, LoadsUnavailable
from events.signals.load_history import Moment as Load
from events.signals.log_lines import LogFiles
from events.weights import ManifestId
from gateway.dashboard.moment import Moment, World
from gateway.dashboard.recorded import recorded
from gateway.numbers import whole
from projections.audit import AuditQuery, AuditRow, RefusedRow, audit_row, wanted
from projections.base import Projection, fold
from projections.deployments import DEPLOYMENTS
from projections.environments import ENVIRONMENTS
from projections.fleet import FLEET
from projections.stores.audit import AuditStore, AuditUnavailable
from projections.webhooks import WEBHOOKS, Webhooks
from projections.weights import WEIGHTS, Weights

Past = Callable[[Sequence[Projection[Any]], Position], Awaitable[tuple[Any, ...]]]
"""The states of several folds at a position, in their order, for the caller to keep."""
Files = Callable[[ManifestId], Awaitable[Sequence["File"]]]
"""Of a manifest, in the order in which they are fetched. Raises FilesUnknown."""
SEARCHED, PIECE = 5000, 500
"""Events of the log that are looked through without an audit trail, and at a time."""
NEAR = 256
OF_WEBHOOKS, WEBHOOK_ROWS, ATTEMPTS = ("Webhook*", "DeliveryGivenUp", "Redelivery*"), 5000, 25
AUDIT_DEADLINE_S, LOADS_DEADLINE_S, DELIVERIES_DEADLINE_S, FILES_DEADLINE_S = 5.0, 3.0, 3.0, 10.0
T = TypeVar("T")


class Refusal(Exception):
    """A page that cannot be shown, and why."""

    def __init__(self, status: int, message: str, entity: str = "") -> None:
        """`entity`: what is not there, whose events may tell what became of it."""
        super().__init__(message)
        self.status, self.entity = status, entity


class File(msgspec.Struct, frozen=True):
    """One of a manifest's."""

    path: str
    bytes: int
    chunks: int


class FilesUnknown(Exception):
    """The files of a manifest cannot be told, and why."""


class Found(msgspec.Struct, frozen=True):
    rows: tuple[AuditRow, ...]
    note: str = ""
    """What is to be known about them; empty: they are all that there is."""


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    now: Callable[[], datetime]
    catch_up: Callable[[], Awaitable[None]]
    """Sees what was written until now."""
    world: Callable[[], World]
    """Of now."""
    weights: Callable[[], Weights]
    """Of now."""
    head: Callable[[], Position]
    past: Past
    read: Callable[[Position, Position], Awaitable[Sequence[Recorded]]]
    """Events after a position up to another. Raises LogUnavailable."""
    key_name: Callable[[str], str] = lambda key_id: ""
    """Of the keys of now."""
    stale_for_s: Callable[[], float | None] = lambda: None
    audit: AuditStore | None = None
    logs: LogFiles | None = None
    loads: Callable[[], AbstractAsyncContextManager[LoadHistory]] | None = None
    """Raises LoadsUnavailable."""
    files: Files | None = None
    webhooks: Callable[[], Webhooks] | None = None
    """Of now; None: they are found among the events."""
    deliveries: Deliveries | None = None
    beginning: Position = ORIGIN
    source: str = ""
    """The file that is shown; empty: a running plane."""

    async def moment(self, asked: str | None) -> Moment:
        """`asked`: a position as text; empty for the present."""
        await self.catch_up()
        head = self.head()
        position = head
        if asked:
            number = whole(asked)
            if number is None or not self.beginning <= number <= head:
                where = f"a position from {self.beginning} to {head}, where the log ends"
                raise Refusal(400, f"at must be {where}, not {asked[:40]!r}")
            position = Position(number)
        return Moment(
            position=position,
            head=head,
            fixed=bool(asked),
            at=await self._time_of(position),
            now=self.now(),
            beginning=self.beginning,
            source=self.source,
            stale_for_s=self.stale_for_s(),
            label=self.world().label,
            key_name=self.key_name,
        )

    async def last_by(self, time: datetime) -> Position:
        """The last position at that time. Clocks of several machines may differ: a few events around it are asked."""
        await self.catch_up()
        early, late = self.beginning, Position(self.head() + 1)
        try:
            while late - early > 1:
                middle = Position((early + late) // 2)
                event = await self.one(middle)
                early, late = (middle, late) if event is not None and event.meta.at <= time else (early, middle)
            near = await self.read(early, Position(min(self.head(), early + NEAR)))
        except LogUnavailable as away:
            raise Refusal(503, f"the log, which knows what happened when, is away: {away}") from away
        return max((each.position for each in near if each.meta.at <= time), default=early)

    async def _time_of(self, position: Position) -> datetime | None:
        try:
            event = await self.one(position)
        except LogUnavailable:
            return None
        return None if event is None else event.meta.at

    async def world_at(self, moment: Moment) -> World:
        if not moment.fixed:
            return self.world()
        return World(*await self.at((DEPLOYMENTS, ENVIRONMENTS, FLEET), moment.position))

    async def weights_at(self, moment: Moment) -> Weights:
        if not moment.fixed:
            return self.weights()
        (found,) = await self.at((WEIGHTS,), moment.position)
        known: Weights = found
        return known

    async def webhooks_at(self, moment: Moment) -> tuple[Webhooks, str]:
        """With what is to be known about them, as of `Found`."""
        if self.webhooks is not None and not moment.fixed:
            return dict(self.webhooks()), ""
        query = AuditQuery(types=OF_WEBHOOKS, until_position=moment.position, newest=True, limit=WEBHOOK_ROWS)
        found = await self.rows(query)
        note = found.note
        if len(found.rows) == WEBHOOK_ROWS:
            note = f"Told from the last {WEBHOOK_ROWS} events about webhooks. {note}".strip()
        return fold(WEBHOOKS, recorded(found.rows)), note

    async def place(self, webhook_id: WebhookId, moment: Moment) -> Place | None:
        try:
            async with asyncio.timeout(DELIVERIES_DEADLINE_S):
                return None if self.deliveries is None or moment.fixed else await self.deliveries.place(webhook_id)
        except (DeliveriesUnavailable, TimeoutError):
            return None

    async def attempts(self, webhook_id: WebhookId, moment: Moment) -> Sequence[Attempt] | None:
        """The newest first; None: nobody can say."""
        try:
            if self.deliveries is None or moment.fixed:
                return None
            async with asyncio.timeout(DELIVERIES_DEADLINE_S):
                return await self.deliveries.attempts(webhook_id, ATTEMPTS)
        except (DeliveriesUnavailable, TimeoutError):
            return None

    async def at(self, projections: Sequence[Projection[Any]], position: Position) -> tuple[Any, ...]:
        try:
            return await self.past(projections, position)
        except LogUnavailable as away:
            raise Refusal(503, f"the log, which past states are folded from, is away: {away}") from away

    async def one(self, position: Position) -> Recorded | None:
        if position <= self.beginning:
            return None
        found = await self.read(Position(position - 1), position)
        return found[0] if found else None

    async def rows(self, query: AuditQuery) -> Found:
        try:
            reached = await _in_time(self._trail.position())
            found = await self.done(query)
        except AuditUnavailable as away:
            return await self._rows_of_log(query, f"the audit trail is away ({away})")
        return await self._with_newer(query, found, reached)

    async def _with_newer(self, query: AuditQuery, found: tuple[AuditRow, ...], reached: Position) -> Found:
        """What the trail does not have yet is read from the log itself."""
        until = self._until(query)
        if reached >= until:
            return Found(found)
        why = f"the audit trail has come to position {reached} only"
        rest = msgspec.structs.replace(query, after=Position(max(query.after, reached)))
        newer = await self._rows_of_log(rest, why)
        rows = (*(row for row in found if row.position <= reached), *newer.rows)
        kept = rows[-query.limit :] if query.newest else rows[: query.limit]
        return Found(kept, newer.note if until - reached > SEARCHED else "")

    def _until(self, query: AuditQuery) -> Position:
        return self.head() if query.until_position is None else min(query.until_position, self.head())

    async def _rows_of_log(self, query: AuditQuery, why: str) -> Found:
        until = self._until(query)
        last, rows, matches = (
            Position(max(query.after, until - SEARCHED, self.beginning)),
            list[AuditRow](),
            wanted(query),
        )
        note = f"{why}: shown from the log itself"
        if last > max(query.after, self.beginning):
            note += f", of which the {until - last} events up to position {until} were looked through"
        try:
            while until > last and len(rows) < query.limit:
                after = Position(max(last, until - PIECE))
                found = map(audit_row, await self.read(after, until))
                rows = [row for row in found if matches(row)] + rows
                until = after
        except LogUnavailable as away:
            raise Refusal(503, f"{why}, and so is the log: {away}") from away
        return Found(tuple(rows[-query.limit :] if query.newest else rows[: query.limit]), note)

    async def done(self, query: AuditQuery) -> tuple[AuditRow, ...]:
        """Of the audit trail alone. Raises AuditUnavailable."""
        return await _in_time(self._trail.page(query))

    async def behind(self) -> int:
        """How many events the audit trail does not have yet. Raises AuditUnavailable."""
        return max(0, self.head() - await _in_time(self._trail.position()))

    async def refused(self, query: AuditQuery) -> tuple[RefusedRow, ...]:
        """Raises AuditUnavailable."""
        return await _in_time(self._trail.page_refused(query))

    @property
    def _trail(self) -> AuditStore:
        if self.audit is None:
            raise AuditUnavailable("this plane keeps none")
        return self.audit

    async def files_of(self, manifest_id: ManifestId) -> Sequence[File]:
        """Raises FilesUnknown."""
        if self.files is None:
            raise FilesUnknown(f"{self.source or 'this plane'} holds no weights themselves")
        try:
            async with asyncio.timeout(FILES_DEADLINE_S):
                return await self.files(manifest_id)
        except TimeoutError as late:
            raise FilesUnknown(f"the blob store gave no answer within {FILES_DEADLINE_S:g} s") from late

    async def load(self, deployment_id: DeploymentId, since: datetime, until: datetime) -> list[Load] | None:
        """None: nobody can say."""
        if self.loads is None:
            return None
        try:
            async with asyncio.timeout(LOADS_DEADLINE_S), self.loads() as history:
                return await history.read(deployment_id, since.timestamp(), until.timestamp())
        except (LoadsUnavailable, TimeoutError):
            return None


async def _in_time(asked: Awaitable[T]) -> T:
    """Who looks at a page does not wait for as long as a store may take."""
    try:
        async with asyncio.timeout(AUDIT_DEADLINE_S):
            return await asked
    except TimeoutError as late:
        raise AuditUnavailable(f"no answer within {AUDIT_DEADLINE_S:g} s") from late
