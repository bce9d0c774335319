"""How answers look: tables and lines for people, JSON with stable keys for programs.

On a terminal tables fit its width; anywhere else nothing is cut or wrapped, so that `grep` and `awk` see whole values.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TextIO

import msgspec
from rich.console import Console
from rich.text import Text

from ops.columns import print_table
from ops.why import Step, Story
from projections.audit import AuditRow
from projections.diff import Tree, show

PIPE_WIDTH = 1_000_000
_STATUS_STYLE = {
    "ACTIVE": "green", "ready": "green", "up": "green", "SCALED_TO_ZERO": "blue", "WAKING_UP": "yellow",
    "BUILDING": "yellow", "DEPLOYING": "yellow", "LOADING_MODEL": "yellow", "UNHEALTHY": "red", "DEPLOY_FAILED": "red",
    "BUILD_FAILED": "red", "backing off": "red", "stopped": "red", "INACTIVE": "dim", "BUILD_STOPPED": "dim",
}  # fmt: skip


def console(stream: TextIO) -> Console:
    return Console(
        file=stream, width=None if stream.isatty() else PIPE_WIDTH, highlight=False, markup=False, emoji=False
    )


def as_json(out: Console, value: Any) -> None:
    """One JSON document, whole and on one line."""
    out.file.write(msgspec.json.encode(value).decode() + "\n")
    out.file.flush()


def table(out: Console, columns: Sequence[str], rows: Iterable[Sequence[str | Text]], empty: str) -> None:
    """`empty` is said instead of a table without rows."""
    cells = [[each if isinstance(each, Text) else Text(each) for each in row] for row in rows]
    if cells:
        print_table(out, columns, cells)
    else:
        out.print(empty, style="dim")


def count(number: int, of: str) -> str:
    """`1 change`, `2 changes`."""
    return f"{number} {of}" if number == 1 else f"{number} {of}s"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def clock(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}"


def iso_clock(text: str) -> str:
    return clock(datetime.fromisoformat(text))


def status_text(word: str) -> Text:
    return Text(word, style=_STATUS_STYLE.get(word, ""))


def seconds(value: float) -> str:
    """A duration as people say it: `120 ms`, `4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if value < 0:
        return f"-{seconds(-value)}"
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 99.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def event_line(row: AuditRow, summary: str) -> Text:
    line = Text(f"{row.position:>6}  {clock(row.at)}  ", style="dim")
    line.append(row.type, style="bold not dim")
    line.append(f"  {row.category} {row.entity}", style="cyan not dim")
    if summary:
        line.append(f"  {summary}", style="not dim")
    line.append(f"  by {row.actor}")
    return line


def story(out: Console, told: Story) -> None:
    """A timeline: each event with the time since the first, since the one before, and what it followed from."""
    table(
        out,
        ("position", "time (UTC)", "since start", "+", "event", "what", "by", "because of"),
        (
            (
                str(step.position),
                clock(step.at),
                seconds(step.since_start_s),
                seconds(step.seconds),
                Text(step.type, style="bold"),
                step.summary,
                step.actor,
                _because(step),
            )
            for step in told.steps
        ),
        "nothing is known of it",
    )


def causes(out: Console, told: Story) -> None:
    """A chain: what began it on top, the asked-for event last."""
    if told.steps and told.steps[0].how != "began":
        out.print(f"{'…':>10}  what led to it is not in this history, which begins later", style="dim")
    for number, step in enumerate(told.steps):
        lead = (
            ("began with" if step.how == "began" else "first here")
            if number == 0
            else {"caused by": "led to", "after": "then"}.get(step.how, "then")
        )
        line = Text(f"{lead:>10}  ", style="dim")
        line.append(f"{step.position:>6}  {clock(step.at)}  ", style="dim")
        line.append(step.type, style="bold not dim")
        line.append(f"  {step.category} {step.entity}", style="cyan not dim")
        line.append(f"  by {step.actor} ({step.actor_how})")
        if number:
            line.append(f"  +{seconds(step.seconds)}", style="green not dim")
        out.print(line, soft_wrap=True)
        if step.summary:
            out.print(Text(f"{'':>20}{step.summary}"), soft_wrap=True)
        for said in _grounds(step.grounds):
            out.print(Text(f"{'':>20}{said}", style="dim"), soft_wrap=True)
    if len(told.steps) > 1:
        out.print(f"{told.label}: {len(told.steps)} steps in {seconds(told.steps[-1].since_start_s)}", style="dim")


def tree(out: Console, state: Tree) -> None:
    if state:
        import yaml

        # The dumper in C: of a large plane the other one prints for minutes.
        text = yaml.dump(state, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=PIPE_WIDTH)
        out.file.write(text)
        out.file.flush()


def _because(step: Step) -> str:
    if step.cause is None:
        return ""
    return f"{step.cause}"


def _grounds(grounds: dict[str, Any]) -> Iterable[str]:
    if "rule" in grounds:
        settings = grounds.get("settings") or {}
        inputs = {name: value for name, value in grounds.items() if name not in ("settings", "note", "promotion_id")}
        yield "grounds: " + ", ".join(f"{name} {_short(value)}" for name, value in inputs.items() if value is not None)
        if settings:
            yield "settings: " + ", ".join(f"{name} {show(value)}" for name, value in settings.items())


def _short(value: Any) -> str:
    """Loads are measured, and nobody wants their seventeenth digit."""
    return f"{value:.3g}" if isinstance(value, float) else show(value)
