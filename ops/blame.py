"""Which event set a field: the last one in the history that changed what stands there.

The history is walked back from one kept state to the one before it, so recent causes are found without the rest.
"""

from typing import Any

import msgspec

from events.base import ORIGIN, DeploymentId, Position, StreamName
from events.codec import Recorded
from events.log import Log
from ops.moments import Moment
from ops.names import NAMES, Names, UnknownName, resolve
from ops.past import beginning_of, start_of
from ops.replay import VIEWS, history, position_of, state_at
from ops.whence import Whence, whence_of
from projections.audit import AuditRow, audit_row
from projections.base import Projection
from projections.deployments import DEPLOYMENTS
from projections.fields import KINDS, MISSING, Path, names_in, plain, read, record_of


class Address(msgspec.Struct, frozen=True):
    """A record in a view, and the path from there to the field; an empty one stands for all of its fields."""

    view: str
    record: Path
    field: Path
    about: tuple[str, ...] = ()
    """Only events that name one of these change the record; empty: any event may."""


class Blame(msgspec.Struct, frozen=True):
    field: str
    value: Any
    before: Any
    """What the event replaced. None as well when there was nothing."""
    there: bool
    """False: nothing stands there any more."""
    event: AuditRow | None
    """None: it is as it was at the beginning of the history."""


class _Change(msgspec.Struct, frozen=True):
    recorded: Recorded
    before: Any


async def blame(log: Log, text: str, moment: Moment = None, whence: Whence | None = None) -> tuple[Blame, ...]:
    """One for the field, or one for each field of the entity. `whence`: of this log, if it is there already.

    Raises UnknownName, NoSuchPosition.
    """
    position = await position_of(log, moment)
    address = await address_of(log, text)
    about = (whence or await whence_of(log)).mentions(address.about) if address.about else None
    projection = VIEWS[address.view][0]
    state = await state_at(log, projection, position)
    record = read(state, address.record)
    fields: list[Path] = [address.field] if address.field else [(name,) for name in names_in(record)] or [()]
    if address.field and record is not MISSING:
        _check(record, address)
    last: dict[Path, _Change] = {}
    until = position
    while len(last) < len(fields):
        if about is not None:
            until = max((each for each in about if each <= until), default=ORIGIN)
        if until <= beginning_of(log):
            break
        found, until = await _changes(log, projection, address.record, fields, until)
        last = found | last
    return tuple(_told(state, address.record, field, last.get(field)) for field in fields)


async def _changes(
    log: Log, projection: Projection[Any], record: Path, fields: list[Path], until: Position
) -> tuple[dict[Path, _Change], Position]:
    """The last change of each field on the way from the nearest kept state, and where that one stands."""
    state, start = await start_of(log, projection, Position(until - 1))
    values = {field: plain(read(state, record + field)) for field in fields}
    found: dict[Path, _Change] = {}
    async for piece in history(log, start, until):
        for recorded in piece:
            state = projection.evolve(state, recorded)
            for field, before in values.items():
                value = plain(read(state, record + field))
                if value != before:
                    found[field] = _Change(recorded, before)
                    values[field] = value
    return found, start


def _told(state: Any, record: Path, field: Path, change: _Change | None) -> Blame:
    value = plain(read(state, record + field))
    before = change.before if change is not None else MISSING
    return Blame(
        ".".join(field or record),
        None if value is MISSING else value,
        None if before is MISSING else before,
        value is not MISSING,
        None if change is None else audit_row(change.recorded),
    )


def _check(record: Any, address: Address) -> None:
    for depth, name in enumerate(address.field):
        known = names_in(record)
        record = read(record, (name,))
        if record is MISSING:
            where = ".".join((*address.record, *address.field[:depth]))
            raise UnknownName(f"{where} has no {name!r}; it has {', '.join(known) or 'nothing inside'}")


async def address_of(log: Log, text: str) -> Address:
    """`[KIND:]ENTITY[.FIELD]` by id or name, or `VIEW.PATH`. Raises UnknownName."""
    view, _, rest = text.partition(".")
    if view in VIEWS and rest:
        return Address(view, (), tuple(rest.split(".")))
    kind, entity, field = await _entity_and_field(log, text)
    return Address(*record_of(kind, entity), field, await _about(log, kind, entity))


async def _about(log: Log, kind: str, entity: str) -> tuple[str, ...]:
    """Whose events change the record of the entity. What a node has to give changes with every replica."""
    match kind:
        case "environment":
            return entity, entity.partition("-")[0]
        case "deployment":
            first = (await state_at(log, DEPLOYMENTS)).deployments.get(DeploymentId(entity))
            return () if first is None else (entity, first.model_id)
        case "model" | "replica":
            return (entity,)
        case _:
            return ()


async def _entity_and_field(log: Log, text: str) -> tuple[str, str, Path]:
    """A name may hold dots: the longest beginning that is one counts."""
    names = await state_at(log, NAMES)
    prefix, _, bare = text.partition(":") if text.partition(":")[0] in KINDS else ("", "", text)
    words = bare.split(".")
    for count in range(len(words), 0, -1):
        try:
            entity = resolve(names, ".".join(words[:count]))
        except UnknownName:
            continue
        kind = await _kind_of(log, names, entity)
        if prefix and kind != prefix:
            raise UnknownName(f"{words[0]!r} names a {kind}, not a {prefix}")
        return kind, entity, tuple(words[count:])
    hint = f"write [KIND:]ENTITY.FIELD, or one of {', '.join(VIEWS)} and a path"
    raise UnknownName(f"{text!r} begins with the name of nothing; {hint}")


async def _kind_of(log: Log, names: Names, entity: str) -> str:
    for kind, known in (
        ("model", names.models),
        ("deployment", names.deployments),
        ("environment", names.environments),
    ):
        if entity in known.values():
            return kind
    for kind in ("replica", "node"):
        if await log.read(stream=StreamName(kind, entity)):
            return kind
    raise UnknownName(f"{entity!r} has no record of its own: ask for a {', a '.join(KINDS[:-1])} or a {KINDS[-1]}")
