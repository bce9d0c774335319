"""Pauses grow, and end growing."""

from handlers.backoff import backoff_s


def test_pauses_double_up_to_a_bound() -> None:
    assert [backoff_s(failures, 1, 10) for failures in (0, 1, 2, 3, 4, 5, 10_000)] == [1, 1, 2, 4, 8, 10, 10]


def test_chance_spreads_them_between_half_and_all() -> None:
    assert [backoff_s(3, 1, 10, chance) for chance in (0.0, 0.5, 1.0)] == [2, 3, 4]
