"""One deployment: status and reason, load and replicas over time, its starts stage by stage, its replicas. Pure."""

from datetime import datetime, timedelta

import msgspec

from events.base import ReplicaId
from events.signals.load_history import Moment as Load
from gateway.dashboard.chart import Story, chart
from gateway.dashboard.markup import Child, Markup, join, tag
from gateway.dashboard.moment import Moment, World, deployment_path, environment_path
from gateway.dashboard.sources import Found
from gateway.dashboard.words import (
    badge,
    bar,
    dim,
    fields,
    gib,
    notice,
    position_link,
    seconds,
    section,
    table,
    timeline,
)
from projections.cold_starts import Stage, Start, anatomy
from projections.deployments import Deployment, status

SPANS = {"15m": 900, "1h": 3600, "6h": 21600, "24h": 86400, "7d": 604800}
STARTS = 50
EVENTS = 20
TABS = (("Overview", ""), ("Logs", "/logs"), ("What if", "/whatif"))


class Shown(msgspec.Struct, frozen=True):
    """What the page of a deployment is made from, besides the world."""

    span: str
    begin: datetime
    told: Story
    loads: list[Load] | None
    starts: dict[ReplicaId, Start]
    events: Found


def begin_of(span: str, moment: Moment) -> datetime:
    return moment.until - timedelta(seconds=SPANS[span])


def head(found: Deployment, world: World, moment: Moment, here: str) -> Markup:
    """What the pages of one deployment begin with; `here`: which of them this is."""
    tabs = [
        tag("a", text, href=moment.link(deployment_path(found.deployment_id, below)),
            aria_current="page" if below == here else None)
        for text, below in TABS
        if not (below and moment.source)  # A file has neither what was printed nor the record of load.
    ]  # fmt: skip
    beside = [
        tag("a", "Weights", href=moment.link("/weights", find=found.deployment_id)),
        tag("a", "Events", href=moment.link("/events", entity=found.deployment_id)),
    ]
    chips = [
        tag("a", name, href=moment.link(environment_path(found.model_id, name)), class_="chip")
        for name in world.serves(found)
    ]
    name = (tag("span", f"{world.model_name(found.model_id)}/", class_="dim"), found.name)
    return join([
        tag("div", tag("h1", name), badge(status(found)), chips, class_="name"),
        tag("p", found.reason, " ", position_link(moment, found.reason_position), class_="reason"),
        tag("nav", tabs, beside, class_="tabs", aria_label="of this deployment"),
    ])  # fmt: skip


def deployment(world: World, found: Deployment, shown: Shown, moment: Moment) -> Markup:
    path = deployment_path(found.deployment_id)
    spans = tag("nav", [
        tag("a", each, href=moment.link(path, span=each), aria_current="true" if each == shown.span else None)
        for each in SPANS
    ], class_="spans", aria_label="how far back")  # fmt: skip
    return join([
        head(found, world, moment, ""),
        notice(shown.events.note) if shown.events.note else None,
        section(
            "Load and replicas",
            chart(shown.told, shown.loads, shown.begin, moment.until, moment),
            beside=spans,
        ),
        fields(_facts(found, moment)),
        section("Cold starts", _cold_starts(shown.starts, moment)),
        section("Replicas", _replicas(world, found, moment)),
        section(
            "Events",
            timeline(shown.events.rows[::-1][:EVENTS], moment),
            beside=tag("a", "all of them", href=moment.link("/events", entity=found.deployment_id)),
        ),
    ])  # fmt: skip


def _facts(found: Deployment, moment: Moment) -> dict[str, object]:
    settings = found.settings
    pushed = tag("time", found.created_at[:19].replace("T", " "), datetime=found.created_at)
    return {
        "id": tag("span", found.deployment_id, class_="id"),
        "pushed (UTC)": (pushed, " ", position_link(moment, found.position)),
        "ready": f"{found.count('ready')} of {found.target} wanted",
        "may have": f"{settings.min_replica} to {settings.max_replica} replicas",
        "aims at": f"{settings.concurrency_target} at once, {settings.target_utilization_percent} % used",
        "scales down after": seconds(settings.scale_down_delay_s),
        "size of a replica": f"{found.cpu_millicores / 1000:g} CPU, {gib(found.memory_bytes)} GiB",
        "takes at once": f"{found.predict_concurrency} a replica",
        **_labels(found),
    }


def _labels(found: Deployment) -> dict[str, object]:
    known = msgspec.json.decode(found.labels or "{}", type=dict[str, object])
    chips = [tag("span", f"{name}={value}", class_="chip") for name, value in known.items()]
    return {"labels": chips} if chips else {}


def _replicas(world: World, found: Deployment, moment: Moment) -> Markup:
    logs = deployment_path(found.deployment_id, "/logs")
    return table(
        ("replica", "phase", "node", "since", "reason", "logs"),
        [
            (
                tag("a", each.replica_id, href=moment.link("/events", entity=each.replica_id), class_="id open"),
                badge("draining" if each.draining else each.phase),
                tag("a", each.node_id, href=moment.link("/events", entity=each.node_id)),
                position_link(moment, each.position),
                dim(each.reason),
                tag("a", "logs", href=moment.link(logs, source=each.replica_id)),
            )
            for each in world.fleet.of(found.deployment_id)
        ],
        _without(found),
    )


def _without(found: Deployment) -> Child:
    """Why there are no replicas."""
    match status(found):
        case "BUILD_FAILED" | "BUILD_STOPPED" | "DEPLOY_FAILED":
            return "No replicas. Once the cause is gone: ", tag(
                "code", f"causeway deployment retry {found.deployment_id}"
            )
        case "INACTIVE":
            return "No replicas: it was deactivated."
        case "SCALED_TO_ZERO":
            return "No replicas: the next request, or a raise, starts one."
    return "No replicas yet."


def _share(stage: Stage) -> tuple[Markup, str]:
    part = f"{stage.share:.0%}"
    return bar(stage.share, f"{part} of the whole", "slow" if stage.slowest else ""), part


def _cold_starts(starts: dict[ReplicaId, Start], moment: Moment) -> Markup:
    known = anatomy(starts, STARTS)
    if not known.starts and not known.failed:
        return tag("p", "No replica has been started among the events shown.", class_="empty")
    total = sum(stage.p50_s for stage in known.stages)
    rows = [
        (
            tag("span", stage.name, class_="open"),
            _share(stage),
            tag("span", seconds(stage.p50_s), class_="number"),
            tag("span", seconds(stage.p95_s), class_="number"),
        )
        for stage in known.stages
        if known.starts
    ]
    told = f"{known.starts} finished, {known.reused} of them with an environment that was there already"
    told += f", {known.failed} failed" if known.failed else ""
    failure = tag("p", f"The last failure: {known.last_failure}", class_="said") if known.last_failure else None
    whole = f"; a whole start takes {seconds(known.p50_s)} at p50, {seconds(known.p95_s)} at p95" if total else ""
    last = list(starts.values())[-1]
    newest = (" The newest: ", position_link(moment, last.position))
    return join(
        (
            table(("stage", "share of the whole", "p50", "p95"), rows, "None has been finished.", "compact stages"),
            tag("p", f"{told}{whole}.", newest, class_="dim"),
            failure,
        )
    )
