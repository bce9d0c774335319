"""The first API key: made once, straight through dispatch, before there is any key to call the API with.

The whole key stands in `run/operator.key`, which is its owner's only; the log holds its hash. The file is written
first: a key that was written and not issued is replaced by the next start, one that was issued is never lost.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from secrets import choice, token_hex

from events.base import Actor, CommandId, CorrelationId, KeyId
from events.log import Log
from handlers.clock import SystemClock
from handlers.deciders.access import SCOPES, IssueKey
from handlers.decisions import DECISIONS
from handlers.dispatch import Dispatch
from ops.local.files import read_or_none
from ops.replay import state_at
from projections.access import ACCESS
from projections.follow import Follower
from projections.stores.snapshots import Snapshots
from projections.stores.whole import write_whole
from projections.view import View

FILE = "operator.key"
OPERATOR = Actor("operator", "local shell")
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
PREFIX_LETTERS, SECRET_LETTERS = 8, 32
"""5 bits a letter: the secret part holds 160 random bits."""


def mint() -> str:
    """A new key: `prefix.secret`."""
    letters = "".join(choice(_LETTERS) for _ in range(PREFIX_LETTERS + SECRET_LETTERS))
    return f"{letters[:PREFIX_LETTERS]}.{letters[PREFIX_LETTERS:]}"


def kept_key(run: Path) -> str | None:
    """The operator's key, if one was made on this machine."""
    content = read_or_none(run / FILE)
    return content.decode().strip() or None if content is not None else None


async def ensured(log: Log, run: Path) -> tuple[str, bool]:
    """The operator's key, and whether it was made just now."""
    key = kept_key(run)
    if key is not None:
        access = await state_at(log, ACCESS)
        issued = access.keys.get(KeyId(key.partition(".")[0]))
        if issued is not None and issued.hash == _hash(key):
            return key, False
    key = mint()
    write_whole(run / FILE, key.encode())
    command_id = token_hex(12)
    issue = IssueKey(
        id=CommandId(command_id),
        actor=OPERATOR,
        correlation_id=CorrelationId(command_id),
        key_id=KeyId(key.partition(".")[0]),
        name="operator",
        hash=_hash(key),
        scopes=SCOPES,
    )
    async with dispatching(log) as dispatch:
        await dispatch(issue)
    return key, True


@asynccontextmanager
async def dispatching(log: Log, snapshots: Snapshots | None = None) -> AsyncIterator[Dispatch]:
    """For a shell on the plane's own machine. `snapshots`: another process's, to begin with; they are only read."""
    decisions = View(DECISIONS)
    if snapshots is not None:
        await snapshots.restore(decisions, await log.head())
    follower = Follower(log, [decisions])
    await follower.catch_up()
    following = asyncio.create_task(follower.run())
    try:
        yield Dispatch(log, decisions, SystemClock())
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
