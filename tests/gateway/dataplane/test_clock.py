"""One timer for all calls: nobody is asked early for nothing, late, or after its end."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.clock import APART_S, NEVER, Clock
from tests.gateway.fuzz.loop import Loop


class Watched:
    """Is due at these times, one after the other."""

    def __init__(self, clock: Clock, times: list[float]) -> None:
        self._clock, self._times = clock, sorted(times)
        self.asked: list[float] = []
        self.due = NEVER

    def tell(self) -> None:
        if self._times:
            self._clock.watch(self, self._times[0])

    def look_at_clock(self, now: float) -> None:
        self.asked.append(now)
        self._times = [each for each in self._times if each > now]
        self.due = self._times[0] if self._times else NEVER
        if not self._times:
            self._clock.forget(self)


TIMES = st.lists(st.floats(0.5, 100, allow_nan=False), max_size=4)


@given(st.lists(TIMES, max_size=6))
def test_who_is_due_is_asked_then_and_nobody_else(several: list[list[float]]) -> None:
    with Loop() as loop:
        clock = Clock(loop)
        watched = [Watched(clock, times) for times in several]
        for one in watched:
            one.tell()
        while loop.next_timer():
            pass
        for one, times in zip(watched, several, strict=True):
            for time in times:
                assert any(time <= asked <= time + APART_S for asked in one.asked)
            assert len(one.asked) <= len(times)


def test_who_has_ended_is_not_asked_and_one_timer_does() -> None:
    with Loop() as loop:
        clock = Clock(loop)
        over, lasts = Watched(clock, [1.0]), Watched(clock, [2.0])
        for _ in range(1000):
            over.due = NEVER
            over.tell()
            clock.forget(over)
        lasts.tell()
        assert sum(not handle.cancelled() for _, _, handle in loop._timers) == 1
        while loop.next_timer():
            pass
        assert over.asked == [] and lasts.asked == [2.0]


def test_an_earlier_limit_is_seen_though_a_later_one_was_told() -> None:
    with Loop() as loop:
        clock = Clock(loop)
        one = Watched(clock, [3.0, 50.0])
        clock.watch(one, 50.0)
        clock.watch(one, 3.0)
        clock.watch(one, 70.0)
        assert loop.next_timer()
        assert one.asked == [3.0] and one.due == 50.0


def test_after_its_end_a_clock_asks_nobody() -> None:
    with Loop() as loop:
        clock = Clock(loop)
        one = Watched(clock, [1.0])
        one.tell()
        clock.close()
        assert not loop.next_timer()
        assert one.asked == []
