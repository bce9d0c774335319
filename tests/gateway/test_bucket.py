"""Rate limits: a burst at once, then no more than the rate, and headers that say so."""

from hypothesis import given
from hypothesis import strategies as st

from events.base import KeyId
from gateway.bucket import Buckets, RateLimit
from gateway.errors import Problem

KEY = KeyId("k")


@given(
    st.floats(0.1, 1000.0),
    st.integers(1, 50),
    st.lists(st.floats(0.0, 5.0), max_size=200),
)
def test_no_key_gets_more_than_its_burst_and_its_rate(per_s: float, burst: int, pauses: list[float]) -> None:
    buckets, now, allowed = Buckets(RateLimit(per_s=per_s, burst=burst)), 0.0, 0
    for pause in pauses:
        now += pause
        taken = buckets.take(KEY, now)
        allowed += not isinstance(taken, Problem)
        assert allowed <= burst + now * per_s + 1e-6


@given(st.floats(0.1, 100.0), st.integers(1, 20))
def test_who_waits_as_long_as_it_is_told_may_send_again(per_s: float, burst: int) -> None:
    buckets, now = Buckets(RateLimit(per_s=per_s, burst=burst)), 7.0
    for _ in range(burst):
        assert not isinstance(buckets.take(KEY, now), Problem)
    refused = buckets.take(KEY, now)
    assert isinstance(refused, Problem) and refused.status == 429
    assert not isinstance(buckets.take(KEY, now + float(dict(refused.headers)["retry-after"])), Problem)


def test_the_headers_say_the_policy_and_what_is_left() -> None:
    buckets = Buckets(RateLimit(per_s=2.0, burst=10))
    assert buckets.take(KEY, 0.0) == (("ratelimit-policy", '"key";q=10;w=5'), ("ratelimit", '"key";r=9;t=0'))
    assert not isinstance(buckets.take(KeyId("other"), 0.0), Problem), "each key has its own"


def test_buckets_that_are_full_again_are_not_kept() -> None:
    buckets = Buckets(RateLimit(per_s=1.0, burst=1))
    for n in range(3000):
        buckets.take(KeyId(f"k{n}"), float(n))
    assert len(buckets._buckets) <= 1024
