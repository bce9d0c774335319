"""What each page needs, fetched, and the page made from it."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from events.base import DeploymentId, ModelId, Position, WebhookId
from events.codec import Recorded
from events.log import LogUnavailable
from events.signals.log_lines import BUILD, LEVELS, Level, LogFiles, LogLine
from events.weights import ManifestId
from gateway.dashboard import (
    audit_page,
    deployment_page,
    environments_page,
    events_page,
    logs_page,
    plane_page,
    webhooks_page,
    weights_page,
)
from gateway.dashboard.changes import changes
from gateway.dashboard.chart import story
from gateway.dashboard.logs_page import LINES
from gateway.dashboard.markup import Markup
from gateway.dashboard.moment import Moment, World
from gateway.dashboard.recorded import recorded
from gateway.dashboard.sources import File, FilesUnknown, Found, Refusal, Sources
from gateway.numbers import whole
from projections.audit import AuditQuery, audit_row
from projections.base import Projection, fold
from projections.cold_starts import COLD_STARTS
from projections.deployments import DEPLOYMENTS, Deployment
from projections.diff import Change
from projections.environments import ENVIRONMENTS
from projections.fleet import FLEET
from projections.replica_targets import REPLICA_TARGETS
from projections.routing import ROUTING
from projections.selection import no_such_type
from projections.stores.audit import AuditUnavailable
from projections.weights import Weights

ROWS, ENTITY_ROWS, FAMILY_ROWS = 100, 1000, 500
DIFFED: tuple[Projection[Any], ...] = (DEPLOYMENTS, ENVIRONMENTS, FLEET, ROUTING, REPLICA_TARGETS)
Page = tuple[str, Markup]
"""A title and what stands below it."""
Asked = Mapping[str, str]
Word = TypeVar("Word", bound=str)
"""The query, without what is empty."""


class Board:
    def __init__(self, sources: Sources) -> None:
        self.sources = sources

    async def plane(self, moment: Moment, asked: Asked) -> Page:
        return "Plane", plane_page.plane(await self.sources.world_at(moment), asked.get("find", ""), moment)

    async def found(self, deployment_id: str, moment: Moment) -> tuple[World, Deployment]:
        world = await self.sources.world_at(moment)
        found = world.catalogue.deployments.get(DeploymentId(deployment_id))
        if found is None:
            raise Refusal(
                404, f"there is no deployment {deployment_id[:80]} at position {moment.position}", deployment_id
            )
        return world, found

    async def deployment(self, deployment_id: str, moment: Moment, asked: Asked) -> Page:
        world, found = await self.found(deployment_id, moment)
        span = _one_of("span", asked, deployment_page.SPANS, "1h")
        begin = deployment_page.begin_of(span, moment)
        events = await self.about(deployment_id, moment)
        if len(events.rows) == ENTITY_ROWS and events.rows[0].at > begin:
            begin = events.rows[0].at
        told = story(events.rows, begin, found.count("ready"), found.target)
        loads = await self.sources.load(found.deployment_id, begin, moment.until)
        starts = fold(COLD_STARTS, recorded(events.rows)).starts.get(found.deployment_id, {})
        shown = deployment_page.Shown(span, begin, told, loads, starts, events)
        return found.name, deployment_page.deployment(world, found, shown, moment)

    async def about(self, entity: str, moment: Moment) -> Found:
        """The newest events that name the entity, up to the moment."""
        query = AuditQuery(entity=entity, until_position=moment.position, newest=True, limit=ENTITY_ROWS)
        return await self.sources.rows(query)

    async def logs(self, deployment_id: str, moment: Moment, asked: Asked) -> Page:
        world, found = await self.found(deployment_id, moment)
        files = self.sources.logs
        if files is None:
            raise Refusal(404, f"{moment.source or 'this plane'} holds no log lines")
        sources = files.sources(found.deployment_id)
        lines = await asyncio.to_thread(self._lines, files, found.deployment_id, sources, moment, asked)
        return f"Logs of {found.name}", logs_page.logs(world, found, lines[::-1], sources, asked, moment)

    @staticmethod
    def _lines(
        files: LogFiles, deployment_id: DeploymentId, sources: Sequence[str], moment: Moment, asked: Asked
    ) -> list[LogLine]:
        """The newest first. A replica that has not written yet has no file, and no lines."""
        level, source = level_of(asked), asked.get("source")
        if source is not None and source not in sources:
            return []
        return files.query(
            deployment_id,
            end_ns=_end_ns(moment),
            min_level=level,
            source=source,
            contains=asked.get("contains", ""),
            limit=LINES,
        )

    async def events(self, moment: Moment, asked: Asked) -> Page:
        query = self._query(asked, until_position=moment.position, limit=ROWS)
        unknown = no_such_type(query.types)
        if unknown is not None:
            found = Found((), f"There is no event type {unknown[0]!r}; {unknown[1]}")
        else:
            found = await self.sources.rows(query)
        return "Events", events_page.events(found, asked, ROWS, moment)

    async def event(self, position: str, moment: Moment, asked: Asked) -> Page:
        at = Position(whole(position) or 0)
        try:
            event = await self.sources.one(at) if self.sources.beginning < at <= moment.head else None
        except LogUnavailable as away:
            raise Refusal(503, f"the log, which events are read from, is away: {away}") from away
        if event is None:
            first = self.sources.beginning + 1
            raise Refusal(404, f"there is no event at position {position[:40]}: they go from {first} to {moment.head}")
        related = await self._related(event, moment)
        shown = events_page.OneEvent(audit_row(event), await self._changes(event), related)
        return f"#{at} {shown.row.type}", events_page.event(shown, moment)

    async def _related(self, event: Recorded, moment: Moment) -> Found:
        """Cause and effect have one correlation. Of a long chain, what lies around the event."""
        until = moment.position if moment.fixed and moment.position >= event.position else None
        one, at = event.meta.correlation_id, event.position
        before, after = await asyncio.gather(
            self.sources.rows(
                AuditQuery(correlation=one, until_position=Position(at - 1), newest=True, limit=FAMILY_ROWS)
            ),
            self.sources.rows(AuditQuery(correlation=one, after=at, until_position=until, limit=FAMILY_ROWS)),
        )
        return Found((*before.rows, audit_row(event), *after.rows), before.note or after.note)

    async def _changes(self, event: Recorded) -> dict[str, tuple[Change, ...]]:
        states = await self.sources.at(DIFFED, Position(event.position - 1))
        return {
            projection.name: changes(projection, state, event)
            for projection, state in zip(DIFFED, states, strict=True)
        }  # fmt: skip

    def _query(self, asked: Asked, **place: Any) -> AuditQuery:
        entity, since, until = asked.get("entity"), asked.get("since"), asked.get("until")
        return AuditQuery(
            types=tuple(each.strip() for each in asked.get("types", "").split(",") if each.strip()),
            entity=None if entity is None else self.sources.world().id_of(entity.strip()),
            actor=asked.get("actor"),
            correlation=asked.get("correlation"),
            since=None if since is None else time_of("since", since),
            until=None if until is None else time_of("until", until),
            newest=True,
            **place,
        )

    async def audit(self, moment: Moment, asked: Asked) -> Page:
        what = _one_of("what", asked, audit_page.WHATS, "done")
        filters = {name: value for name, value in asked.items() if name != "what"}
        given = filters.get("before")
        before = None if given is None else whole(given)
        if given is not None and before is None:
            raise Refusal(400, f"before must be a number, not {given[:40]!r}")
        # Refused commands have no position in the log: at a past moment they are found by the time of it.
        place: dict[str, Any] = {} if before is None else {"until_position": Position(before - 1)}
        if what == "done":
            place = {"until_position": min(moment.position, place.get("until_position", moment.position))}
        query = self._query(filters, **place, limit=ROWS)
        try:
            if what == "done":
                behind, found = await self.sources.behind(), await self.sources.done(query)
                return "Audit", audit_page.audit(found, what, filters, ROWS, moment, behind)
            if moment.fixed:
                query = _until(query, moment)
            return "Audit", audit_page.audit(await self.sources.refused(query), what, filters, ROWS, moment)
        except AuditUnavailable as away:
            return "Audit", audit_page.away(str(away), what, filters, moment)

    async def webhooks(self, moment: Moment, asked: Asked) -> Page:
        known, note = await self.sources.webhooks_at(moment)
        found = await asyncio.gather(*(self.sources.place(each, moment) for each in known))
        places = {each: place for each, place in zip(known, found, strict=True) if place is not None}
        return "Webhooks", webhooks_page.webhooks(known, places, note, moment)

    async def webhook(self, webhook_id: str, moment: Moment, asked: Asked) -> Page:
        known, note = await self.sources.webhooks_at(moment)
        found = known.get(WebhookId(webhook_id))
        if found is None:
            raise Refusal(404, f"there is no webhook {webhook_id[:80]} at position {moment.position}", webhook_id)
        one = found.webhook_id
        place, attempts = await self.sources.place(one, moment), await self.sources.attempts(one, moment)
        shown = webhooks_page.Shown(found, place, attempts, await self.about(one, moment))
        return f"Webhook {found.url}", webhooks_page.webhook(shown, note, moment)

    async def environments(self, moment: Moment, asked: Asked) -> Page:
        world = await self.sources.world_at(moment)
        return "Environments", environments_page.environments(world, asked.get("find", ""), moment)

    async def environment(self, model_id: str, name: str, moment: Moment, asked: Asked) -> Page:
        world = await self.sources.world_at(moment)
        place = world.environments.of(ModelId(model_id)).get(name)
        if place is None:
            where = f"of model {model_id[:80]} at position {moment.position}"
            raise Refusal(404, f"there is no environment {name[:80]} {where}", f"{model_id}-{name}")
        found = await self.about(f"{model_id}-{name}", moment)
        title = f"{world.model_name(place.model_id)}/{name}"
        return title, environments_page.environment(world, place, found, moment)

    async def weights(self, moment: Moment, asked: Asked) -> Page:
        world, found = await self.sources.world_at(moment), await self.sources.weights_at(moment)
        said = await asyncio.to_thread(self._progress, found, moment)
        return "Weights", weights_page.weights(world, found, said, asked.get("find", ""), moment)

    def _progress(self, found: Weights, moment: Moment) -> Mapping[tuple[DeploymentId, str], LogLine]:
        """The last that was printed about what is being mirrored, by deployment and source."""
        files = self.sources.logs
        if files is None:
            return {}
        lines = {
            (deployment_id, pin.source): files.query(
                deployment_id, end_ns=_end_ns(moment), source=BUILD, contains=f"weights {pin.source}:", limit=1
            )
            for deployment_id, pin in weights_page.under_way(found)
        }
        return {key: found[-1] for key, found in lines.items() if found}

    async def manifest(self, manifest_id: str, moment: Moment, asked: Asked) -> Page:
        world, found = await self.sources.world_at(moment), await self.sources.weights_at(moment)
        known = found.mirrored.get(ManifestId(manifest_id))
        if known is None:
            raise Refusal(404, f"nothing was mirrored under manifest {manifest_id[:80]} up to {moment.position}")
        files: Sequence[File] | str
        try:
            files = await self.sources.files_of(known.manifest_id)
        except FilesUnknown as unknown:
            files = str(unknown)
        return f"Weights {manifest_id[:12]}", weights_page.manifest(world, found, known, files, moment)


def level_of(asked: Asked) -> Level:
    return _one_of("level", asked, LEVELS, "debug")


def _one_of(name: str, asked: Asked, known: Collection[Word], default: Word) -> Word:
    given = asked.get(name, default)
    for word in known:
        if word == given:
            return word
    raise Refusal(400, f"{name} must be one of {', '.join(known)}, not {given[:40]!r}")


def time_of(name: str, given: str, what: str = "a time") -> datetime:
    """UTC where it names no zone. Raises Refusal."""
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise Refusal(400, f"{name} must be {what} such as 2026-11-21 19:30 (UTC), not {given[:40]!r}") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def _until(query: AuditQuery, moment: Moment) -> AuditQuery:
    latest = [each for each in (query.until, moment.at) if each is not None]
    return msgspec.structs.replace(query, until=min(latest)) if latest else query


def _end_ns(moment: Moment) -> int | None:
    """Lines of logs that are older are of the moment."""
    return int(moment.at.timestamp() * 1e9) + 1 if moment.fixed and moment.at is not None else None
