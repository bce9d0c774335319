"""Scales and axes of pictures over time: round numbers, round times, and lines as paths. Pure."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import floor, log10

import msgspec

from gateway.dashboard.markup import Markup, tag

WIDTH, LEFT, RIGHT = 900, 48, 14
_STEPS_S = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800)
TICKS_MAX = 5


class Span(msgspec.Struct, frozen=True):
    """Time from left to right, in seconds."""

    begin: float
    end: float

    def x(self, at: float) -> float:
        within = min(max(at, self.begin), self.end) - self.begin
        return round(LEFT + (WIDTH - LEFT - RIGHT) * within / (self.end - self.begin), 1)


class Panel(msgspec.Struct, frozen=True):
    """A picture among others over the same time; values from 0 at its bottom."""

    span: Span
    top: float
    bottom: float
    most: float
    title: str

    def y(self, value: float) -> float:
        return round(self.bottom - (self.bottom - self.top) * min(value / self.most, 1.0), 1)

    def grid(self) -> Markup:
        return tag(
            "g", tag("text", self.title, x=LEFT, y=self.top - 10, class_="title"),
            [_level(self.y(value), f"{value:g}") for value in ticks(self.most)],
        )  # fmt: skip

    def steps(self, line: Sequence[tuple[float, float]], kind: str) -> Markup | None:
        """A value holds until the next one."""
        if not line:
            return None
        first, rest = line[0], line[1:]
        path = f"M{self.span.x(first[0])} {self.y(first[1])}"
        path += "".join(f"H{self.span.x(at)}V{self.y(value)}" for at, value in rest) + f"H{self.span.x(self.span.end)}"
        return tag("path", d=path, class_=kind)

    def filled(self, line: Sequence[tuple[float, float]], kind: str) -> Markup | None:
        """The same with what is below it, so that another line upon it does not hide it."""
        if not line:
            return None
        ends = [at for at, _ in line[1:]] + [self.span.end]
        below = [(at, end, value) for (at, value), end in zip(line, ends, strict=True) if value]
        return tag("g", self.area(below, f"{kind} below"), self.steps(line, kind))

    def area(self, bars: Iterable[tuple[float, float, float]], kind: str) -> Markup:
        """Each from a time to a time, so high."""
        path = "".join(
            f"M{self.span.x(begin)} {self.y(0)}V{self.y(value)}H{self.span.x(end)}V{self.y(0)}Z"
            for begin, end, value in bars
            if end > self.span.begin and begin < self.span.end
        )
        return tag("path", d=path, class_=kind)


def _level(at: float, text: str) -> Markup:
    line = tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="level")
    return tag("g", line, tag("text", text, x=LEFT - 6, y=round(at + 4, 1), text_anchor="end"))


def ticks(most: float) -> tuple[float, ...]:
    """A few round values, 0 and the highest among them."""
    step = 1.0 if most <= 2 else _round_up(most / 3)
    return tuple(round(step * index, 10) for index in range(int(most / step + 1e-9) + 1))


def nice(most: float) -> float:
    """The next round value above, for the top of a scale."""
    if most <= 2:
        return 1.0 if most <= 1 else 2.0
    step = _round_up(most / 3)
    return step * -(-most // step)


def _round_up(value: float) -> float:
    scale = 10.0 ** floor(log10(value))
    found = next(each * scale for each in (1, 2, 5, 10) if each * scale >= value - 1e-9)
    return max(found, 1.0)


def times(span: Span, y: float) -> Markup:
    step = next((each for each in _STEPS_S if (span.end - span.begin) / each <= TICKS_MAX), _STEPS_S[-1])
    first = -(-span.begin // step) * step
    shown = [first + step * index for index in range(int((span.end - first) // step) + 1)]
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86400 else "%m-%d"
    return tag("g", [
        tag("text", f"{datetime.fromtimestamp(at, UTC):{form}}", x=span.x(at), y=y, text_anchor=_anchor(span.x(at)))
        for at in shown
    ])  # fmt: skip


def _anchor(x: float) -> str:
    return "start" if x < LEFT + 20 else "end" if x > WIDTH - RIGHT - 20 else "middle"


def picture(height: float, label: str, *content: object, role: str = "img") -> Markup:
    """`role`: an image's links are not there for who hears the page, a group's are."""
    return tag("svg", *content, viewBox=f"0 0 {WIDTH} {height:g}", role=role, aria_label=label, class_="chart")


def legend(*entries: tuple[str, str]) -> Markup:
    """Pairs of the kind of a line and its words."""
    keys = [tag("span", text, class_=f"key {kind}") for kind, text in entries]
    return tag("figcaption", keys, tag("span", "times are UTC"))
