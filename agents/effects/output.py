"""What a replica prints: from the file that it owns to the log files that people query.

The replica writes to its own file, so that it needs no agent to run. The agent reads on from a stored offset, turns
lines into LogLines, and gives the disk space of what it has read back to the file system.
"""

import asyncio
import ctypes
import os
import threading
import time
from pathlib import Path

from agents.effects.last_words import last_words
from events.base import DeploymentId, ReplicaId
from events.signals.log_lines import Level, LogFiles, LogLine, parse_line

_CHUNK_BYTES = 256 * 1024
_TAIL_BYTES = 256 * 1024
_SECRET_MIN = 4
"""Characters; what is shorter is in any text, and no secret."""
_READ_EVERY_S = 0.25
_PUNCH_HOLE = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
_PAGE = 4096
_libc = ctypes.CDLL(None, use_errno=True)


class Output:
    """One replica's output file. One reader at a time: the agent that owns the replica.

    Log files are written from threads here and from the event loop there, hence the lock.
    """

    def __init__(
        self,
        path: Path,
        secrets: Path,
        logs: LogFiles,
        writing: threading.Lock,
        deployment_id: DeploymentId,
        source: ReplicaId,
    ) -> None:
        """`secrets`: the folder of those that the replica sees."""
        self._path = path
        self._secrets = secrets
        self._cursor = path.with_name("output.offset")
        self._logs = logs
        self._writing = writing
        self._deployment_id = deployment_id
        self._source = source

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            if self._path.exists() and self._path.stat().st_size > self._offset():
                await asyncio.to_thread(self.convert)
            await asyncio.sleep(_READ_EVERY_S)

    def convert(self, *, to_the_end: bool = False) -> None:
        """All whole lines since the last time; with `to_the_end` also a last one without a newline. Blocks."""
        if not self._path.exists():
            return
        with self._path.open("r+b") as file:
            offset = began = self._offset()
            file.seek(offset)
            while chunk := file.read(_CHUNK_BYTES):
                whole = chunk.rfind(b"\n") + 1
                if not whole and (to_the_end or len(chunk) == _CHUNK_BYTES):
                    whole = len(chunk)
                if not whole:
                    break
                self._write(chunk[:whole])
                offset += whole
                self._cursor.write_text(f"{offset}\n")
                file.seek(offset)
            _give_back(file.fileno(), began, offset - _TAIL_BYTES)

    def say(self, message: str, level: Level = "info") -> None:
        """A line of the node's own among those of the replica."""
        self._log(LogLine(ts_ns=time.time_ns(), level=level, message=message, source=self._source))

    def close(self) -> None:
        with self._writing:
            self._logs.close(self._deployment_id, self._source)

    def last_words(self) -> str:
        """Why it ended, as far as it said: the last exception, else the last line that means something. It becomes part
        of an event, which is for ever, so the values of secrets are taken out."""
        said = self.tail()
        values = {file.name: file.read_text(errors="replace").strip() for file in self._secrets.glob("[!.]*")}
        # The longest first: one value may begin with another, and what would be left of it is secret too.
        for name in sorted(values, key=lambda each: (-len(values[each]), each)):
            if len(values[name]) >= _SECRET_MIN:
                said = said.replace(values[name], f"[secret {name}]")
        lines = (line for line in said.splitlines() if line.strip("\0 "))
        return last_words([parse_line(line, source=self._source, ts_ns=0) for line in lines])

    def tail(self) -> str:
        if not self._path.exists():
            return ""
        with self._path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return file.read().decode(errors="replace")

    def _write(self, chunk: bytes) -> None:
        now_ns = time.time_ns()
        for text in chunk.decode(errors="replace").splitlines():
            if text.strip("\0 "):
                self._log(parse_line(text, source=self._source, ts_ns=now_ns))

    def _log(self, line: LogLine) -> None:
        with self._writing:
            self._logs.write(self._deployment_id, line)

    def _offset(self) -> int:
        try:
            return int(self._cursor.read_text())
        except (FileNotFoundError, ValueError):
            return 0


def _give_back(handle: int, start: int, end: int) -> None:
    """Frees the disk space of what lies between; the file keeps its length. A file system may be unable to."""
    start, end = start // _PAGE * _PAGE, end // _PAGE * _PAGE
    if end > start:
        _libc.fallocate(handle, _PUNCH_HOLE, ctypes.c_longlong(start), ctypes.c_longlong(end - start))
