"""Who may come in: checks an API key against the folded hashes, without a store call.

A key reads `<key_id>.<secret>`. Only its sha256 is on record. A key holds 160 random bits, so a plain hash is enough;
the comparison takes the same time whether a key is nearly right or not at all.
"""

import hashlib
import hmac
import re
from typing import Literal

from events.base import KeyId
from gateway.addresses import Target
from projections.access import Access, Key

Scope = Literal["manage", "invoke", "metrics"]

HOW = "send the header 'Authorization: Bearer <key>' or 'Authorization: Api-Key <key>', key = <id>.<secret>"
BARE_HEADER = "x-api-key"
"""The key alone, as Anthropic's clients send it; counts where there is no Authorization."""
CHALLENGE = ("www-authenticate", 'Bearer realm="causeway"')

_AUTHORIZATION = re.compile(
    r"(?:api-key|bearer)[ \t]+(([A-Za-z0-9_-]{1,64})\.[A-Za-z0-9_-]{1,256})[ \t]*", re.IGNORECASE
)
_NOBODY = hashlib.sha256(b"").hexdigest()


class KeyRefused(Exception):
    """No entry. `status` is 401 (who are you?) or 403 (not with this key)."""

    def __init__(self, status: Literal[401, 403], reason: str) -> None:
        super().__init__(reason)
        self.status: Literal[401, 403] = status
        self.reason = reason


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def identify(access: Access, authorization: str | None) -> Key | None:
    """The key that this header presents; None if it presents none that is valid."""
    found = _AUTHORIZATION.fullmatch(authorization or "")
    if found is None:
        return None
    key = access.keys.get(KeyId(found[2]))
    right = hmac.compare_digest(hash_of(found[1]), _NOBODY if key is None else key.hash)
    return key if right else None


def bare(key: str) -> str:
    """As the value of Authorization what `x-api-key` says."""
    return f"Api-Key {key}"


def check_reach(key: Key, target: Target) -> None:
    """Raises KeyRefused where the key is for other models or environments."""
    if key.models and target.model_id not in key.models:
        raise KeyRefused(403, f"API key {key.key_id} is for the models {', '.join(key.models)} only")
    if key.environments and not (target.by == "environment" and target.name in key.environments):
        raise KeyRefused(403, f"API key {key.key_id} is for the environments {', '.join(key.environments)} only")


def check(access: Access, authorization: str | None, scope: Scope) -> Key:
    """The key that this header presents, if it is good for `scope`; raises KeyRefused."""
    key = identify(access, authorization)
    if key is None and not authorization:
        raise KeyRefused(401, f"no API key: {HOW}")
    if key is None:
        raise KeyRefused(401, f"this API key is not valid (unknown, revoked or mistyped): {HOW}")
    if scope not in key.scopes:
        has = ", ".join(key.scopes)
        raise KeyRefused(403, f"API key {key.key_id} has the scopes {has}; this needs the scope {scope}")
    return key
