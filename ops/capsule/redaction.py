"""What leaves in a capsule without its secrets, and what was taken out. Pure.

Known fields that stand for a secret go always; in free text whatever is written like a credential. An event keeps its
shape, so that it folds as before.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from events.codec import Recorded, event_type
from events.union import AnyEvent, UnknownEvent
from projections.entities import ID_FIELDS

FIELDS: Mapping[str, tuple[str, ...]] = {"KeyIssued": ("hash",)}
"""By event type."""
NAMES = frozenset(("type", "name", "environment", *ID_FIELDS))
"""Of fields that are no free text: what people call things, by which they are found again. `hf_access_token` is one."""
BEHIND_THE_HOST = re.compile(r"(?<=[^:/]/)[^/?#\s].*|\?.*")
"""Of a webhook's address: it may be all that keeps strangers from posting there."""
REMOVED = "[removed]"
PATTERNS: Mapping[str, re.Pattern[str]] = {
    "private key": re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
    ),
    "authorization header": re.compile(r"(?i)\b(?:bearer|basic|api-key)[ \t]+[A-Za-z0-9._~+/=-]{8,}"),
    "password in an address": re.compile(r"(?<=://)[^\s/:@]*:[^\s/@]+(?=@)"),
    "JSON web token": re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
    "provider token": re.compile(
        r"\b(?:(?:ghp_|gho_|ghs_|github_pat_|glpat-|xox[abp]-|AKIA|ASIA|AIza)"
        r"|(?:hf_|sk-)(?=[\w-]*[A-Za-z0-9]{16}))[A-Za-z0-9_-]{12,}"  # not every word that begins so
    ),
    "signed address": re.compile(r"(?i)(?<=[?&])[\w-]*(?:signature|sig|hmac)=[^\s\"'&]{4,}"),
    "named secret": re.compile(
        r"(?i)\b[\w-]*(?:password|passwd|secret|token|api_?key|access_?key|credential)[\w-]*[\"']?\s*[=:]\s*[\"']?[^\s\"',;&]{4,}"
    ),
}


class Redaction(msgspec.Struct, frozen=True):
    """How often something was taken out, and of what."""

    what: str
    count: int


class Redactor:
    """Counts what it takes out, for the report."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()

    def event(self, recorded: Recorded) -> Recorded:
        event = recorded.event
        kind = event_type(event)
        body = _body(event)
        clean = {name: self._field(kind, name, value) for name, value in body.items()}
        if clean == body:
            return recorded
        if isinstance(event, UnknownEvent):
            return msgspec.structs.replace(
                recorded, event=UnknownEvent(event.type, msgspec.json.encode(clean).decode())
            )
        return msgspec.structs.replace(recorded, event=msgspec.convert(clean, AnyEvent))

    def _field(self, kind: str, name: str, value: Any) -> Any:
        if name in FIELDS.get(kind, ()):
            self._count[f"{kind}.{name}"] += 1
            return REMOVED
        return self._named(name, value, f"{kind}.{name}")

    def _named(self, name: str, value: Any, where: str) -> Any:
        if not isinstance(value, str):
            return self.tree(value, where)
        if name == "url":
            value, count = BEHIND_THE_HOST.subn(REMOVED, value)
            self._count[f"path of an address in {where}"] += count
        return value if name in NAMES else self._text(value, where)

    def tree(self, value: Any, where: str) -> Any:
        """Plain values of any shape, with their texts clean."""
        match value:
            case str():
                return self._text(value, where)
            case list() | tuple():
                return [self.tree(each, where) for each in value]
            case dict():
                return {name: self._named(name, each, where) for name, each in value.items()}
            case _:
                return value

    def _text(self, text: str, where: str) -> str:
        for what, pattern in PATTERNS.items():
            text, count = pattern.subn(REMOVED, text)
            if count:
                self._count[f"{what} in {where}"] += count
        return text

    def report(self) -> tuple[Redaction, ...]:
        return tuple(Redaction(what, count) for what, count in sorted(self._count.items()) if count)


def _body(event: AnyEvent | UnknownEvent) -> dict[str, Any]:
    body: dict[str, Any] = (
        msgspec.json.decode(event.body) if isinstance(event, UnknownEvent) else msgspec.to_builtins(event)
    )
    return body
