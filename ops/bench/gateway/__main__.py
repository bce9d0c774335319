"""One bounded run, everything on loopback.

    python -m ops.bench.gateway [--peers all|here|NAME,NAME…] [--seconds 4] [--rounds 3] [--write]

`here`: whatever is installed. `all`: makes the environments of the peers that are Python wheels first. Proxies that
cannot be measured are counted and named with the reason.
"""

import argparse
import os
import platform
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ops.bench.gateway import venvs
from ops.bench.gateway.changes import WORKERS, changes
from ops.bench.gateway.measure import CHUNK_GAP_MS, STREAMS, UNARY_CONNECTIONS, Bench, Turn, direct, proxied
from ops.bench.gateway.native import NoCompiler, compiled
from ops.bench.gateway.ours import plane
from ops.bench.gateway.peers import PEERS, Peer
from ops.bench.gateway.pinned import DidNotStart, TooFewCores, cores, started
from ops.bench.gateway.report import DIRECT, OURS, goals, middle, side_by_side
from ops.bench.results import write_section
from ops.config import load
from ops.local.ports import PortClaims

TITLE = "The gateway beside other proxies"
IDLE_CONNECTIONS, SPARE_DESCRIPTORS = 10_000, 500
REPLICAS = 2


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # An exit like any other: what was started is stopped.
    try:
        section = _run(options)
    except (NoCompiler, TooFewCores) as error:
        print(f"bench-gateway: {error}", file=sys.stderr)
        return 1
    print(section)
    if options.write:
        write_section(TITLE, section)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ops.bench.gateway", description="The gateway beside other proxies, on this machine."
    )
    names = ", ".join(peer.name for peer in PEERS)
    parser.add_argument("--peers", default="here", help=f"all, here, none, or some of: {names}")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="in turns; slow proxies get one")
    parser.add_argument("--idle", type=int, default=IDLE_CONNECTIONS, help="idle connections; 0: not measured")
    parser.add_argument("--changes", type=int, default=500, help="route changes; 0: not measured")
    parser.add_argument("--write", action="store_true", help="put the result into ops/bench/RESULTS.md")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> str:
    """The whole measurement, as the section to write."""
    began = time.monotonic()
    if options.peers == "all":
        for name, failure in venvs.make_all().items():
            print(f"bench-gateway: .cache/bench/{name}: {failure}", file=sys.stderr)
    skipped = {peer.name: reason for peer in PEERS if (reason := _why_not(peer, options.peers))}
    with tempfile.TemporaryDirectory(prefix="cw-") as at, _bench(Path(at), options) as bench:
        with plane(Path(at), bench.replicas) as ours:
            peers = [Peer(OURS, lambda: None, ours.gateway), *(peer for peer in PEERS if peer.name not in skipped)]
            turns = _in_turns(bench, peers, options.rounds, skipped)
            moved_ms = changes(bench, ours, options.changes) if options.changes else []
    measured = {name: middle(each) for name, each in turns.items()}
    load_average = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    where = (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} shared cores ({platform.machine()}, load {load_average}),"
        f" Python {platform.python_version()}: `make bench-gateway PEERS={options.peers}`"
        f" (`python -m ops.bench.gateway --peers {options.peers} --seconds {options.seconds:g}"
        f" --rounds {options.rounds} --write`, {time.monotonic() - began:.0f} s)."
    )
    how = (
        "The proxy alone on one core; callers and model server (C, epoll) on the other. POST of 1,000 bytes of JSON,"
        f" answers of about 200 bytes, keep-alive, {UNARY_CONNECTIONS} connections; then one connection; then"
        f" {STREAMS} open SSE streams of {1000 / CHUNK_GAP_MS:g} chunks/s each; then {bench.idle_connections:,} idle"
        f" connections that have had one answer. Two replicas. In turns, medians of {options.rounds} rounds (slow"
        " proxies: one). Ours does all it always does: key, route by path, load signals, provenance headers;"
        f" its routes are folded from a log on a nats-server; changed {len(moved_ms)} times under {WORKERS} workers."
    )
    left_out = "".join(f"\n- {name}: {reason}" for name, reason in skipped.items())
    missing = f"\nNot measured ({len(skipped)}):\n{left_out}\n" if skipped else ""
    return f"{where} {how}\n\n{goals(measured, moved_ms)}\n{side_by_side(measured)}{missing}"


@contextmanager
def _bench(at: Path, options: argparse.Namespace) -> Iterator[Bench]:
    """Cores divided, programs compiled, the model servers up."""
    proxy_core, load_core = cores()
    claims = PortClaims()
    replicas = tuple(claims.pick(None) for _ in range(REPLICAS))
    (at / "upstream-said").mkdir()
    words = (str(compiled("upstream", at)), str(CHUNK_GAP_MS), *map(str, replicas))
    with started(words, dict(load().inherited_env), load_core, at / "upstream-said"):
        idle = min(options.idle, _descriptors() - SPARE_DESCRIPTORS)
        yield Bench(at, compiled("load", at), replicas, proxy_core, load_core, options.seconds, idle, claims)
    claims.close()


def _in_turns(bench: Bench, peers: Sequence[Peer], rounds: int, skipped: dict[str, str]) -> dict[str, list[Turn]]:
    """Round by round, so that a busy machine is equally unkind to all."""
    turns: dict[str, list[Turn]] = {DIRECT: []}
    for number in range(rounds):
        turns[DIRECT].append(direct(bench))
        _say(number, DIRECT, turns[DIRECT][-1])
        for peer in peers:
            if peer.name in skipped or (peer.is_slow and number):
                continue
            try:
                turn = proxied(bench, peer)
            except DidNotStart as error:
                skipped[peer.name] = f"in round {number + 1}: {error}"
                print(f"bench-gateway: {peer.name}: {error}", file=sys.stderr)
                continue
            turns.setdefault(peer.name, []).append(turn)
            _say(number, peer.name, turn)
    return turns


def _say(number: int, name: str, turn: Turn) -> None:
    print(f"round {number + 1}: {name}: {turn}", file=sys.stderr, flush=True)


def _why_not(peer: Peer, asked: str) -> str | None:
    wanted = [name.strip().lower() for name in asked.split(",")]
    if asked not in ("all", "here") and peer.name.lower() not in wanted:
        return "not asked for"
    return peer.missing()


def _descriptors() -> int:
    """As many as this user may have, for us and all that we start."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
