"""Frames are found whole, however the bytes were cut on their way; subjects name exactly one aggregate."""

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from events.base import StreamName
from events.log import LogBroken
from events.log.jetstream_reader import header
from events.log.nats_wire import Frame, split_frames, status_of
from events.log.subjects import stream_of, subject_of

HEADERS = b"NATS/1.0\r\nce-id: 1\r\n\r\n"
FRAMES: tuple[tuple[bytes, Frame], ...] = (
    (b"MSG evt.a.b.C 1 5\r\nhello\r\n", (b"evt.a.b.C", b"", b"", b"hello")),
    (b"MSG evt.a.b.C 1 $JS.ACK.x 2\r\n\r\n\r\n", (b"evt.a.b.C", b"$JS.ACK.x", b"", b"\r\n")),
    (b"HMSG s 1 22 25\r\n" + HEADERS + b"abc\r\n", (b"s", b"", HEADERS, b"abc")),
    (b"HMSG s 1 r 22 22\r\n" + HEADERS + b"\r\n", (b"s", b"r", HEADERS, b"")),
)
LINES = (b"PING", b"PONG", b"+OK", b"-ERR 'slow'", b"INFO {}")

pieces = st.lists(st.one_of(st.sampled_from(FRAMES), st.sampled_from([(line + b"\r\n", line) for line in LINES])))


@settings(deadline=None)
@given(pieces, st.lists(st.integers(0, 400)))
def test_frames_and_lines_are_the_same_however_the_bytes_were_cut(
    sent: list[tuple[bytes, Frame | bytes]], cuts: list[int]
) -> None:
    octets = b"".join(piece for piece, _ in sent)
    edges = [0, *sorted(cut for cut in cuts if cut < len(octets)), len(octets)]
    frames: list[Frame] = []
    lines: list[bytes] = []
    rest = b""
    for begin, end in pairwise(edges):
        rest += octets[begin:end]
        more, others, used = split_frames(rest)
        frames, lines, rest = frames + more, lines + others, rest[used:]
    assert frames == [piece for _, piece in sent if isinstance(piece, tuple)]
    assert lines == [piece for _, piece in sent if isinstance(piece, bytes)]
    assert rest == b""


def test_the_words_of_the_server_are_told_from_messages() -> None:
    expired = b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 12\r\nNats-Pending-Bytes: 0\r\n\r\n"
    assert status_of(expired) == 408
    assert header(expired, "Nats-Pending-Messages") == "12"
    assert header(expired, "Nats-Last-Stream") is None
    assert status_of(HEADERS) == 0
    assert status_of(b"") == 0


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_a_subject_names_one_aggregate_and_only_that(category: str, name: str, other: str) -> None:
    stream = StreamName(category, name)
    subject = subject_of(stream)
    assert stream_of(subject) == stream
    assert not set(subject) & set(" \t\r\n*>")
    assert subject.count(".") == 2
    assert (subject_of(StreamName(category, other)) == subject) == (other == name)


def test_a_message_outside_the_scheme_breaks_the_log() -> None:
    with pytest.raises(LogBroken, match="only evt"):
        stream_of("evt.node")
