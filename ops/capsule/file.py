"""The file: a zip of a manifest, the states where it begins, and the events as lines of JSON.

Events are kept as the log keeps them, so an older capsule is read through the same upcasters as an older log. Each part
is named in the manifest with its hash; what was cut or changed on the way is refused.
"""

import hashlib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from events.base import EventId, Position, StreamName
from events.codec import CorruptMessage, Recorded, decode, encode
from events.log.closed import ClosedLog
from events.union import UnknownEvent
from handlers.decisions import DECISIONS, Aggregate, Aggregates
from ops.capsule.redaction import Redaction
from ops.past import Past
from projections.base import Projection
from projections.stores.kept import Kept

S = TypeVar("S")
FORMAT = 1
MANIFEST, EVENTS, STATES = "manifest.json", "events.ndjson", "states/"
AGGREGATES = f"aggregates.v{DECISIONS.version}"
"""The state of what decides, by the names of aggregates as text."""
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The same content gives the same bytes."""


class CapsuleBroken(ValueError):
    """The file is no capsule, or not whole, or of a newer version."""


class NotWritten(ValueError):
    """There is no place for the file."""


class Code(msgspec.Struct, frozen=True):
    """The code that made it."""

    version: str
    commit: str
    """Empty where it is not known."""
    changed: bool = False
    """The checkout had changes that no commit has."""


class Manifest(msgspec.Struct, frozen=True):
    format: int
    begin: Position
    """The states are as of here; events come after it."""
    end: Position
    begin_at: datetime | None
    end_at: datetime | None
    events: int
    code: Code
    event_schema: str
    """sha256 of the events' schema at that code."""
    made_at: datetime
    redactions: tuple[Redaction, ...]
    parts: dict[str, str]
    """sha256 by name."""


class _Line(msgspec.Struct, frozen=True):
    position: Position
    stream: StreamName
    message: msgspec.Raw


class Capsule(msgspec.Struct, frozen=True):
    manifest: Manifest
    states: dict[str, bytes]
    """JSON by `projection.vN`."""
    events: tuple[Recorded, ...]


def lines_of(events: Iterable[Recorded]) -> bytes:
    return b"".join(msgspec.json.encode(_line(each)) + b"\n" for each in events)


def _line(recorded: Recorded) -> _Line:
    event = recorded.event
    if isinstance(event, UnknownEvent):
        content = msgspec.json.encode({"event": msgspec.Raw(event.body.encode()), "meta": recorded.meta})
    else:
        content = encode(event, recorded.meta)
    return _Line(recorded.position, recorded.stream, msgspec.Raw(content))


def state_name(projection: Projection[Any]) -> str:
    return f"{projection.name}.v{projection.version}"


def write(path: Path, manifest: Manifest, states: Mapping[str, bytes], events: Sequence[Recorded]) -> Manifest:
    """Whole or not at all. Gives the manifest with the parts' hashes. Raises NotWritten."""
    parts = {STATES + name: content for name, content in sorted(states.items())} | {EVENTS: lines_of(events)}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}
    manifest = msgspec.structs.replace(manifest, parts=hashes, events=len(events))
    aside = path.with_name(f"{path.name}.part")
    try:
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in {MANIFEST: msgspec.json.format(msgspec.json.encode(manifest)), **parts}.items():
                entry = zipfile.ZipInfo(name, _LONG_AGO)
                entry.compress_type = zipfile.ZIP_DEFLATED
                file.writestr(entry, content)
        aside.replace(path)
    except OSError as error:
        raise NotWritten(f"{path} cannot be written: {error.strerror}") from error
    return manifest


def read(path: Path) -> Capsule:
    """Raises CapsuleBroken."""
    try:
        with zipfile.ZipFile(path) as file:
            manifest = _manifest(path, file.read(MANIFEST))
            parts = {name: file.read(name) for name in manifest.parts}
    except FileNotFoundError:
        raise CapsuleBroken(f"there is no file {path}") from None
    except (zipfile.BadZipFile, KeyError, OSError, ValueError, NotImplementedError, EOFError) as error:
        if isinstance(error, CapsuleBroken):
            raise
        raise CapsuleBroken(f"{path} is no whole capsule: {error}") from None
    for name, content in parts.items():
        if hashlib.sha256(content).hexdigest() != manifest.parts[name]:
            raise CapsuleBroken(f"{path} is not as it was written: {name} has another hash than its manifest says")
    events = _events(path, manifest, parts.get(EVENTS, b""))
    states = {name.removeprefix(STATES): content for name, content in parts.items() if name.startswith(STATES)}
    return Capsule(manifest, states, events)


def _manifest(path: Path, content: bytes) -> Manifest:
    made: dict[str, Any] = msgspec.json.decode(content)
    if made.get("format") != FORMAT:
        raise CapsuleBroken(f"{path} has format {made.get('format')}; this code reads {FORMAT}: upgrade to open it")
    return msgspec.convert(made, Manifest)


def _events(path: Path, manifest: Manifest, content: bytes) -> tuple[Recorded, ...]:
    events: list[Recorded] = []
    for text in content.splitlines():
        try:
            line = msgspec.json.decode(text, type=_Line)
            events.append(Recorded(line.position, StreamName(*line.stream), *decode(bytes(line.message))))
        except (msgspec.MsgspecError, CorruptMessage) as error:
            raise CapsuleBroken(f"{path}: event {len(events) + 1} cannot be read: {error}") from None
        if events[-1].position != manifest.begin + len(events):
            raise CapsuleBroken(f"{path}: position {manifest.begin + len(events)} is missing")
    if len(events) != manifest.events:
        raise CapsuleBroken(f"{path} has {len(events)} events, its manifest says {manifest.events}")
    return tuple(events)


def aggregates_in(capsule: Capsule) -> Aggregates | None:
    """What deciders decide from where it begins; None: it is not in there, or of another version."""
    content = capsule.states.get(AGGREGATES)
    if content is None:
        return None
    named = msgspec.json.decode(content, type=dict[str, Aggregate])
    return {StreamName(*name.split(".", 1)): aggregate for name, aggregate in named.items()}


class _States:
    """The states with which a capsule begins."""

    def __init__(self, capsule: Capsule) -> None:
        self._capsule = capsule

    async def nearest(self, projection: Projection[S], until: Position, in_part: bool = False) -> Kept[S] | None:
        begin = self._capsule.manifest.begin
        state = self._state(projection) if until >= begin else None
        return None if state is None else Kept(state, begin, EventId(""))

    def _state(self, projection: Projection[Any]) -> Any:
        if projection.name == DECISIONS.name:
            return aggregates_in(self._capsule)
        content = self._capsule.states.get(state_name(projection))
        return None if content is None else msgspec.json.decode(content, type=projection.state_type)


def past_in(capsule: Capsule) -> Past:
    begin = capsule.manifest.begin
    return Past(ClosedLog(begin, capsule.events), _States(capsule), begin, capsule.manifest.begin_at)
