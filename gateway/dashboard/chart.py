"""A deployment over time as one picture: its target, its ready replicas, the load that decisions were made on. Pure."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from gateway.dashboard.markup import Markup, tag
from projections.audit import AuditRow

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 800, 220, 34, 42, 28, 18
GONE = ("ReplicaUnready", "ReplicaDraining", "ReplicaStopped", "ReplicaFailed", "ReplicaLost")


class Point(msgspec.Struct, frozen=True):
    at: datetime
    value: float
    position: int
    said: str = ""


class Story(msgspec.Struct, frozen=True):
    target: tuple[Point, ...]
    ready: tuple[Point, ...]
    load: tuple[Point, ...]
    """Requests at replicas and waiting, as the decisions saw them."""


def story(rows: Sequence[AuditRow]) -> Story:
    """From one deployment's events, in the order of their positions."""
    target, ready, load = list[Point](), list[Point](), list[Point]()
    up: dict[str, bool] = {}
    for row in rows:
        if row.type in ("ReplicaTargetRaised", "ReplicaTargetLowered", "ScaledToZero"):
            wanted = row.body.get("target", 0)
            said = f"{row.body.get('previous')} → {wanted}: {row.body.get('rule')}"
            target.append(Point(row.at, wanted, row.position, said))
            load.append(Point(row.at, float((row.body.get("grounds") or {}).get("mean", 0.0)), row.position, said))
        elif row.type == "ReplicaReady" or row.type in GONE:
            replica = row.entity
            if up.get(replica, False) != (row.type == "ReplicaReady"):
                up[replica] = row.type == "ReplicaReady"
                ready.append(Point(row.at, sum(up.values()), row.position, f"{row.type} {replica}"))
    return Story(tuple(target), tuple(ready), tuple(load))


def chart(told: Story, until: datetime) -> Markup:
    points = (*told.target, *told.ready, *told.load)
    if not points:
        return tag("p", "nothing has been scaled yet", class_="empty")
    begin, end = min(point.at for point in points), max(until, max(point.at for point in points))
    span_s = max((end - begin).total_seconds(), 1.0)
    top = max(1.0, *(point.value for point in (*told.target, *told.ready)))
    busiest = max(1.0, *(point.value for point in told.load)) if told.load else 1.0

    def x(at: datetime) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (at - begin).total_seconds() / span_s, 1)

    def y(value: float, most: float = top) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / most, 1)

    def steps(line: Sequence[Point], kind: str) -> Markup:
        if not line:
            return Markup()
        path = f"M{x(line[0].at)} {y(0)}" + "".join(f"H{x(each.at)}V{y(each.value)}" for each in line) + f"H{x(end)}"
        return tag("path", d=path, class_=kind)

    dots = [
        tag("circle", tag("title", _told(wanted, load)), cx=x(wanted.at), cy=y(wanted.value), r=4)
        for wanted, load in zip(told.target, told.load, strict=True)
    ]
    marks = [_level(y(share, 1.0), share * top, share * busiest if told.load else None) for share in (0.0, 0.5, 1.0)]
    times = [
        tag("text", f"{begin:%Y-%m-%d %H:%M:%S}", x=LEFT, y=HEIGHT - 6),
        tag("text", f"{end:%H:%M:%S} UTC", x=WIDTH - RIGHT, y=HEIGHT - 6, text_anchor="end"),
    ]
    load = tag("path", d=_line([(x(each.at), y(each.value, busiest)) for each in told.load]), class_="load")
    lines = (load if told.load else None, steps(told.ready, "ready"), steps(told.target, "target"))
    picture = tag(
        "svg", marks, times, lines, dots,
        viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label="target, ready replicas, load", class_="chart",
    )  # fmt: skip
    legend = [tag("span", name, class_=f"key {name}") for name in ("target", "ready", "load")]
    return tag("figure", picture, tag("figcaption", legend, " (right): requests, as each decision saw them"))


def _told(wanted: Point, load: Point) -> str:
    return f"{wanted.at:%H:%M:%S} {wanted.said}, load {load.value:g} (position {wanted.position})"


def _line(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in points)


def _level(at: float, replicas: float, load: float | None) -> Markup:
    """A line across, with what it means on the left in replicas and on the right in requests."""
    text = tag("text", f"{replicas:g}", x=LEFT - 6, y=at + 4, text_anchor="end")
    other = None if load is None else tag("text", f"{load:.3g}", x=WIDTH - RIGHT + 6, y=at + 4, class_="load")
    return tag("g", tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="level"), text, other)
