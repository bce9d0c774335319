"""What the gateway benchmark says of a run: medians, goals met or not, and who was left out and why."""

import shutil
from pathlib import Path

import pytest

from ops.bench.gateway.__main__ import _why_not
from ops.bench.gateway.measure import Turn
from ops.bench.gateway.native import NoCompiler, compiled
from ops.bench.gateway.peers import Peer, Place
from ops.bench.gateway.report import goals, middle, side_by_side


def turn(per_s: float, p50_us: float = 20.0, chunks: float = 100.0, idle: int | None = None) -> Turn:
    return Turn(per_s, 1.0, None, p50_us, chunks, None, idle, 0)


def test_a_proxy_is_as_good_as_its_middle_round() -> None:
    assert middle([turn(10), turn(30), turn(20, idle=5)]) == turn(20, idle=5)


def test_each_goal_is_printed_with_what_was_measured_and_whether_it_is_met() -> None:
    ours = turn(60, p50_us=90.0, chunks=92.0, idle=81_000_000)
    printed = goals({"direct": turn(200), "ours": ours, "nginx": turn(100), "Envoy": turn(40)}, [1.0] * 99 + [30.0])
    assert "| requests/s of nginx's | 0.60 x | >= 0.5 x | yes |" in printed
    assert "| requests/s of Envoy's | 1.50 x | >= 2 x | no |" in printed
    assert "| SSE chunks/s of direct's | 0.92 x | >= 0.93 x | no |" in printed
    assert "| added p50 at one connection (nginx's: 0.0 µs) | 70.0 µs | <= 60 µs | no |" in printed
    assert "| memory with idle connections | 81.0 MB | <= 80 MB | no |" in printed
    assert "p99 (p50 1.0 ms) | 30.0 ms | <= 20 ms | no |" in printed


def test_a_proxy_that_answered_nothing_in_its_time_proves_nothing() -> None:
    turns = {"direct": turn(200), "ours": turn(60), "nginx": turn(0), "LiteLLM": turn(0.0, p50_us=0.0)}
    assert "| requests/s of LiteLLM's | it answered none in this time | >= 100 x | not shown |" in goals(turns, ())
    assert "| LiteLLM | 0 |  | 1.0 |  |  | none answered |" in side_by_side(turns)


def test_what_was_not_measured_leaves_its_cell_empty() -> None:
    printed = side_by_side({"direct": turn(200), "ours": turn(60)})
    assert "| ours | 60 |  | 1.0 |  |  | 20 | 0 | 100 | 1.00 |  |  | 0 |" in printed


def never(_: Place) -> None:
    raise AssertionError("not to be started")


@pytest.mark.parametrize(
    ("asked", "reason"), [("here", "not installed"), ("all", "not installed"), ("nginx, envoy", "not asked for")]
)
def test_a_peer_that_is_left_out_has_a_reason(asked: str, reason: str) -> None:
    missing = Peer("HAProxy", lambda: "not installed", never)  # type: ignore[arg-type]
    assert _why_not(missing, asked) == reason
    assert _why_not(Peer("HAProxy", lambda: None, never), "haproxy") is None  # type: ignore[arg-type]


def test_without_a_compiler_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(NoCompiler, match="apt-get install gcc"):
        compiled("load", tmp_path)
