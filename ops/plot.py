"""Draws a what-if: the load, and the replicas of both sides over it. Needs matplotlib: `requirements/plot.txt`."""

from datetime import UTC, datetime
from pathlib import Path

from events.signals.load_history import Moment
from handlers.whatif import Outcome
from ops.cli.failures import Failure


def draw(file: Path, as_set: Outcome, what_if: Outcome, loads: list[Moment]) -> None:
    """Raises Failure without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        raise Failure(
            "drawing needs matplotlib, which is not installed here",
            ".venv/bin/uv pip install --require-hashes -r requirements/plot.txt; or leave --plot out: --output json",
        ) from missing
    figure = Figure(figsize=(11, 5))
    replicas = figure.subplots()
    load = replicas.twinx()
    load.fill_between([_at(at) for at, _ in loads], [each.mean for _, each in loads], color="0.85", step="pre")
    load.set_ylabel("requests at once")
    for side, name in ((as_set, "as set"), (what_if, "what if")):
        moments = [_at(each.at) for each in side.standings]
        replicas.step([*moments, _at(loads[-1][0])], [*(s.target for s in side.standings), side.standings[-1].target],
                      where="post", label=name)  # fmt: skip
    replicas.set_ylabel("replicas")
    for axes in (replicas, load):
        axes.set_ylim(bottom=0)
    replicas.set_zorder(load.get_zorder() + 1)
    replicas.set_frame_on(False)
    replicas.legend()
    figure.autofmt_xdate()
    figure.savefig(file)


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
