"""Making a capsule: the states at one moment, the events up to another, nothing secret."""

import asyncio
import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.log import Log
from handlers.decisions import DECISIONS, Aggregates
from ops.capsule.file import AGGREGATES, FORMAT, Code, Manifest, state_name, write
from ops.capsule.redaction import Redactor
from ops.config import CHECKOUT
from ops.past import began_at_of, beginning_of
from ops.replay import LOOKED_BACK_AT, history, state_at
from projections.cold_starts import COLD_STARTS

TAKEN = (*LOOKED_BACK_AT, COLD_STARTS)
"""States that a capsule begins with. None of them holds a key's hash."""


async def export(log: Log, begin: Position, end: Position, path: Path, now: datetime) -> Manifest:
    """Raises NoSuchPosition, NotWritten. Whole decisions: a moment within one means its beginning, or its end."""
    begin, end = await _before_decision(log, begin), await _after_decision(log, end)
    redactor = Redactor()
    events: list[Recorded] = []
    async for piece in history(log, begin, end):
        events += map(redactor.event, piece)
    states = {}
    if begin > ORIGIN:
        for projection in TAKEN:
            states[state_name(projection)] = _clean(redactor, projection.name, await state_at(log, projection, begin))
        states[AGGREGATES] = _clean(redactor, AGGREGATES, await _aggregates(log, begin))
    before = await log.read(Position(begin - 1), begin) if begin > beginning_of(log) else ()
    manifest = Manifest(
        format=FORMAT,
        begin=begin,
        end=end,
        begin_at=before[0].meta.at if before else began_at_of(log),
        end_at=events[-1].meta.at if events else None,
        events=len(events),
        code=await code_at_hand(),
        event_schema=hashlib.sha256((CHECKOUT / "events" / "schema.json").read_bytes()).hexdigest(),
        made_at=now,
        redactions=redactor.report(),
        parts={},
    )
    return await asyncio.to_thread(write, path, manifest, states, events)


async def _aggregates(log: Log, position: Position) -> dict[str, Any]:
    """What deciders decide from, without the commands of long ago, by text: JSON has no other keys."""
    aggregates: Aggregates = await state_at(log, DECISIONS, position)
    return {
        str(stream): msgspec.structs.replace(each, last_command=None, fingerprints=bytearray())
        for stream, each in aggregates.items()
    }


def _clean(redactor: Redactor, name: str, state: Any) -> bytes:
    tree = msgspec.to_builtins(state, order="deterministic")
    return msgspec.json.encode(redactor.tree(tree, f"the state of {name}"))


async def _before_decision(log: Log, position: Position) -> Position:
    after = await log.read(position, Position(position + 1))
    return Position(position - after[0].meta.index) if after else position


async def _after_decision(log: Log, position: Position) -> Position:
    if position == beginning_of(log):
        return position
    (last,) = await log.read(Position(position - 1), position)
    return Position(position + last.meta.count - 1 - last.meta.index)


async def code_at_hand() -> Code:
    commit = await _git("rev-parse", "HEAD")
    changed = bool(await _git("status", "--porcelain", "--untracked-files=no")) if commit else False
    project = (CHECKOUT / "pyproject.toml").read_text()
    version = next((line.split('"')[1] for line in project.splitlines() if line.startswith("version = ")), "")
    return Code(version, commit, changed)


async def _git(*arguments: str) -> str:
    """Empty where the code is no checkout, or git is not there."""
    try:
        child = await asyncio.create_subprocess_exec(
            "git", "-C", CHECKOUT, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except FileNotFoundError:
        return ""
    said, _ = await child.communicate()
    return said.decode().strip() if child.returncode == 0 else ""
