"""Segments: a stretch of the log whose messages have one hash, and the file that an archive keeps of it. Pure.

The hash covers position, subject and body of each message, and the previous segment's hash; so segments form a chain
and none can be changed, dropped or exchanged without all later ones. A file is NDJSON: a line about the segment, then
a line a message, with the body as it is in the log.
"""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterable

import msgspec

from events.base import Position
from events.codec import Recorded, decode
from events.log.raw import RawMessage
from events.log.subjects import stream_of

FORMAT = 1


class SegmentBroken(ValueError):
    """The file is no whole segment."""


class Segment(msgspec.Struct, frozen=True):
    first: Position
    last: Position
    hash: str
    previous_hash: str
    format: int = FORMAT


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    position: Position
    subject: str
    body: msgspec.Raw
    headers: str = ""
    base64: bool = False
    """The body is no JSON, and stands here in base64."""


_encode = msgspec.json.Encoder().encode
_decode_line = msgspec.json.Decoder(_Line).decode


def segment_of(messages: Iterable[RawMessage], previous_hash: str) -> Segment:
    """Raises ValueError if there is none, or positions lack."""
    hasher = hashlib.sha256(previous_hash.encode())
    first = last = Position(0)
    for message in messages:
        if last and message.position != last + 1:
            raise ValueError(f"after position {last} comes {message.position}")
        first, last = first or message.position, message.position
        subject = message.subject.encode()
        hasher.update(b"%d %d %d\n" % (message.position, len(subject), len(message.body)))
        hasher.update(subject)
        hasher.update(message.body)
    if not last:
        raise ValueError("a segment has at least one message")
    return Segment(first, last, hasher.hexdigest(), previous_hash)


def lines_of(segment: Segment, messages: Iterable[RawMessage]) -> bytes:
    return b"".join((_encode(segment), b"\n", *(_line(each) + b"\n" for each in messages)))


def _line(message: RawMessage) -> bytes:
    body, base64 = message.body, False
    try:
        msgspec.json.decode(body)
        base64 = b"\n" in body
    except (msgspec.DecodeError, UnicodeDecodeError):
        base64 = True
    if base64:
        body = _encode(b64encode(body).decode())
    return _encode(_Line(message.position, message.subject, msgspec.Raw(body), message.headers, base64))


def read_lines(content: bytes) -> tuple[Segment, tuple[RawMessage, ...]]:
    """What the file says, not yet whether its hash holds. Raises SegmentBroken."""
    try:
        head, *lines = content.splitlines()
        segment = msgspec.json.decode(head, type=Segment)
        if segment.format != FORMAT:
            raise SegmentBroken(f"format {segment.format}; this code reads {FORMAT}: upgrade to read it")
        return segment, tuple(_message(line) for line in lines)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise SegmentBroken(str(error)) from error


def _message(line: bytes) -> RawMessage:
    read = _decode_line(line)
    body = bytes(read.body)
    return RawMessage(
        read.position, read.subject, read.headers, b64decode(msgspec.json.decode(body)) if read.base64 else body
    )


def recorded_of(message: RawMessage) -> Recorded:
    """Raises CorruptMessage, LogBroken."""
    return Recorded(message.position, stream_of(message.subject.rpartition(".")[0]), *decode(message.body))


def is_whole(message: RawMessage) -> bool:
    """Whether a decision ends with this message. Raises CorruptMessage."""
    _, meta = decode(message.body)
    return meta.index + 1 >= meta.count


def first_difference(before: Iterable[RawMessage], after: Iterable[RawMessage]) -> Position | None:
    """Where two readings of the same stretch say something else."""
    known = {each.position: (each.subject, each.body) for each in before}
    for each in after:
        if known.pop(each.position, None) != (each.subject, each.body):
            return each.position
    return min(known, default=None)
