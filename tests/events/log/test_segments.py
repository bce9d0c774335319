"""Segments: the hash notices everything, and a file gives back what was put in, byte by byte."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from events.base import Position
from events.log.raw import RawMessage
from events.log.segments import SegmentBroken, first_difference, lines_of, read_lines, segment_of

bodies = some.binary(max_size=40) | some.text(max_size=20).map(lambda text: msgspec.json.encode({"event": text}))
texts = some.text(some.characters(exclude_categories=["Cs"]), max_size=12)


@some.composite
def stretches(draw: Any) -> tuple[RawMessage, ...]:
    first = draw(some.integers(1, 1_000_000))
    count = draw(some.integers(1, 6))
    return tuple(RawMessage(Position(first + each), draw(texts), draw(texts), draw(bodies)) for each in range(count))


@given(stretches(), some.text("0123456789abcdef", max_size=64))
def test_a_file_gives_back_what_was_put_in(messages: tuple[RawMessage, ...], previous: str) -> None:
    segment = segment_of(messages, previous)
    content = lines_of(segment, messages)
    assert read_lines(content) == (segment, messages)
    assert content.count(b"\n") == len(messages) + 1
    assert first_difference(messages, read_lines(content)[1]) is None


@given(stretches(), some.data())
def test_the_hash_notices_every_change(messages: tuple[RawMessage, ...], data: Any) -> None:
    at = data.draw(some.integers(0, len(messages) - 1))
    other = data.draw(
        some.builds(lambda text: msgspec.structs.replace(messages[at], subject=text), texts)
        | some.builds(lambda body: msgspec.structs.replace(messages[at], body=body), bodies)
    )
    tampered = (*messages[:at], other, *messages[at + 1 :])
    same = other == messages[at]
    assert (segment_of(tampered, "p").hash == segment_of(messages, "p").hash) == same
    assert first_difference(messages, tampered) == (None if same else messages[at].position)
    assert segment_of(messages, "q").hash != segment_of(messages, "p").hash
    if len(messages) > 1:
        assert segment_of(messages[:-1], "p").hash != segment_of(messages, "p").hash
        assert first_difference(messages, messages[:-1]) == messages[-1].position


def test_bytes_cannot_move_from_the_subject_to_the_body() -> None:
    one = (RawMessage(Position(1), "evt.a.bc", "", b"d"),)
    other = (RawMessage(Position(1), "evt.a.b", "", b"cd"),)
    assert segment_of(one, "").hash != segment_of(other, "").hash


@pytest.mark.parametrize("content", [b"", b"{}\n", b'{"first":1}\nx', b"\xff", b'{"first":1,"last":1,"hash":"","previous_hash":"","format":2}\n'])  # fmt: skip  # noqa: E501
def test_what_is_no_segment_is_said_so(content: bytes) -> None:
    with pytest.raises(SegmentBroken):
        read_lines(content)


def test_a_hole_is_no_segment() -> None:
    messages = (RawMessage(Position(1), "s", "", b"1"), RawMessage(Position(3), "s", "", b"1"))
    with pytest.raises(ValueError, match="after position 1 comes 3"):
        segment_of(messages, "")
    with pytest.raises(ValueError, match="at least one"):
        segment_of((), "")
