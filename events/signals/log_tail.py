"""The end of a deployment's log files: each look gives the whole lines that were written since the one before.

Files are rotated by their writer: what was left in a file that has been put aside is read from where it lies now.
"""

import os
from pathlib import Path

import msgspec

from events.base import DeploymentId
from events.signals.log_lines import LogFiles, LogLine

_decode = msgspec.json.Decoder(LogLine).decode
MOST_BYTES = 1 << 20
"""Of one file in one look; of more, the newest."""


class _Mark(msgspec.Struct, frozen=True):
    inode: int
    offset: int


class LogTail:
    def __init__(self, files: LogFiles, deployment_id: DeploymentId, source: str | None = None) -> None:
        """`source`: of this one only."""
        self._files, self._deployment_id, self._source = files, deployment_id, source
        self._marks: dict[str, _Mark] | None = None

    def look(self) -> list[LogLine]:
        """Lines in the order of their time; the first look gives none. Blocks: use a thread."""
        begins = self._marks is None
        marks, found = dict(self._marks or {}), list[LogLine]()
        for source in self._files.sources(self._deployment_id):
            if self._source not in (None, source):
                continue
            newest, older = self._files.newest_two(self._deployment_id, source)
            mark = marks.get(source)
            if mark is not None and _inode(newest) != mark.inode and _inode(older) == mark.inode:
                found += _read(older, mark.offset)[0]
            offset = mark.offset if mark is not None and _inode(newest) == mark.inode else 0
            lines, end = _read(newest, offset)
            found += [] if begins else lines
            marks[source] = _Mark(_inode(newest), end)
        self._marks = marks
        return sorted(found, key=lambda each: each.ts_ns)


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _read(path: Path, offset: int) -> tuple[list[LogLine], int]:
    """Whole lines from there on, and where they end."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            begin = max(offset, size - MOST_BYTES)
            file.seek(begin)
            content = file.read(MOST_BYTES)
    except FileNotFoundError:
        return [], 0
    end = content.rfind(b"\n") + 1
    texts = content[:end].split(b"\n")[0 if begin == offset else 1 :]
    lines = []
    for text in texts:
        try:
            lines += [_decode(text)] if text else []
        except msgspec.DecodeError:
            continue  # Torn by a killed writer.
    return lines, begin + end
