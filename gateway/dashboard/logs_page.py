"""What a deployment's builds and replicas have printed, up to the moment shown. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from events.signals.log_lines import BUILD, LEVELS, LogLine
from gateway.dashboard.deployment_page import head
from gateway.dashboard.markup import Markup, join, tag
from gateway.dashboard.moment import ROOT, Moment, World, deployment_path
from projections.deployments import Deployment

LINES = 500


def logs(
    world: World, found: Deployment, lines: Sequence[LogLine], sources: Sequence[str], asked: Mapping[str, str],
    moment: Moment,
) -> Markup:  # fmt: skip
    """`lines`: oldest first."""
    path = deployment_path(found.deployment_id, "/logs")
    live = None if moment.fixed or moment.source else _tail(path, asked, lines)
    empty = tag("p", "Nothing has been printed that matches.", class_="empty") if not lines else None
    cut = tag("p", f"The last {LINES} lines.", class_="dim") if len(lines) == LINES else None
    told = tag("p", "Times are UTC.", " New lines appear here as they are written." if live else None, class_="dim")
    return join([
        head(found, world, moment, "/logs"),
        _form(path, sources, asked, moment),
        cut,
        tag("ol", [line(each) for each in lines], class_="log", id="log", data_tail=live, tabindex=0,
            aria_label="log lines, oldest first", role="log"),
        empty,
        told,
    ])  # fmt: skip


def _tail(path: str, asked: Mapping[str, str], lines: Sequence[LogLine]) -> str:
    return f"{ROOT}{path}/tail?" + urlencode({**asked, "after": lines[-1].ts_ns if lines else 0})


def _form(path: str, sources: Sequence[str], asked: Mapping[str, str], moment: Moment) -> Markup:
    at = tag("input", type="hidden", name="at", value=moment.position) if moment.fixed else None
    source = asked.get("source", "")
    known = (*sources, source) if source and source not in sources else tuple(sources)
    contains = tag(
        "input", name="contains", value=asked.get("contains", ""), placeholder="text in the line", autocomplete="off"
    )
    levels = {"": "all"} | {each: f"{each} and above" for each in LEVELS}
    return tag(
        "form",
        tag("label", "from", _choice("source", ("", *known), asked, {"": "builds and replicas", BUILD: "builds"})),
        tag("label", "level", _choice("level", ("", *LEVELS[1:]), asked, levels)),
        tag("label", "contains", contains),
        at,
        tag("div", tag("button", "Filter", class_="primary"), class_="buttons"),
        method="get", action=ROOT + path, class_="filters", role="search",
    )  # fmt: skip


def _choice(name: str, values: Sequence[str], asked: Mapping[str, str], words: Mapping[str, str]) -> Markup:
    now = asked.get(name, "")
    options = [tag("option", words.get(each, each), value=each, selected=each == now) for each in values]
    return tag("select", options, name=name)


def line(each: LogLine) -> Markup:
    at = datetime.fromtimestamp(each.ts_ns / 1e9, UTC)
    shown = f"{at:%Y-%m-%d %H:%M:%S}.{each.ts_ns // 1_000_000 % 1000:03d}"
    stamp = tag("time", shown, datetime=f"{at:%Y-%m-%dT%H:%M:%S.%fZ}")
    return tag(
        "li", stamp, " ", tag("span", each.source, class_="source"), " ",
        tag("span", each.message, class_="message"), class_=each.level,
    )  # fmt: skip
