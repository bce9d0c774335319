"""Heads that are known by their bytes, because clients and model servers send the same again and again.

All but the length: that is cut out, and everything else must be the same to the byte.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

REMEMBERED, REMEMBERED_BYTES_MAX = 512, 2048
"""The last ones, and no long ones: so it stays small."""
_LENGTH_LINES = frozenset((b"\r\nContent-Length: ", b"\r\ncontent-length: "))
"""As nearly all write it; heads that write it otherwise are read each time."""
_LOOKED_FOR = b"ength: "
"""The end of both."""
_LENGTH_LINE_BYTES, _LENGTH_DIGITS_MAX = 18, 15
H = TypeVar("H")


class Remembering(Generic[H]):
    """Reads heads strictly, and knows those that it has read by their bytes without the digits of Content-Length."""

    def __init__(self, strictly: Callable[[bytes], tuple[H, int | None]]) -> None:
        self.strictly: Callable[[bytes], tuple[H, int | None]] = strictly
        self._sized: dict[bytes, H] = {}
        self._unsized: dict[bytes, H] = {}
        """Apart, so that no head without digits is taken for one whose digits were cut out."""

    def __call__(self, raw: bytes) -> tuple[H, int | None]:
        """`raw` ends with the empty line. With Content-Length, if there is one."""
        known, cut, length = self._unsized, raw, None
        at = raw.find(_LOOKED_FOR) + len(_LOOKED_FOR)
        if at >= _LENGTH_LINE_BYTES and raw[at - _LENGTH_LINE_BYTES : at] in _LENGTH_LINES:
            to = raw.index(b"\r", at)
            digits = raw[at:to]
            if to - at <= _LENGTH_DIGITS_MAX and digits.isdigit():
                known, cut, length = self._sized, raw[:at] + raw[to:], int(digits)
        remembered = known.get(cut)
        if remembered is not None:
            return remembered, length
        head, found = self.strictly(raw)
        is_usual = found == length
        if is_usual and len(cut) <= REMEMBERED_BYTES_MAX:
            if len(known) >= REMEMBERED:
                del known[next(iter(known))]
            known[cut] = head
        return head, found
