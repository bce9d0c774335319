"""The beginning of a body, where that decides which model is meant or which replica suits best.

Bounded: what is not in the first `PEEK_BYTES_MAX` bytes is not looked for. It is looked at again only when twice as
much has arrived, so that a body in many small pieces costs no more than one in a few.
"""

from typing import NamedTuple

from gateway.addresses import Address
from gateway.errors import Problem, client_error
from gateway.peek import PEEK_BYTES_MAX, Missing, prefix_of, text_of

PROMPTS = {
    "/v1/chat/completions": frozenset((b"messages",)),
    "/v1/completions": frozenset((b"prompt",)),
    "/v1/messages": frozenset((b"system", b"messages")),
}
_NO_PROMPT: frozenset[bytes] = frozenset()
_HOW = "a JSON object whose field `model` is a model's name or id, or name/environment"


class Seen(NamedTuple):
    name: str | None
    prefix: bytes | None


class Beginning:
    def __init__(self, *, needs_name: bool, prompt: frozenset[bytes], prefix_bytes: int) -> None:
        self._needs_name, self._prompt, self._prefix_bytes = needs_name, prompt, prefix_bytes
        self._start = b""
        self._look_at = 0

    def add(self, pieces: list[bytes]) -> None:
        if len(self._start) < PEEK_BYTES_MAX:
            self._start = b"".join((self._start, *pieces))[:PEEK_BYTES_MAX]

    def look(self, *, ended: bool) -> Seen | Problem | None:
        """None: more of the body is needed."""
        ended = ended or len(self._start) >= PEEK_BYTES_MAX
        if not ended and len(self._start) < self._look_at:
            return None
        self._look_at = 2 * len(self._start)
        name, prefix = None, None
        if self._needs_name:
            found = text_of(self._start, b"model")
            if found is Missing.YET and not ended:
                return None
            if not isinstance(found, str) or not found:
                return client_error(400, f"the field `model` {_lack(found)}: send {_HOW}")
            name = found
        if self._prompt:
            part = prefix_of(self._start, self._prompt, self._prefix_bytes)
            if part is Missing.YET and not ended:
                return None
            prefix = None if isinstance(part, Missing) else part
        return Seen(name, prefix)


def beginning_of(address: Address, *, needs_name: bool, prefix_bytes: int) -> Beginning | None:
    """None: the body decides nothing."""
    if not needs_name and not prefix_bytes:
        return None
    prompt = PROMPTS.get(address.upstream.partition("?")[0], _NO_PROMPT) if prefix_bytes else _NO_PROMPT
    if not needs_name and not prompt:
        return None
    return Beginning(needs_name=needs_name, prompt=prompt, prefix_bytes=prefix_bytes)


def _lack(found: str | Missing | None) -> str:
    if isinstance(found, Missing):
        return f"is not in the first {PEEK_BYTES_MAX} bytes of the body"
    return "is no text" if found is None else "is empty"
