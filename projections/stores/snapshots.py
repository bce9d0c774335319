"""Snapshots of folds on disk: they make a start quick and are never the truth.

A snapshot is used only if projection name and version are ours, it can be decoded, and the log has the event that it
was made at; its reader checks that (`follow.py`). Any other is ignored and said so; folding from the origin gives the
same state. With the log out of reach it is the last that was known, and its file's time says until when that was so.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import structlog

from events.base import ORIGIN, EventId, Position
from projections.stores.whole import write_whole
from projections.view import View

_log = structlog.get_logger()
KEEP_EVERY_S = 1.0
KEEPING_SHARE = 0.005
"""Of this process's time, at most: a large state is kept less often."""


class Snapshots:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, Position] = {}

    def _path(self, view: View[Any]) -> Path:
        return self._folder / f"{view.projection.name}.v{view.projection.version}.snapshot"

    async def restore(self, view: View[Any], head: Position | None) -> None:
        """`head`: of the log; None: it is out of reach, and what was known has to do."""
        path = self._path(view)
        try:
            content = await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError:
            return
        try:
            known = tuple[int, EventId, view.projection.state_type]  # type: ignore[name-defined]
            position, event_id, state = msgspec.msgpack.decode(content, type=known)
        except msgspec.MsgspecError as error:
            _log.warning("snapshot ignored", path=str(path), error=str(error))
            return
        if head is not None and position > head:
            _log.warning("snapshot ignored", path=str(path), position=position, head=head)
            return
        view.restore(state, Position(position), event_id)

    async def save(self, view: View[Any]) -> None:
        if view.position == ORIGIN:
            return
        position, content = view.position, msgspec.msgpack.encode((view.position, view.event_id, view.state))
        await asyncio.to_thread(write_whole, self._path(view), content)
        self._kept[view.projection.name] = position

    def true_until(self, views: Sequence[View[Any]]) -> float | None:
        """Unix time until when the snapshots of all of these were known to be what is; None: one is missing."""
        try:
            return min(self._path(view).stat().st_mtime for view in views)
        except FileNotFoundError:
            return None

    async def keep(self, views: Sequence[View[Any]], is_live: Callable[[], bool]) -> None:
        """For ever, while the views are live: saves what has changed, and notes that the rest is still so."""
        pause_s = KEEP_EVERY_S
        while True:
            await asyncio.sleep(pause_s)
            if not is_live():
                continue
            began = monotonic()
            for view in views:
                try:
                    await self._renew(view)
                except OSError as error:
                    self._kept.clear()
                    _log.warning("snapshot not kept", path=str(self._path(view)), error=str(error))
            pause_s = max(KEEP_EVERY_S, (monotonic() - began) / KEEPING_SHARE)

    async def _renew(self, view: View[Any]) -> None:
        if self._kept.get(view.projection.name) == view.position:
            await asyncio.to_thread(os.utime, self._path(view))
        else:
            await self.save(view)
