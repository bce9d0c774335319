"""Who asks, and for what: the caller's key, its rate, and the model that it means.

Answers from the views in memory. Whether there is a replica is not asked here. All of it but the rate follows from
the request's head and the views, so it is kept with the head until a view changes.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

import msgspec

from gateway.addresses import UNNAMED, Address, Catalogue, Target, Unnamed, for_target, host_name, parse
from gateway.bucket import Buckets, RateLimit
from gateway.choose import affinity_of
from gateway.dataplane.heads import RequestHead
from gateway.dataplane.limits import Limits, limits_of
from gateway.errors import Problem, client_error, not_found
from gateway.keys import BARE_HEADER, CHALLENGE, KeyRefused, bare, check, check_reach
from gateway.resolve import catalogue, named
from projections.access import Access, Key
from projections.routing import RoutingTable
from projections.view import View

_BARE = BARE_HEADER.encode()
_REMEMBERED, _REMEMBERED_LENGTH_MAX = 2048, 512
"""Addresses and keys repeat from request to request. Long ones are not kept, so that it stays small."""
_remembered_parse = lru_cache(_REMEMBERED)(parse)


_REQUEST_ID_HEADERS = (b"x-request-id", b"x-baseten-request-id")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_SESSION_HEADER = b"x-causeway-session"

Where = Address | Unnamed | Catalogue | Problem
Ration = tuple[tuple[str, str], ...]
"""Headers that tell how much the key may still send."""


class Errand(msgspec.Struct, frozen=True):
    """That a model is asked for something, as far as the head says what."""

    key: Key
    address: Address
    limits: Limits
    affinity: bytes | None
    """Of the session that it names."""
    switching: bool


class Entry(msgspec.Struct, frozen=True):
    """What a head comes to at this gate."""

    views: object
    """Stands for the views as they were."""
    meant: Errand | bytes | Problem | None
    """Bytes are an answer that needs no model; None: not the data plane's."""
    key: Key | None = None
    """None: it lets nobody in."""
    request_id: str | None = None
    """The caller's own, if it is one that can stand in a header and a log line."""


class Gate:
    def __init__(
        self,
        routing: View[RoutingTable],
        access: View[Access],
        *,
        domain: str,
        hosts: Mapping[str, str],
        rate_limit: RateLimit | None,
        limits: Limits,
        now: Callable[[], float],
    ) -> None:
        """`limits`: of requests whose environment has none of its own."""
        self._routing, self._access = routing, access
        self._domain = domain
        self._hosts = {host.lower(): name for host, name in hosts.items()}
        self._buckets = None if rate_limit is None else Buckets(rate_limit)
        self.rations = rate_limit is not None
        """Whether `ration` is to be asked."""
        self._now = now
        self._usual = limits
        self._views = object()
        self._keys: dict[bytes, Key] = {}
        """By the Authorization that presented them, until the view changes."""
        access.on_change(self._keys.clear)
        for view in (routing, access):
            view.on_change(self._views_changed)

    def entry(self, head: RequestHead) -> Entry:
        known = head.entry
        if isinstance(known, Entry) and known.views is self._views:
            return known
        made = head.entry = self._entry(head)
        return made

    def ration(self, key: Key) -> Ration | Problem:
        """Takes one request's part of what the key may send."""
        assert self._buckets is not None
        return self._buckets.take(key.key_id, self._now())

    def limits(self, target: Target) -> Limits:
        return limits_of(self._routing.state, target, self._usual)

    def _views_changed(self) -> None:
        self._views = object()

    def _entry(self, head: RequestHead) -> Entry:
        where = self.locate(head)
        if where is None:
            return Entry(self._views, None)
        request_id = _request_id(head)
        key = self.admit(head)
        if isinstance(key, Problem):
            return Entry(self._views, key, None, request_id)
        meant = self.reach(head, where, key)
        if isinstance(meant, Unnamed):
            meant = Address(UNNAMED, "openai", meant.upstream)
        if not isinstance(meant, Address):
            return Entry(self._views, meant, key, request_id)
        switching = head.upgrade == b"websocket" and meant.verb in ("websocket", "sync")
        affinity = affinity_of(head.value(_SESSION_HEADER))
        errand = Errand(key, meant, self.limits(meant.target), affinity, switching)
        return Entry(self._views, errand, key, request_id)

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

    def admit(self, head: RequestHead) -> Key | Problem:
        """Whether this caller may call models."""
        presented = head.value(b"authorization")
        key = None if presented is None else self._keys.get(presented)
        if key is None:
            try:
                key = check(self._access.state, _authorization(head, presented), "invoke")
            except KeyRefused as refused:
                return _unauthorized(refused)
            if presented is not None and len(self._keys) < _REMEMBERED:
                self._keys[presented] = key
        return key

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


def _request_id(head: RequestHead) -> str | None:
    for name in _REQUEST_ID_HEADERS:
        if name in head.noted and _REQUEST_ID.fullmatch(head.noted[name][0]):
            return head.noted[name][0].decode()
    return None


def _authorization(head: RequestHead, presented: bytes | None) -> str | None:
    if presented is not None:
        return presented.decode("latin-1")
    key_alone = head.value(_BARE)
    return None if key_alone is None else bare(key_alone.decode("latin-1"))


def _unauthorized(refused: KeyRefused) -> Problem:
    headers = (CHALLENGE,) if refused.status == 401 else ()
    return Problem(refused.status, "unauthorized", refused.reason, headers=headers)
