"""What one event changed in the folded states: each entry that is another one afterwards, before and after. Pure."""

from collections.abc import Iterator
from typing import Any

import msgspec

from events.codec import Recorded
from projections.base import Projection
from projections.deployments import Deployment, status
from projections.diff import Change, diff


def changes(projection: Projection[Any], state: Any, event: Recorded) -> tuple[Change, ...]:
    """`state` is the caller's to give away: it is folded on."""
    before = dict(_entries(state))
    after = dict(_entries(projection.evolve(state, event)))
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return tuple(
        msgspec.structs.replace(change, path=(*name, *change.path))
        for name in names
        for change in _between(before.get(name), after.get(name))
    )


def _between(before: bytes | None, after: bytes | None) -> tuple[Change, ...]:
    if after is None:
        return (Change((), "removed", before=msgspec.json.decode(before)),) if before is not None else ()
    if before is None:
        return (Change((), "added", after=msgspec.json.decode(after)),)
    return diff(msgspec.json.decode(before), msgspec.json.decode(after))


def _entries(state: Any) -> Iterator[tuple[tuple[str, str], bytes]]:
    """By field of the state and key: what has not changed need not be looked into."""
    for field in state.__struct_fields__:
        value = getattr(state, field)
        if isinstance(value, dict):
            for key, entry in value.items():
                yield (field, str(key)), _plain(entry)
        else:
            yield (field, ""), _plain(value)


def _plain(entry: Any) -> bytes:
    tree = msgspec.json.encode(entry, order="deterministic")
    if isinstance(entry, Deployment):  # Its status follows from it, and is what people look for.
        return tree[:-1] + b',"status":' + msgspec.json.encode(status(entry)) + b"}"
    return tree
