"""The audit trail: one row an event, one a refused command, and what can be asked of them. Pure; the stores are apart.

A row says who did what to which entities, when, and following from what. Text that PostgreSQL cannot hold (NUL) is
replaced, and ids are clipped to what an index takes; the log keeps the exact event.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from events.base import ORIGIN, Position
from events.codec import Recorded, event_type
from events.signals.refusals import Refusal
from events.union import AnyEvent, UnknownEvent
from projections.entities import entities
from projections.patterns import matching

ID_MAX = 500
LAST = Position(2**63 - 1)
"""There is no higher position or number."""
_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class AuditRow(msgspec.Struct, frozen=True, gc=False):
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
    correlation_id: str
    causation_id: str | None
    command_id: str
    event_id: str
    body: dict[str, Any]


def audit_row(recorded: Recorded) -> AuditRow:
    event, meta, stream = recorded.event, recorded.meta, recorded.stream
    return AuditRow(
        position=recorded.position,
        at=meta.at,
        type=event_type(event),
        category=stream.category,
        entity=clip(stream.id),
        entities=tuple([clip(each) for each in entities(stream, event)]),
        actor=clip(meta.actor.name),
        actor_how=clip(meta.actor.how),
        correlation_id=clip(meta.correlation_id),
        causation_id=clip_or_none(meta.causation_id),
        command_id=clip(meta.command_id),
        event_id=clip(meta.id),
        body=_body(event),
    )


class RefusedRow(msgspec.Struct, frozen=True):
    """A command that was refused: who tried what on which aggregate, and why it was not done."""

    id: str
    """Of the command and the reason: the same command refused again for the same reason is the same row."""
    at: datetime
    command: str
    category: str
    entity: str
    actor: str
    actor_how: str
    kind: str
    reason: str
    field: str | None
    correlation_id: str
    causation_id: str | None
    command_id: str
    position: Position
    """What the plane had seen of the log when it refused."""
    body: dict[str, Any]
    number: int = 0
    """Its place among the refused commands, from 1, given by the store: they have no position in the log."""


def refused_row(refusal: Refusal) -> RefusedRow:
    return RefusedRow(
        id=refusal.id,
        at=refusal.at,
        command=refusal.command,
        category=refusal.category,
        entity=clip(refusal.entity),
        actor=clip(refusal.actor.name),
        actor_how=clip(refusal.actor.how),
        kind=refusal.kind,
        reason=refusal.reason.replace("\0", "\ufffd"),
        field=clip_or_none(refusal.field),
        correlation_id=clip(refusal.correlation_id),
        causation_id=clip_or_none(refusal.causation_id),
        command_id=clip(refusal.command_id),
        position=refusal.position,
        body=_plain(refusal.body.encode()),
    )


def _body(event: AnyEvent | UnknownEvent) -> dict[str, Any]:
    return _plain(event.body.encode() if isinstance(event, UnknownEvent) else _encode(event))


def _plain(text: bytes) -> dict[str, Any]:
    body: dict[str, Any] = _decode(text)
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
    return text if len(text) <= ID_MAX and "\0" not in text else text[:ID_MAX].replace("\0", "\ufffd")


def clip_or_none(text: str | None) -> str | None:
    return None if text is None else clip(text)


R = TypeVar("R", AuditRow, RefusedRow)


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows: all conditions together. An answer is in the order of positions.

    Of refused commands, `types` are the commands' names, and positions are their numbers.
    """

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


def as_in_rows(query: AuditQuery) -> AuditQuery:
    """The same question in what rows can hold: texts as they have them, times and numbers within what there can be."""
    since, until = query.since, query.until
    return msgspec.structs.replace(
        query,
        since=None if since is None else _utc(since),
        until=None if until is None else _utc(until),
        actor=_spelled(query.actor),
        types=tuple([clip(_utf8(each)) for each in query.types]),
        entity=_spelled(query.entity),
        correlation=_spelled(query.correlation),
        after=min(query.after, LAST),
        until_position=None if query.until_position is None else min(query.until_position, LAST),
        limit=min(query.limit, LAST),
    )


def _spelled(text: str | None) -> str | None:
    return None if text is None else clip(_utf8(text))


def _utf8(text: str) -> str:
    """What a terminal gave that is no UTF-8 is in no row."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        return _EARLIEST if at.year == _EARLIEST.year else _LATEST


def wanted(query: AuditQuery) -> Callable[[AuditRow], bool]:
    """What the query says of one row; `limit` and `newest` are the caller's."""
    return _wanted(query, lambda row: (row.position, row.type, row.entities))


def wanted_refused(query: AuditQuery) -> Callable[[RefusedRow], bool]:
    return _wanted(query, lambda row: (row.number, row.command, (row.entity,)))


def _wanted(query: AuditQuery, told: Callable[[R], tuple[int, str, tuple[str, ...]]]) -> Callable[[R], bool]:
    """`told`: the row's number, the name of what it is, and whom it is about."""
    query = as_in_rows(query)
    actor_ok = matching((query.actor,) if query.actor is not None else ())
    name_ok = matching(query.types)

    def matches(row: R) -> bool:
        number, name, about = told(row)
        return (
            number > query.after
            and (query.until_position is None or number <= query.until_position)
            and (query.since is None or row.at >= query.since)
            and (query.until is None or row.at < query.until)
            and (query.entity is None or query.entity in about)
            and (query.correlation is None or row.correlation_id == query.correlation)
            and name_ok(name)
            and actor_ok(row.actor)
        )

    return matches
