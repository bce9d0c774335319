"""Which event set a field: the last one in the history that changed what stands there.

What has a record of its own is changed only by the events about it: the index says where they are, and they are folded
alone. Anything else is looked for from one kept state back to the one before it.
"""

from collections.abc import AsyncIterator, Sequence
from difflib import get_close_matches
from typing import Any

import msgspec

from events.base import ORIGIN, DeploymentId, Position
from events.codec import Recorded
from events.log import Log
from ops.moments import Moment
from ops.names import NAMES, Names, UnknownName, kind_of, known, similar
from ops.past import beginning_of, start_of
from ops.replay import VIEWS, history, position_of, state_at
from ops.whence import Whence, whence_of
from projections.audit import AuditRow, audit_row
from projections.entities import entities
from projections.fields import KINDS, MISSING, Path, names_in, plain, read, record_of
from projections.fleet import FLEET

FEW = 1000
"""Events that are read one by one from the beginning; of more, those since a kept state."""


class Address(msgspec.Struct, frozen=True):
    """A record in a view, and the path from there to the field; an empty one stands for all of its fields."""

    view: str
    record: Path
    field: Path
    entity: str = ""
    """Whose record it is, where only some events change it; empty: any event may."""
    owner: str = ""
    """The model that the entity is a part of: the events of its own history change the record too."""


class Blame(msgspec.Struct, frozen=True):
    field: str
    value: Any
    before: Any
    """What the event replaced. None as well when there was nothing."""
    there: bool
    """False: nothing stands there any more."""
    event: AuditRow | None
    """None: it is as it was at the beginning of the history."""


async def blame(log: Log, text: str, moment: Moment = None, whence: Whence | None = None) -> tuple[Blame, ...]:
    """One for the field, or one for each field of the entity. `whence`: of this log, if it is there already.

    Raises UnknownName, NoSuchPosition.
    """
    position = await position_of(log, moment)
    view, _, rest = text.partition(".")
    if view in VIEWS and rest:
        walk = _Walk(log, Address(view, (), tuple(rest.split("."))))
    else:
        whence = whence or await whence_of(log)
        walk = _Walk(log, await address_of(whence, text, await state_at(log, NAMES, position)), whence)
    stretch = newest = await walk.back_from(position)
    _check(read(newest.state, walk.address.record), walk.address)
    last = newest.changed
    while stretch.after > beginning_of(log) and any(each not in last for each in newest.asked):
        stretch = await walk.back_from(stretch.after)
        last = stretch.changed | last
    return tuple(_told(walk.address, each, newest.values[each], last.get(each)) for each in newest.asked)


class _Change(msgspec.Struct, frozen=True):
    recorded: Recorded
    before: Any


class _Stretch(msgspec.Struct, frozen=True):
    """Of the history, from a kept state on."""

    after: Position
    state: Any
    """At its end."""
    values: dict[Path, Any]
    """By field; the empty path is the whole record."""
    changed: dict[Path, _Change]
    """Last, of each field."""

    @property
    def asked(self) -> list[Path]:
        return [each for each in self.values if each] or [()]


class _Walk:
    """Back through what may have changed the record."""

    def __init__(self, log: Log, address: Address, whence: Whence | None = None) -> None:
        self.address = address
        self._log, self._whence = log, whence
        self._about: list[Position] | None = None
        if whence is not None and address.entity:
            self._about = whence.concerning(address.entity, address.owner)

    async def back_from(self, until: Position) -> _Stretch:
        projection, address = VIEWS[self.address.view][0], self.address
        own = None if self._about is None else [each for each in self._about if each <= until]
        base = until - 1 if own is None else own[-1] - 1 if len(own) > FEW else ORIGIN
        state, after = await start_of(self._log, projection, Position(max(base, beginning_of(self._log))))
        values, changed = _values(state, address), dict[Path, _Change]()
        async for piece in self._events(after, until):
            for recorded in piece:
                state = projection.evolve(state, recorded)
                now = _values(state, address)
                if now != values:
                    for field in now.keys() | values.keys():
                        before = values.get(field, MISSING)
                        if now.get(field, MISSING) != before:
                            changed[field] = _Change(recorded, before)
                    values = now
        return _Stretch(after, state, values, changed)

    async def _events(self, after: Position, until: Position) -> AsyncIterator[Sequence[Recorded]]:
        if self._about is None or self._whence is None:
            async for piece in history(self._log, after, until):
                yield piece
            return
        entity, owner = self.address.entity, self.address.owner
        found = await self._whence.several([each for each in self._about if after < each <= until])
        yield [each for each in found if each.stream.id == owner or entity in entities(each.stream, each.event)]


