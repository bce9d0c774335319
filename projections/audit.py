"""The audit trail: one row an event, and what can be asked of the rows. Pure; stores are in projections/stores/.

A row says who did what to which entities, when, and following from what. Text that PostgreSQL cannot hold (NUL) is
replaced, and ids are clipped to what an index takes; the log keeps the exact event.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from events.base import ORIGIN, Position
from events.codec import Recorded, event_type
from events.union import UnknownEvent
from projections.entities import entities, named

ID_MAX = 500


class AuditRow(msgspec.Struct, frozen=True):
    position: Position
    at: datetime
    type: str
    category: str
    entity: str
    """Id of the aggregate within its category."""
    entities: tuple[str, ...]
    """Every id that the event names, its own aggregate's first."""
    actor: str
    actor_how: str
    model_id: str | None
    deployment_id: str | None
    replica_id: str | None
    node_id: str | None
    correlation_id: str
    causation_id: str | None
    command_id: str
    event_id: str
    body: dict[str, Any]


def audit_row(recorded: Recorded) -> AuditRow:
    event, meta = recorded.event, recorded.meta
    ids = named(event)
    return AuditRow(
        position=recorded.position,
        at=meta.at,
        type=event_type(event),
        category=recorded.stream.category,
        entity=clip(recorded.stream.id),
        entities=tuple(clip(each) for each in entities(recorded.stream, event)),
        actor=clip(meta.actor.name),
        actor_how=clip(meta.actor.how),
        model_id=clip_or_none(ids.get("model_id")),
        deployment_id=clip_or_none(ids.get("deployment_id")),
        replica_id=clip_or_none(ids.get("replica_id")),
        node_id=clip_or_none(ids.get("node_id") or ids.get("builder")),
        correlation_id=clip(meta.correlation_id),
        causation_id=clip_or_none(meta.causation_id),
        command_id=clip(meta.command_id),
        event_id=clip(meta.id),
        body=_body(recorded),
    )


def _body(recorded: Recorded) -> dict[str, Any]:
    event = recorded.event
    text = event.body.encode() if isinstance(event, UnknownEvent) else msgspec.json.encode(event)
    body: dict[str, Any] = msgspec.json.decode(text)
    return _without_nul(body) if rb"\u0000" in text else body


def _without_nul(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\0", "\ufffd")
        case list():
            return [_without_nul(each) for each in value]
        case dict():
            return {_without_nul(name): _without_nul(each) for name, each in value.items()}
        case _:
            return value


def clip(text: str) -> str:
    return text[:ID_MAX].replace("\0", "\ufffd")


def clip_or_none(text: str | None) -> str | None:
    return None if text is None else clip(text)


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows: all conditions together. An answer is in the order of positions."""

    since: datetime | None = None
    """At this time or later."""
    until: datetime | None = None
    """Before this time."""
    actor: str | None = None
    """Exact, or with `*` and `?`: `key:*`."""
    types: tuple[str, ...] = ()
    """One of these, each exact or with `*` and `?`: `Replica*`."""
    entity: str | None = None
    """An id that the event names in any role."""
    correlation: str | None = None
    after: Position = ORIGIN
    until_position: Position | None = None
    """This position or earlier."""
    limit: int = 100
    newest: bool = False
    """Of more than `limit` rows the last ones instead of the first ones."""


def is_pattern(text: str) -> bool:
    return "*" in text or "?" in text


def wanted(query: AuditQuery) -> Callable[[AuditRow], bool]:
    """What the query says of one row; `limit` and `newest` are the caller's."""
    actor_ok = _matcher((query.actor,) if query.actor is not None else ())
    type_ok = _matcher(query.types)
    entity, correlation = clip_or_none(query.entity), clip_or_none(query.correlation)

    def matches(row: AuditRow) -> bool:
        return (
            row.position > query.after
            and (query.until_position is None or row.position <= query.until_position)
            and (query.since is None or row.at >= query.since)
            and (query.until is None or row.at < query.until)
            and (entity is None or entity in row.entities)
            and (correlation is None or row.correlation_id == correlation)
            and type_ok(row.type)
            and actor_ok(row.actor)
        )

    return matches


def _matcher(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    if not patterns:
        return lambda text: True
    either = "|".join(re.escape(each).replace(r"\*", ".*").replace(r"\?", ".") for each in patterns)
    expression = re.compile(f"(?:{either})", re.DOTALL)
    return lambda text: expression.fullmatch(text) is not None
