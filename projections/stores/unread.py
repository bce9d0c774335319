"""A kept state whose mappings are decoded value by value, as somebody asks for them.

For a question about one entity: of the hundred thousand values of a large state it takes a few, and those that the
events since then changed. Never handed out: what is shown of such a state is made plain first.
"""

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, TypeVar, get_args, get_origin

import msgspec

K = TypeVar("K")
V = TypeVar("V")


class Unread(MutableMapping[K, V]):
    """As a dict to whoever folds it. No dict to msgspec: what would encode it must say how (`stored`)."""

    def __init__(self, values: dict[K, Any], read: Callable[[msgspec.Raw], V]) -> None:
        self.kept = values
        """What nobody has asked for is still encoded."""
        self._read = read

    def __getitem__(self, key: K) -> V:
        value = self.kept[key]
        if isinstance(value, msgspec.Raw):
            value = self.kept[key] = self._read(value)
        return value  # type: ignore[no-any-return]

    def __setitem__(self, key: K, value: V) -> None:
        self.kept[key] = value

    def __delitem__(self, key: K) -> None:
        del self.kept[key]

    def __contains__(self, key: object) -> bool:
        return key in self.kept

    def __iter__(self) -> Iterator[K]:
        return iter(self.kept)

    def __len__(self) -> int:
        return len(self.kept)


def stored(value: Any) -> Any:
    """For msgspec, with which to encode as MessagePack."""
    if isinstance(value, Unread):
        return value.kept
    raise NotImplementedError(type(value).__name__)


def read_whole(value: Any) -> Any:
    """For msgspec, with which to make plain."""
    if isinstance(value, Unread):
        return dict(value)
    raise NotImplementedError(type(value).__name__)


def reader(kind: Any) -> Callable[[bytes | msgspec.Raw], Any]:
    """Of a value of that type: what is a mapping in it is left unread, where it is a field or stands in a mapping."""
    if get_origin(kind) is dict:
        key, value = get_args(kind)
        split, read = msgspec.msgpack.Decoder(dict[key, msgspec.Raw]).decode, reader(value)  # type: ignore[valid-type]
        return lambda raw: Unread(split(raw), read)
    return msgspec.msgpack.Decoder(kind).decode


def read_state(kind: type[Any], raw: bytes | msgspec.Raw) -> Any:
    """A struct, each of whose mappings is unread. Raises msgspec.MsgspecError."""
    fields = msgspec.msgpack.decode(raw, type=dict[str, msgspec.Raw])
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    return kind(**{name: reader(types[name])(value) for name, value in fields.items()})
