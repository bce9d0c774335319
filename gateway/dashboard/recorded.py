"""Rows of the trail as the events they were made from, for folds that a page needs over one entity. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from events.base import Actor, CommandId, CorrelationId, EventId, Metadata, StreamName
from events.codec import Recorded
from events.union import AnyEvent, UnknownEvent
from projections.audit import AuditRow


def recorded(rows: Iterable[AuditRow]) -> Iterator[Recorded]:
    """An event of a newer version is what a fold knows as unknown."""
    for row in rows:
        yield Recorded(row.position, StreamName(row.category, row.entity), _event(row.body), _meta(row))


def _event(body: dict[str, Any]) -> AnyEvent | UnknownEvent:
    try:
        event: AnyEvent = msgspec.convert(body, AnyEvent)
    except msgspec.ValidationError:
        return UnknownEvent(str(body.get("type", "?")), msgspec.json.encode(body).decode())
    return event


def _meta(row: AuditRow) -> Metadata:
    return Metadata(
        id=EventId(row.event_id),
        command_id=CommandId(row.command_id),
        correlation_id=CorrelationId(row.correlation_id),
        causation_id=None if row.causation_id is None else EventId(row.causation_id),
        actor=Actor(row.actor, row.actor_how),
        at=row.at,
    )
