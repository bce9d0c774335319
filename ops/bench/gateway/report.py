"""The figures of a run, each beside its goal. Pure.

Requests/s need a core that is the proxy's alone; where others use it too, the CPU time of a request tells more.
"""

from collections.abc import Mapping, Sequence
from statistics import median

from ops.bench.gateway.measure import Turn
from ops.bench.results import table

DIRECT, OURS = "direct", "ours"
HEAD = (
    "proxy", "requests/s", "of nginx", "p99 ms, 64 connections", "CPU µs/request", "of nginx", "p50 µs, 1 connection",
    "added µs", "SSE chunks/s", "of direct", "MB at rest", "MB with idle connections", "errors",
)  # fmt: skip


def middle(turns: Sequence[Turn]) -> Turn:
    """The medians of a proxy's rounds."""

    def of(name: str) -> float | None:
        known = [value for turn in turns if (value := getattr(turn, name)) is not None]
        return median(known) if known else None

    values = {name: of(name) for name in Turn.__struct_fields__}
    return Turn(**values)  # type: ignore[arg-type]


def side_by_side(turns: Mapping[str, Turn]) -> str:
    return table(HEAD, [_row(name, turn, turns) for name, turn in turns.items()])


def _row(name: str, turn: Turn, turns: Mapping[str, Turn]) -> tuple[str, ...]:
    limit, nginx = turns[DIRECT], turns.get("nginx")
    is_limit = name == DIRECT
    return (
        name,
        f"{turn.requests_per_s:,.0f}",
        f"{turn.requests_per_s / nginx.requests_per_s:.2f}" if nginx and nginx.requests_per_s else "",
        f"{turn.p99_ms:,.1f}",
        "" if turn.cpu_us is None else f"{turn.cpu_us:,.1f}",
        f"{nginx.cpu_us / turn.cpu_us:.2f}" if nginx and nginx.cpu_us and turn.cpu_us else "",
        f"{turn.p50_alone_us:,.0f}" if turn.p50_alone_us else "none answered",
        "" if is_limit or not turn.p50_alone_us else f"{turn.p50_alone_us - limit.p50_alone_us:,.0f}",
        f"{turn.chunks_per_s or 0:,.0f}",
        "limit" if is_limit else f"{(turn.chunks_per_s or 0) / (limit.chunks_per_s or 1):.2f}",
        _megabytes(turn.resident_bytes),
        _megabytes(turn.idle_resident_bytes),
        f"{turn.errors:,.0f}",
    )


def _megabytes(size: float | None) -> str:
    return "" if size is None else f"{size / 1e6:,.0f}"


def goals(turns: Mapping[str, Turn], changes_ms: Sequence[float]) -> str:
    ours, limit, nginx = turns[OURS], turns[DIRECT], turns.get("nginx")
    rows = [_faster(ours, name, turns[name], at_least) for name, at_least in _AT_LEAST.items() if name in turns]
    rows.append(_ratio("SSE chunks/s of direct's", (ours.chunks_per_s or 0) / (limit.chunks_per_s or 1), 0.93))
    beside = f" (nginx's: {nginx.p50_alone_us - limit.p50_alone_us:.1f} µs)" if nginx else ""
    rows.append(_at_most(f"added p50 at one connection{beside}", ours.p50_alone_us - limit.p50_alone_us, 60, "µs"))
    if ours.idle_resident_bytes is not None:
        rows.append(_at_most("memory with idle connections", ours.idle_resident_bytes / 1e6, 80, "MB"))
    if changes_ms:
        ordered = sorted(changes_ms)
        p50, p99 = median(ordered), ordered[int(len(ordered) * 0.99)]
        rows.append(_at_most(f"event appended to every worker's answers, p99 (p50 {p50:.1f} ms)", p99, 20, "ms"))
    return table(("ours", "measured", "goal", "met"), rows)


_AT_LEAST = {"nginx": 0.5, "Envoy": 2.0, "vLLM router": 2.0, "SGLang router": 2.0, "LiteLLM": 100.0, "Ray Serve": 100.0}


def _faster(ours: Turn, name: str, peer: Turn, at_least: float) -> tuple[str, ...]:
    what = f"requests/s of {name}'s"
    if not peer.requests_per_s:
        return what, "it answered none in this time", f">= {at_least:g} x", "not shown"
    return _ratio(what, ours.requests_per_s / peer.requests_per_s, at_least)


def _ratio(what: str, measured: float, at_least: float) -> tuple[str, ...]:
    return what, f"{measured:,.2f} x", f">= {at_least:g} x", "yes" if measured >= at_least else "no"


def _at_most(what: str, measured: float, at_most: float, unit: str) -> tuple[str, ...]:
    return what, f"{measured:,.1f} {unit}", f"<= {at_most:g} {unit}", "yes" if measured <= at_most else "no"