def _values(state: Any, address: Address) -> dict[Path, Any]:
    if address.field:
        return {address.field: plain(read(state, address.record + address.field))}
    record = read(state, address.record)
    fields: list[Path] = [(), *((name,) for name in names_in(record))]
    return {field: plain(read(record, field)) for field in fields}


def _told(address: Address, field: Path, value: Any, change: _Change | None) -> Blame:
    before = change.before if change is not None else MISSING
    return Blame(
        ".".join(field or address.record),
        None if value is MISSING else value,
        None if before is MISSING else before,
        value is not MISSING,
        None if change is None else audit_row(change.recorded),
    )


def _check(record: Any, address: Address) -> None:
    if record is MISSING:
        return
    for depth, name in enumerate(address.field):
        known = names_in(record)
        record = read(record, (name,))
        if record is MISSING:
            where = ".".join((*address.record, *address.field[:depth])) or address.view
            near = get_close_matches(name, known, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise UnknownName(f"{where} has no {name!r}; {meant}it has {', '.join(known) or 'nothing inside'}")


async def address_of(whence: Whence, text: str, then: Names) -> Address:
    """Of `[KIND:]ENTITY[.FIELD]` by id or by a name of then or of now. Raises UnknownName."""
    kind, entity, field = await _entity_and_field(whence, text, then)
    view, record = record_of(kind, entity)
    if kind == "node":  # What it has to give changes with every replica, also by events that do not name it.
        return Address(view, record, field)
    return Address(view, record, field, entity, owner_of(whence.names, kind, entity))


def owner_of(names: Names, kind: str, entity: str) -> str:
    """The model by whose own events the record changes as well; of a deployment or an environment."""
    match kind:
        case "environment":
            return entity.partition("-")[0]
        case "deployment":
            return names.model_of[DeploymentId(entity)]
        case _:
            return ""


async def _entity_and_field(whence: Whence, text: str, then: Names) -> tuple[str, str, Path]:
    """A name may hold dots: the longest beginning that is one counts."""
    prefix, _, bare = text.partition(":") if text.partition(":")[0] in KINDS else ("", "", text)
    words = bare.split(".")
    for count in range(len(words), 0, -1):
        name = ".".join(words[:count])
        entity = known(then, name) or await whence.entity(name)
        if entity is None:
            continue
        kind = await _kind_of(whence, entity)
        if prefix and kind != prefix:
            raise UnknownName(f"{words[0]!r} names no {prefix}: write {kind}:{bare}")
        return kind, entity, tuple(words[count:])
    if text in VIEWS:
        part = names_in(VIEWS[text][0].initial())[0]
        raise UnknownName(f"{text!r} is a whole view: write which part of it, such as {text}.{part}")
    near = similar(whence.names, words[0])
    hint = f"did you mean {near}?" if near else f"write [KIND:]ENTITY.FIELD, or one of {', '.join(VIEWS)} and a path"
    raise UnknownName(f"nothing is called {words[0]!r}; {hint}")


async def _kind_of(whence: Whence, entity: str) -> str:
    named = kind_of(whence.names, entity)
    if named is not None:
        return named
    first = await whence.first(entity)
    if first is not None and first.stream.category in ("replica", "node"):
        return first.stream.category
    fleet = await state_at(whence.log, FLEET, beginning_of(whence.log))
    if entity in fleet.replicas or entity in fleet.nodes:
        return "replica" if entity in fleet.replicas else "node"
    raise UnknownName(f"{entity!r} has no record of its own; there are those of {', '.join(KINDS)}")
