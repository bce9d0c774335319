"""Subjects of the log, `evt.<category>.<id>.<type>`, and the aggregates that they name."""

from urllib.parse import quote, unquote

from events.base import StreamName
from events.log import LogBroken


def subject_of(stream: StreamName) -> str:
    """The subject of an aggregate, without the event type. Any text can be an id: the unfit is %-coded."""
    return ".".join(("evt", *(quote(part, safe="").replace(".", "%2E") for part in stream)))


def stream_of(subject: str) -> StreamName:
    words = subject.split(".")
    if len(words) != 3:
        raise LogBroken(f"a message under {subject!r}, where only evt.<category>.<id>.<type> can be")
    if "%" in subject:
        words = [unquote(word) for word in words]
    return StreamName(words[1], words[2])
