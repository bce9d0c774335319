"""Who asks, and for what: the caller's key, its rate, and the model that it means.

Answers from the views in memory. Whether there is a replica is not asked here.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec

from gateway.addresses import Address, Catalogue, Target, Unnamed, for_target, host_name, parse
from gateway.bucket import Buckets, RateLimit
from gateway.choose import catalogue, named
from gateway.dataplane.heads import RequestHead
from gateway.errors import Problem, client_error, not_found
from gateway.keys import BARE_HEADER, CHALLENGE, KeyRefused, bare, check, check_reach
from projections.access import Access, Key
from projections.routing import RoutingTable
from projections.view import View

_BARE = BARE_HEADER.encode()
_REMEMBERED, _REMEMBERED_LENGTH_MAX = 2048, 512
"""Addresses and keys repeat from request to request. Long ones are not kept, so that it stays small."""
_remembered_parse = lru_cache(_REMEMBERED)(parse)


Where = Address | Unnamed | Catalogue | Problem


class Admitted(NamedTuple):
    key: Key
    limits: tuple[tuple[str, str], ...]
    """Headers that tell how much the key may still send."""


class Gate:
    def __init__(
        self,
        routing: View[RoutingTable],
        access: View[Access],
        *,
        domain: str,
        hosts: Mapping[str, str],
        rate_limit: RateLimit | None,
        now: Callable[[], float],
    ) -> None:
        self._routing, self._access = routing, access
        self._domain = domain
        self._hosts = {host.lower(): name for host, name in hosts.items()}
        self._buckets = None if rate_limit is None else Buckets(rate_limit)
        self._now = now
        self._admitted: dict[bytes, Admitted] = {}
        """By the Authorization that presented it, until the views change."""
        access.on_change(self._admitted.clear)

    def locate(self, head: RequestHead) -> Where | None:
        """None: not the data plane's."""
        name = self._hosts.get(host_name(head.host)) if self._hosts else None
        if name is None:
            short = len(head.target) + len(head.host) <= _REMEMBERED_LENGTH_MAX
            return (_remembered_parse if short else parse)(head.method, head.host, head.target, self._domain)
        target = self.named(name)
        if isinstance(target, Problem):
            return target
        return for_target(head.method, target, head.target)

    def admit(self, head: RequestHead) -> Admitted | Problem:
        """Whether this caller may call models, and may now."""
        presented = head.value(b"authorization")
        admitted = None if presented is None else self._admitted.get(presented)
        if admitted is None:
            try:
                admitted = Admitted(check(self._access.state, _authorization(head, presented), "invoke"), ())
            except KeyRefused as refused:
                return _unauthorized(refused)
            if presented is not None and len(self._admitted) < _REMEMBERED:
                self._admitted[presented] = admitted
        if self._buckets is None:
            return admitted
        limits = self._buckets.take(admitted.key.key_id, self._now())
        return limits if isinstance(limits, Problem) else Admitted(admitted.key, limits)

    def reach(self, head: RequestHead, where: Where, key: Key) -> Address | Unnamed | bytes | Problem:
        """Where this key gets to: bytes are an answer that needs no model."""
        if isinstance(where, Address):
            if where.verb == "websocket" and head.upgrade != b"websocket":
                upgrade = client_error(426, "this is a WebSocket: ask to upgrade", ("upgrade", "websocket"))
                return self.refusal(key, where.target) or upgrade
            return self.refusal(key, where.target) or where
        return self.models(key, where.name) if isinstance(where, Catalogue) else where

    def refusal(self, key: Key, target: Target) -> Problem | None:
        """Why this key may not call this."""
        if key.models or key.environments:
            try:
                check_reach(key, target)
            except KeyRefused as refused:
                return _unauthorized(refused)
        return None

    def named(self, name: str) -> Target | Problem:
        return named(self._routing.state, name)

    def models(self, key: Key, name: str) -> bytes | Problem:
        """In OpenAI's shape: what this key may call, or the one of that name."""
        found = [
            {"id": each, "object": "model", "created": 0, "owned_by": "causeway"}
            for each, target in catalogue(self._routing.state)
            if self.refusal(key, target) is None and name in ("", each)
        ]
        if not name:
            return msgspec.json.encode({"object": "list", "data": found})
        if not found:
            return not_found(f"there is no model {name!r} that this key may call: GET /openai/v1/models lists them")
        return msgspec.json.encode(found[0])


def _authorization(head: RequestHead, presented: bytes | None) -> str | None:
    if presented is not None:
        return presented.decode("latin-1")
    key_alone = head.value(_BARE)
    return None if key_alone is None else bare(key_alone.decode("latin-1"))


def _unauthorized(refused: KeyRefused) -> Problem:
    headers = (CHALLENGE,) if refused.status == 401 else ()
    return Problem(refused.status, "unauthorized", refused.reason, headers=headers)
