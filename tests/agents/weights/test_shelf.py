"""What goes when room is needed, whatever was used before: properties of the segmented LRU."""

from hypothesis import given
from hypothesis import strategies as some

from agents.weights.cache import HOT_SHARE, Shelf, drop, freeing, put, use, victims

KEYS = some.sampled_from("abcdefgh")
DEEDS = some.lists(
    some.one_of(
        some.tuples(some.just("put"), KEYS, some.integers(0, 60)),
        some.tuples(some.just("use"), KEYS, some.just(0)),
        some.tuples(some.just("drop"), KEYS, some.just(0)),
        some.tuples(some.just("room"), some.just(""), some.integers(0, 120)),
    ),
    max_size=60,
)
SPARED = some.frozensets(KEYS)


def played(deeds: list[tuple[str, str, int]], spared: frozenset[str]) -> Shelf:
    shelf = Shelf(100)
    for name, key, size in deeds:
        match name:
            case "put":
                put(shelf, key, size)
            case "use":
                use(shelf, key)
            case "drop":
                drop(shelf, key)
            case "room":
                for each in victims(shelf, size, spared.__contains__) or ():
                    drop(shelf, each)
    return shelf


@given(DEEDS, SPARED)
def test_what_is_counted_is_what_is_there(deeds: list[tuple[str, str, int]], spared: frozenset[str]) -> None:
    shelf = played(deeds, spared)
    assert not shelf.cold.keys() & shelf.hot.keys()
    assert shelf.hot_bytes == sum(shelf.hot.values())
    assert shelf.used_bytes == sum(shelf.cold.values()) + shelf.hot_bytes
    assert shelf.hot_bytes <= HOT_SHARE * shelf.budget_bytes or len(shelf.hot) == 1


@given(DEEDS, SPARED, some.integers(0, 150))
def test_room_is_made_of_what_may_go_and_of_no_more(
    deeds: list[tuple[str, str, int]], spared: frozenset[str], need: int
) -> None:
    shelf = played(deeds, spared)
    sizes = {**shelf.cold, **shelf.hot}
    going = victims(shelf, need, spared.__contains__)
    if going is None:
        kept = sum(size for key, size in sizes.items() if key in spared)
        assert kept + need > shelf.budget_bytes
        return
    assert not set(going) & spared and len(set(going)) == len(going)
    left = shelf.used_bytes - sum(sizes[key] for key in going)
    assert left + need <= shelf.budget_bytes
    if going:
        assert left + sizes[going[-1]] + need > shelf.budget_bytes, "the last was not needed"


def test_reading_through_many_once_leaves_what_is_used_again() -> None:
    shelf = Shelf(100)
    for key in ("base", "other"):
        put(shelf, key, 20)
        use(shelf, key)
    for number in range(50):
        for gone in victims(shelf, 30, lambda key: False) or ():
            drop(shelf, gone)
        put(shelf, f"once-{number}", 30)
    assert "base" in shelf and "other" in shelf
    assert "once-49" in shelf and "once-48" in shelf and "once-47" not in shelf


def test_the_longest_unused_goes_first_and_cold_before_hot() -> None:
    shelf = Shelf(100)
    for key in ("a", "b", "c"):
        put(shelf, key, 10)
    use(shelf, "a")
    assert freeing(shelf, 20, lambda key: False) == ("b", "c")
    assert freeing(shelf, 21, lambda key: False) == ("b", "c", "a")
    assert freeing(shelf, 20, lambda key: key == "b") == ("c", "a")
    assert freeing(shelf, 31, lambda key: False) is None


def test_what_was_hot_long_ago_becomes_cold() -> None:
    shelf = Shelf(100)
    for key in ("a", "b", "c"):
        put(shelf, key, 30)
        use(shelf, key)
    assert list(shelf.cold) == ["a"] and list(shelf.hot) == ["b", "c"]
