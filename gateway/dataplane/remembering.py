"""Heads that are known by their bytes, because clients and model servers send the same again and again.

All but the length: that is cut out, and everything else must be the same to the byte. A connection keeps what its
last head is known by, and looks there first.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

REMEMBERED, REMEMBERED_BYTES_MAX = 512, 2048
"""The last ones, and no long ones: so it stays small."""
_LENGTH_LINES = frozenset((b"\r\nContent-Length: ", b"\r\ncontent-length: "))
"""As nearly all write it; heads that write it otherwise are read each time."""
_LOOKED_FOR = b"ength: "
"""The end of both."""
_LENGTH_LINE_BYTES, _LENGTH_DIGITS_MAX = 18, 15
H = TypeVar("H")


class Known(msgspec.Struct, Generic[H], frozen=True):
    """A head that has been read, for who may get the same again."""

    head: H
    before: bytes
    """All of its bytes up to the digits of its length; all, if it has none."""
    after: bytes
    """The rest."""

    def again(self, arrived: bytes) -> tuple[int | None, int] | None:
        """The length and where the head ends, if what has arrived begins with the same head; all but the digits."""
        if not arrived.startswith(self.before):
            return None
        at = len(self.before)
        if not self.after:
            return None, at
        to = arrived.find(b"\r", at)
        digits = arrived[at:to]
        if to - at <= _LENGTH_DIGITS_MAX and digits.isdigit() and arrived.startswith(self.after, to):
            return int(digits), to + len(self.after)
        return None


class Remembering(Generic[H]):
    """Reads heads strictly, and knows those that it has read by their bytes without the digits of Content-Length."""

    def __init__(self, strictly: Callable[[bytes], tuple[H, int | None]]) -> None:
        self.strictly: Callable[[bytes], tuple[H, int | None]] = strictly
        self._sized: dict[bytes, Known[H]] = {}
        self._unsized: dict[bytes, Known[H]] = {}
        """Apart, so that no head without digits is taken for one whose digits were cut out."""

    def __call__(self, raw: bytes) -> tuple[H, int | None]:
        """`raw` ends with the empty line. With Content-Length, if there is one."""
        head, length, _ = self.read(raw)
        return head, length

    def read(self, raw: bytes) -> tuple[H, int | None, Known[H] | None]:
        """Also what to know it by; None: it is too long for that, or unusual."""
        known, before, after, length = self._unsized, raw, b"", None
        at = raw.find(_LOOKED_FOR) + len(_LOOKED_FOR)
        if at >= _LENGTH_LINE_BYTES and raw[at - _LENGTH_LINE_BYTES : at] in _LENGTH_LINES:
            to = raw.index(b"\r", at)
            digits = raw[at:to]
            if to - at <= _LENGTH_DIGITS_MAX and digits.isdigit():
                known, before, after, length = self._sized, raw[:at], raw[to:], int(digits)
        cut = before + after
        remembered = known.get(cut)
        if remembered is not None:
            return remembered.head, length, remembered
        head, found = self.strictly(raw)
        is_usual = found == length
        if not is_usual or len(cut) > REMEMBERED_BYTES_MAX:
            return head, found, None
        if len(known) >= REMEMBERED:
            del known[next(iter(known))]
        made = known[cut] = Known(head, before, after)
        return head, found, made
