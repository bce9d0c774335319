"""How many requests a key may send: a token bucket each, and the headers that say how many are left. Pure.

A bucket holds `burst` requests and is refilled with `per_s` a second. What the headers say follows the IETF draft
"RateLimit header fields for HTTP": `RateLimit-Policy: "key";q=<quota>;w=<seconds>`, `RateLimit: "key";r=<left>;t=<s>`.
"""

import math

import msgspec

from events.base import KeyId
from gateway.errors import Problem

_KEPT_MAX = 1024


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    per_s: float
    burst: int
    """At least 1."""


class Bucket(msgspec.Struct):
    tokens: float
    at: float

    def take(self, limit: RateLimit, now: float) -> bool:
        self.tokens = min(limit.burst, self.tokens + max(0.0, now - self.at) * limit.per_s)
        self.at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class Buckets:
    """Of all keys, in one worker."""

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self._buckets: dict[KeyId, Bucket] = {}
        window_s = max(1, math.ceil(limit.burst / limit.per_s))
        self._policy = ("ratelimit-policy", f'"key";q={limit.burst};w={window_s}')

    def take(self, key_id: KeyId, now: float) -> tuple[tuple[str, str], ...] | Problem:
        """One request's token: the headers of its answer, or why there is none."""
        bucket = self._buckets.get(key_id)
        if bucket is None:
            self._forget_full(now)
            bucket = self._buckets[key_id] = Bucket(self.limit.burst, now)
        taken = bucket.take(self.limit, now)
        next_s = max(0, math.ceil((1.0 - bucket.tokens) / self.limit.per_s)) if bucket.tokens < 1.0 else 0
        headers = (self._policy, ("ratelimit", f'"key";r={int(bucket.tokens)};t={next_s}'))
        if taken:
            return headers
        reason = (
            f"API key {key_id} may send {self.limit.per_s:g} requests a second and {self.limit.burst} at once: "
            "send less, or raise the gateway's rate limit"
        )
        return Problem(429, "rate_limited", reason, headers=(*headers, ("retry-after", str(max(1, next_s)))))

    def _forget_full(self, now: float) -> None:
        """A bucket that is full again is as good as none."""
        if len(self._buckets) >= _KEPT_MAX:
            full_s = self.limit.burst / self.limit.per_s
            self._buckets = {each: bucket for each, bucket in self._buckets.items() if bucket.at + full_s > now}
