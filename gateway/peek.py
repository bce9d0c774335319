"""Reads the beginning of a JSON body for the one field that tells where the request goes. Pure; never parses it all.

Only the fields of the outermost object count, and of each name the first. What is not JSON is not judged here: the
field is just not found. The work is bounded by how much of the body is given.
"""

import re
from enum import Enum

import msgspec

PEEK_BYTES_MAX = 64 * 1024

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+("?)|[\[\]{}]', re.DOTALL)
_AFTER_NAME = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


class Missing(Enum):
    YET = "yet"
    """It may be in what has not arrived."""
    NOT_THERE = "not there"


def value_at(start: bytes, names: frozenset[bytes]) -> int | Missing:
    """Where the value of the first of these fields begins. `start` may end anywhere."""
    depth = position = 0
    while token := _TOKEN.search(start, position):
        position = token.end()
        mark = token[0]
        if token[1] == b"":
            return Missing.YET  # A string that has not ended.
        if mark in b"{[":
            if not depth and mark == b"[":
                return Missing.NOT_THERE
            depth += 1
        elif mark in b"}]":
            depth -= 1
            if depth <= 0:
                return Missing.NOT_THERE
        elif depth == 1:
            colon = _AFTER_NAME.match(start, position)
            if colon is None:
                continue
            if mark[1:-1] in names:
                return colon.end()
            position = colon.end()
            if start[position : position + 1] == b'"':
                skipped = _STRING.match(start, position)
                if skipped is None:
                    return Missing.YET
                position = skipped.end()
    return Missing.YET


def text_of(start: bytes, name: bytes) -> str | Missing | None:
    """The field's text; None: it is there and is no text."""
    at = value_at(start, frozenset((name,)))
    if isinstance(at, Missing):
        return at
    if at >= len(start):
        return Missing.YET
    if start[at : at + 1] != b'"':
        return None
    text = _STRING.match(start, at)
    if text is None:
        return Missing.YET
    try:
        return msgspec.json.decode(text[0], type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def prefix_of(start: bytes, names: frozenset[bytes], size: int) -> bytes | Missing:
    """The first `size` bytes of the value of the first of these fields, as they stand."""
    at = value_at(start, names)
    if isinstance(at, Missing):
        return at
    return start[at : at + size] if len(start) >= at + size else Missing.YET
