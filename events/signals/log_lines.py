"""Log lines of builds and replicas: kept a while for people to read, never an event.

One append-only file of JSON lines for each deployment and source, rotated by size. A file has one writer at a
time; any process may read. A line that a killed writer left torn is skipped by readers and closed by the next
writer, so it never swallows the line after it.
"""

import heapq
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from events.base import DeploymentId

Level = Literal["debug", "info", "warning", "error", "critical"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error", "critical")
BUILD = "build"
"""The source name of a deployment's builds; a replica's lines have its id."""

_LEVEL_OF = {
    "trace": "debug", "debug": "debug", "info": "info", "warn": "warning", "warning": "warning",
    "error": "error", "critical": "critical", "fatal": "critical",
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_MESSAGE_MAX = 64 * 1024


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    ts_ns: int
    level: Level = "info"
    message: str
    source: str
    request_id: str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(LogLine).decode


def parse_line(text: str, *, source: str, ts_ns: int) -> LogLine:
    """A line of a child's output: a truss server's JSON record where it is one, plain text otherwise.

    `ts_ns` is when we received it: the record's own time has no zone and no more than seconds in places.
    """
    text = text.rstrip()
    if text.startswith("{"):
        try:
            record = json.loads(text)
        except ValueError:
            record = None
        if isinstance(record, dict) and "message" in record:
            return _from_record(record, source, ts_ns)
    return LogLine(ts_ns=ts_ns, level=_level_of_text(text), message=text[:_MESSAGE_MAX], source=source)


def _from_record(record: dict[str, object], source: str, ts_ns: int) -> LogLine:
    message = str(record["message"])
    if record.get("exc_info"):
        message = f"{message}\n{record['exc_info']}"
    request_id = record.get("request_id")
    return LogLine(
        ts_ns=ts_ns,
        level=_level(str(record.get("levelname") or record.get("level") or "info")),
        message=message[:_MESSAGE_MAX],
        source=source,
        request_id=None if request_id is None else str(request_id),
    )


def _level(name: str) -> Level:
    return _LEVEL_OF.get(name.lower(), "info")  # type: ignore[return-value]


def _level_of_text(text: str) -> Level:
    word = re.split(r"[\s:\]\[]+", text.lstrip("[ "), maxsplit=1)[0]
    return _level(word) if len(word) < 10 else "info"


class LogFiles:
    """`root` is the state folder's `logs`. `max_bytes` a file, `files` of them for each source."""

    def __init__(self, root: Path, *, max_bytes: int = 16 * 1024 * 1024, files: int = 3) -> None:
        self._root = root / "deployments"
        self._max_bytes = max_bytes
        self._files = max(1, files)
        self._open: dict[Path, int] = {}

    def write(self, deployment_id: DeploymentId, line: LogLine) -> None:
        path = self._path(deployment_id, line.source)
        handle = self._open.get(path)
        if handle is None:
            handle = self._open[path] = _open_whole(path)
        if os.fstat(handle).st_size >= self._max_bytes:
            self._rotate(path)
            handle = self._open[path] = _open_whole(path)
        os.write(handle, _encode(line) + b"\n")

    def close(self, deployment_id: DeploymentId, source: str) -> None:
        """Lets go of the file; a later write opens it again."""
        handle = self._open.pop(self._path(deployment_id, source), None)
        if handle is not None:
            os.close(handle)

    def sources(self, deployment_id: DeploymentId) -> tuple[str, ...]:
        folder = self._root / _checked(deployment_id)
        return tuple(sorted({path.name.partition(".jsonl")[0] for path in folder.glob("*.jsonl*")}))

    def newest_two(self, deployment_id: DeploymentId, source: str) -> tuple[Path, Path]:
        """The file that is written, and the one before it, whether they are there or not."""
        path = self._path(deployment_id, source)
        return path, _older(path, 1)

    def query(
        self,
        deployment_id: DeploymentId,
        *,
        start_ns: int = 0,
        end_ns: int | None = None,
        min_level: Level = "debug",
        source: str | None = None,
        contains: str = "",
        keep: Callable[[LogLine], bool] = lambda line: True,
        limit: int = 500,
        newest_first: bool = True,
    ) -> list[LogLine]:
        """Lines with start <= time < end, in the order of their time. Blocks: use a thread."""
        least, wanted = LEVELS.index(min_level), contains.lower()
        found = (
            line
            for line in self._lines(deployment_id, source)
            if line.ts_ns >= start_ns
            and (end_ns is None or line.ts_ns < end_ns)
            and LEVELS.index(line.level) >= least
            and wanted in line.message.lower()
            and keep(line)
        )
        # Numbered, so that lines of one instant keep the order in which they were written.
        numbered = ((line.ts_ns, index, line) for index, line in enumerate(found))
        pick = heapq.nlargest if newest_first else heapq.nsmallest
        return [line for _, _, line in pick(limit, numbered)]

    def _lines(self, deployment_id: DeploymentId, source: str | None) -> Iterator[LogLine]:
        for name in self.sources(deployment_id) if source is None else (source,):
            path = self._path(deployment_id, name)
            for each in (*(_older(path, n) for n in range(self._files - 1, 0, -1)), path):
                yield from _read(each)

    def _path(self, deployment_id: DeploymentId, source: str) -> Path:
        return self._root / _checked(deployment_id) / f"{_checked(source)}.jsonl"

    def _rotate(self, path: Path) -> None:
        os.close(self._open.pop(path))
        for n in range(self._files - 1, 0, -1):
            newer = path if n == 1 else _older(path, n - 1)
            if newer.exists():
                newer.replace(_older(path, n))
        path.unlink(missing_ok=True)


def _older(path: Path, n: int) -> Path:
    return path.with_name(f"{path.name}.{n}")


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a log: letters, digits, '_', '-' and '.' only")
    return name


def _open_whole(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    size = os.fstat(handle).st_size
    if size and os.pread(handle, 1, size - 1) != b"\n":
        os.write(handle, b"\n")
    return handle


def _read(path: Path) -> Iterator[LogLine]:
    try:
        with path.open("rb") as lines:
            for text in lines:
                try:
                    yield _decode(text)
                except msgspec.DecodeError:
                    continue  # Torn by a killed writer, or still being written.
    except FileNotFoundError:
        return
