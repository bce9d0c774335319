"""A mapping that is read value by value is a mapping like any other, and is stored as it was."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as some

from projections.stores.unread import Unread, read_state, read_whole, stored

NAMES = some.sampled_from("abcde")
SIZES = some.integers(0, 9)


class Place(msgspec.Struct):
    size: int
    marks: dict[str, int] = {}


class State(msgspec.Struct):
    places: dict[str, Place] = {}
    nested: dict[str, dict[str, Place]] = {}
    seen: set[str] = set()
    note: str = ""


PLACES = some.dictionaries(NAMES, some.builds(Place, SIZES, some.dictionaries(NAMES, SIZES)))
STATES = some.builds(State, PLACES, some.dictionaries(NAMES, PLACES), some.sets(NAMES), some.text(max_size=3))
CHANGES = some.lists(some.tuples(some.sampled_from(["set", "del", "pop", "get", "setdefault", "grow"]), NAMES, SIZES))


def changed(places: Any, changes: list[tuple[str, str, int]]) -> list[object]:
    """What each step gives, in words that do not depend on what kind of mapping it is."""
    given: list[object] = []
    for what, name, size in changes:
        match what:
            case "set":
                places[name] = Place(size)
            case "del" if name in places:
                del places[name]
            case "pop":
                given.append(places.pop(name, None))
            case "get":
                given.append(places.get(name))
            case "setdefault":
                given.append(places.setdefault(name, Place(size)))
            case "grow" if name in places:
                places[name].size += 10  # what was read is changed in place
        given.append((len(places), list(places), name in places))
    return [*given, list(places.items())]


@given(STATES, CHANGES, CHANGES, NAMES)
def test_what_is_done_to_it_gives_what_a_dict_gives(
    whole: State, changes: list[tuple[str, str, int]], within: list[tuple[str, str, int]], name: str
) -> None:
    read = read_state(State, msgspec.msgpack.encode(whole))
    assert isinstance(read.places, Unread) and isinstance(read.nested, Unread)
    assert again(read) == whole
    assert changed(read.places, changes) == changed(whole.places, changes)
    if name in whole.nested:
        assert changed(read.nested[name], within) == changed(whole.nested[name], within)
    assert again(read) == whole
    plain = msgspec.to_builtins(read, enc_hook=read_whole, order="deterministic")
    assert plain == msgspec.to_builtins(whole, order="deterministic")


def again(read: State) -> State:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(read, enc_hook=stored), type=State)
