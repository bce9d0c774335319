"""Snapshots of folds on disk: they make a start quick and are never the truth.

A snapshot is used only if projection name and version are ours, it can be decoded, and the log has reached its
position. Any other is ignored and said so; folding from the origin gives the same state.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import structlog

from events.base import ORIGIN, Position
from projections.view import View

_log = structlog.get_logger()


class Snapshots:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, view: View[Any]) -> Path:
        return self._folder / f"{view.projection.name}.v{view.projection.version}.snapshot"

    async def restore(self, view: View[Any], head: Position) -> None:
        path = self._path(view)
        try:
            content = await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError:
            return
        try:
            position, state = msgspec.msgpack.decode(content, type=tuple[int, view.projection.state_type])  # type: ignore[name-defined]
        except msgspec.MsgspecError as error:
            _log.warning("snapshot ignored", path=str(path), error=str(error))
            return
        if position > head:
            _log.warning("snapshot ignored", path=str(path), position=position, head=head)
            return
        view.restore(state, Position(position))

    async def save(self, view: View[Any]) -> None:
        if view.position == ORIGIN:
            return
        content = msgspec.msgpack.encode((view.position, view.state))
        await asyncio.to_thread(_write_whole, self._path(view), content)


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}.tmp")
    aside.write_bytes(content)
    aside.replace(path)
