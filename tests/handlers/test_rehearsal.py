"""The autoscaling arithmetic over time: load goes in, replicas come out, by the real reactor and the real decider."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import pairwise

import msgspec
import pytest

from events.base import Position
from events.scaling import AutoscalingSettings
from events.signals import Load, WakeAsked
from handlers.load_window import LoadWindow
from handlers.rehearsal import DEPLOYMENT, Rehearsal
from handlers.scaling_rule import need

AT = 1_000_000.0


def settings(**fields: object) -> AutoscalingSettings:
    defaults: dict[str, object] = {"max_replica": 20, "concurrency_target": 10, "burst": False}
    return AutoscalingSettings(**{**defaults, **fields})  # type: ignore[arg-type]


def parked(count: int, worker: str = "w", number: int = 1) -> Load:
    at = datetime.fromtimestamp(AT, UTC)
    return Load(worker=worker, number=number, deployment_id=DEPLOYMENT, in_flight=0, parked=count, at=at)


class Bench:
    """Tells the load that a function of time gives, each second while there is any."""

    def __init__(self, own: AutoscalingSettings, replicas: int, load: Callable[[float], int]) -> None:
        self.rehearsal = Rehearsal(own, AT, replicas, start_s=0.0)
        self._load = load
        self._number = 0
        self._told = 0
        self.second = 0

    def run(self, seconds: int) -> "Bench":
        for _ in range(seconds):
            self.second += 1
            during, after = self._load(self.second - 1), self._load(self.second)
            self.rehearsal.advance(AT + self.second)
            if during or after or self._told:
                self._told = after
                self._number += 1
                report = Load(
                    worker="w",
                    number=self._number,
                    deployment_id=DEPLOYMENT,
                    in_flight=after,
                    parked=0,
                    mean=float(during),
                    span_s=1.0,
                    at=datetime.fromtimestamp(AT, UTC),
                )
                self.rehearsal.tell(report)
        return self

    @property
    def changes(self) -> list[tuple[int, int]]:
        """(second, target)."""
        return [(round(each.at - AT), each.after) for each in self.rehearsal.changes]

    @property
    def targets(self) -> list[int]:
        return [each.after for each in self.rehearsal.changes]


def constant(level: int) -> Callable[[float], int]:
    return lambda second: level


def until(last: float, level: int, then: int = 0) -> Callable[[float], int]:
    return lambda second: level if second < last else then


def near(changes: Iterable[tuple[int, int]], expected: Iterable[tuple[int, int]], by: int = 1) -> None:
    found, wanted = list(changes), list(expected)
    assert [target for _, target in found] == [target for _, target in wanted], found
    assert all(abs(at - when) <= by for (at, _), (when, _) in zip(found, wanted, strict=True)), found


def test_twenty_five_in_flight_at_target_ten_and_seventy_percent_need_four() -> None:
    assert need(25, settings()) == 4
    assert need(21, settings()) == 3
    assert need(14, settings()) == 2


def test_a_step_of_the_load_raises_as_the_mean_crosses() -> None:
    """From 5 to 25, one replica: the mean passes 7, 14 and 21."""
    bench = Bench(settings(), 1, lambda second: 5 if second < 120 else 25).run(240)
    near(bench.changes, [(127, 2), (148, 3), (169, 4)])


def test_a_burst_raises_within_a_tenth_of_the_window() -> None:
    bench = Bench(settings(burst=True), 1, lambda second: 5 if second < 120 else 25).run(240)
    assert bench.targets == [2, 4]
    assert bench.changes[1][0] <= 120 + 6


def test_a_burst_that_the_headroom_takes_raises_nothing() -> None:
    bench = Bench(settings(burst=True), 2, lambda second: 19 if second % 60 < 10 else 10).run(600)
    assert bench.targets == []


def test_the_second_replica_comes_when_half_the_window_is_at_fourteen() -> None:
    near(Bench(settings(), 1, lambda second: 14).run(100).changes, [(31, 2)])


def test_eight_without_load_go_by_half_the_excess_and_to_zero_last_each_a_delay_apart() -> None:
    bench = Bench(settings(), 8, until(300, 55)).run(300 + 4 * 900 + 100)
    near(bench.changes, [(1204, 4), (2104, 2), (3004, 1), (3904, 0)], by=8)


def test_ten_when_six_are_needed_go_to_eight_seven_six() -> None:
    bench = Bench(settings(), 10, constant(42)).run(4 * 900)
    near(bench.changes, [(900, 8), (1800, 7), (2700, 6)], by=3)


def test_a_rate_of_twenty_percent_removes_at_most_a_fifth_of_the_excess_but_one() -> None:
    bench = Bench(settings(max_scale_down_rate_percent=20), 10, constant(0)).run(10 * 900 + 10)
    assert bench.targets == [8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_load_that_returns_just_before_the_delay_ends_removes_nothing() -> None:
    bench = Bench(settings(), 8, lambda second: 0 if 300 <= second < 300 + 899 else 55).run(3000)
    assert bench.targets == []


def test_one_steady_request_at_target_one_needs_two() -> None:
    bench = Bench(settings(concurrency_target=1), 1, constant(1)).run(300)
    assert bench.targets == [2]


def test_the_minimum_and_the_maximum_bound_it() -> None:
    bench = Bench(settings(min_replica=2, max_replica=5), 3, lambda second: 200 if second < 400 else 0).run(4000)
    assert bench.targets == [4, 5, 4, 3, 2]


@pytest.mark.parametrize("burst", [True, False])
@pytest.mark.parametrize("level", [0, 1, 6, 7, 8, 33, 70])
def test_constant_load_changes_direction_at_most_once(burst: bool, level: int) -> None:
    for replicas in (1, 4, 12):
        own = settings(burst=burst, scale_down_delay_s=120)
        bench = Bench(own, replicas, constant(level)).run(2400)
        path = [replicas, *bench.targets]
        ways = [after > before for before, after in pairwise(path)]
        assert sum(1 for one, next_ in pairwise(ways) if one != next_) <= 1, path
        assert path[-1] == need(level, own), path


def test_a_delay_of_nothing_lowers_at_once_and_rests_only_when_the_window_is_empty() -> None:
    bench = Bench(settings(scale_down_delay_s=0), 0, lambda second: 3 if second < 100 or second == 130 else 0)
    bench.rehearsal.tell(parked(1, "another worker"))
    bench.run(400)
    near(bench.changes, [(0, 1), (191, 0)], by=3)


def test_from_zero_the_first_parked_request_raises_at_once_and_many_raise_by_their_number() -> None:
    rehearsal = Rehearsal(settings(), AT, 0, start_s=30.0)
    rehearsal.tell(parked(1))
    assert rehearsal.target == 1
    rehearsal.advance(AT + 0.2)
    rehearsal.tell(parked(25, number=2))
    assert [(each.after, each.rule) for each in rehearsal.changes] == [(1, "parked request"), (3, "parked request")]
    rehearsal.advance(AT + 35)
    assert rehearsal.ready == 3


def test_a_wake_brings_one_and_quiet_takes_it_away_again() -> None:
    rehearsal = Rehearsal(settings(), AT, 0, start_s=5.0)
    rehearsal.hear(WakeAsked(deployment_id=DEPLOYMENT, at=datetime.fromtimestamp(AT, UTC)))
    rehearsal.advance(AT + 900)
    assert rehearsal.target == 1
    rehearsal.advance(AT + 906)
    assert [(each.after, each.rule) for each in rehearsal.changes] == [(1, "wake"), (0, "quiet")]


def test_who_waited_before_it_went_to_zero_does_not_bring_it_back() -> None:
    """A promotion took the traffic elsewhere; the worker that told of waiting requests had not seen it yet."""
    window = LoadWindow()
    window.hear(msgspec.structs.replace(parked(2), position=Position(40)), AT)
    assert (window.parked(), window.waiting_since(Position(41))) == (2, 0)
    window.hear(msgspec.structs.replace(parked(2, number=2), position=Position(41)), AT)
    assert window.waiting_since(Position(41)) == 2
