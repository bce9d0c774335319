"""Looking back beside the eventsourcing library on PostgreSQL: the same events, the same machine, in one run."""

import asyncio
import subprocess
import time
from itertools import islice
from pathlib import Path

import msgspec

from events.base import ORIGIN, Position, StreamName
from events.log.jetstream import JetStreamLog
from ops.bench.audit import server_of_its_own
from ops.bench.gateway.venvs import environment, make
from ops.bench.history import history
from ops.bench.log import followed_s
from ops.past import Past
from ops.replay import snapshot_at
from projections.routing import ROUTING
from projections.view import View

EVENTS, APPENDS, ROUNDS = 20_000, 500, 2
Row = tuple[str, str, str, str]


class Figures(msgspec.Struct, frozen=True):
    """Events a second, but for the last one."""

    append: float
    follow: float
    fold: float
    state_s: float
    """The routing table in the middle of the history."""


async def beside_eventsourcing(log: JetStreamLog, past: Past, folder: Path) -> list[Row]:
    """Rows with ours of theirs; one that says why, where the library cannot be had."""
    one = environment("eventsourcing")
    reason = await asyncio.to_thread(make, one)
    if reason is not None:
        return [("beside the eventsourcing library", reason, "", "")]
    ours = await _ours(log, past)
    file = folder / "history.ndjson"
    encode = msgspec.json.Encoder().encode
    events = islice(history("filled"), EVENTS)
    file.write_bytes(b"".join(encode((".".join(stream), *draft)) + b"\n" for stream, draft in events))
    async with server_of_its_own(folder / "peer") as place:
        script = Path(__file__).with_name("eventsourcing_peer.py")
        command = (str(one.program("python")), str(script), str(file), place.socket_folder)
        done = await asyncio.to_thread(subprocess.run, command, stdout=subprocess.PIPE, check=True)
    theirs = msgspec.json.decode(done.stdout, type=Figures)
    return [
        _row("append, one event a decision", ours.append, theirs.append),
        _row("follow and decode", ours.follow, theirs.follow),
        _row("follow and fold the routing table", ours.fold, theirs.fold),
        (
            f"eventsourcing library: routing table in the middle of {EVENTS:,} events",
            f"ours {ours.state_s:.3f} s, theirs {theirs.state_s:.3f} s",
            f"{ours.state_s / theirs.state_s:.3f} of its time",
            "",
        ),
    ]


def _row(what: str, ours: float, theirs: float) -> Row:
    said = f"ours {ours:,.0f}/s, theirs {theirs:,.0f}/s"
    return f"eventsourcing library: {what}", said, f"{ours / theirs:.1f} x its rate", ""


async def _ours(log: JetStreamLog, past: Past) -> Figures:
    follow_s = [await followed_s(log, EVENTS, lambda batch: None) for _ in range(ROUNDS)]
    fold_s = [await followed_s(log, EVENTS, View(ROUTING).fold) for _ in range(ROUNDS)]
    state_s = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await snapshot_at(past, "routing", Position(EVENTS // 2))
        state_s.append(time.perf_counter() - began)
    at, stream = ORIGIN, StreamName("bench", "beside")
    began = time.perf_counter()
    for _, draft in islice(history("beside"), APPENDS):
        at = await log.append(stream, (draft,), at)
    append_s = (time.perf_counter() - began) / APPENDS
    return Figures(1 / append_s, EVENTS / min(follow_s), EVENTS / min(fold_s), min(state_s))
