"""Bytes of a log message <-> (event, metadata). The only encoder and decoder of events.

The common case is one typed decode. Only a message that this fails on takes the slow path: an upcast of a retired
schema version, or an `UnknownEvent`. A message that is neither is corrupt, and says so.
"""

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from events.base import Metadata, Position, StreamName
from events.union import AnyEvent, UnknownEvent
from events.upcasters import UPCASTERS, Upcast


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """An event in the log: what every fold receives."""

    position: Position
    stream: StreamName
    event: AnyEvent | UnknownEvent
    meta: Metadata


class CorruptMessage(ValueError):
    """A message of the log that no version of the codec can have written."""


class _Message(msgspec.Struct, frozen=True, gc=False):
    event: AnyEvent
    meta: Metadata


class _RawMessage(msgspec.Struct, frozen=True):
    event: dict[str, Any]
    meta: Metadata


_encoder = msgspec.json.Encoder()
_decode = msgspec.json.Decoder(_Message).decode
_decode_raw = msgspec.json.Decoder(_RawMessage).decode
KNOWN = frozenset(str(kind.__struct_config__.tag) for kind in get_args(AnyEvent))


def event_type(event: AnyEvent | UnknownEvent) -> str:
    """The name that subjects, filters and people use: the tag without its schema version."""
    tag = event.type if isinstance(event, UnknownEvent) else str(event.__struct_config__.tag)
    return tag.partition(".")[0]


def encode(event: AnyEvent, meta: Metadata) -> bytes:
    return _encoder.encode(_Message(event, meta))


def decode(
    payload: bytes, upcasters: Mapping[str, tuple[str, Upcast]] = UPCASTERS
) -> tuple[AnyEvent | UnknownEvent, Metadata]:
    """Raises CorruptMessage when the bytes are not an event of any version."""
    try:
        message = _decode(payload)
        return message.event, message.meta
    except msgspec.ValidationError:
        return _decode_other_version(payload, upcasters)
    except msgspec.DecodeError as error:
        raise CorruptMessage(f"not a log message: {error}: {payload[:200]!r}") from error


def _decode_other_version(
    payload: bytes, upcasters: Mapping[str, tuple[str, Upcast]]
) -> tuple[AnyEvent | UnknownEvent, Metadata]:
    try:
        raw = _decode_raw(payload)
        tag = str(raw.event["type"])
        body = raw.event
        while tag in upcasters:
            tag, upcast = upcasters[tag]
            body = {**upcast(body), "type": tag}
        if tag in KNOWN:
            return msgspec.convert(body, AnyEvent), raw.meta
    except (msgspec.MsgspecError, KeyError) as error:
        raise CorruptMessage(f"not an event of any version: {error}: {payload[:200]!r}") from error
    return UnknownEvent(tag, msgspec.json.encode(body).decode()), raw.meta
