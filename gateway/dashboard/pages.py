"""What the pages show, from states and rows to HTML. Pure: the same position gives the same page."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import quote, urlencode

import msgspec

from events.base import Position
from gateway.dashboard.chart import chart, story
from gateway.dashboard.markup import Markup, fields, join, table, tag
from projections.audit import AuditRow
from projections.deployments import Catalogue, Deployment, status
from projections.environments import Environments
from projections.fleet import Fleet

GOOD = ("ACTIVE", "up", "ready")
BAD = ("BUILD_FAILED", "DEPLOY_FAILED", "UNHEALTHY", "lost", "unready")
QUIET = ("SCALED_TO_ZERO", "INACTIVE", "BUILD_STOPPED", "left")
BODY_SHOWN = 160
DIGEST_SHOWN = len("sha256:") + 8


class Moment(msgspec.Struct, frozen=True):
    """Which position a page shows."""

    position: Position
    head: Position
    fixed: bool
    """The position is in the URL: it does not move on."""

    def link(self, path: str, **query: str | int) -> str:
        """To another page of the same moment."""
        given = {**query, **({"at": self.position} if self.fixed else {})}
        return f"/dashboard{path}" + (f"?{urlencode(given)}" if given else "")


class World(msgspec.Struct, frozen=True):
    catalogue: Catalogue
    environments: Environments
    fleet: Fleet


def badge(word: str) -> Markup:
    kind = "good" if word in GOOD else "bad" if word in BAD else "quiet" if word in QUIET else "busy"
    return tag("span", word, class_=f"badge {kind}")


def overview(world: World, moment: Moment) -> Markup:
    return join([
        tag("h2", "Deployments"),
        table(
            ("deployment", "status", "ready", "serves", "reason"),
            [_deployment_row(world, moment, each) for each in world.catalogue.deployments.values()],
            "no deployments yet: truss push",
        ),
        tag("h2", "Nodes"),
        table(
            ("node", "status", "replicas", "CPU", "memory", "since"),
            [
                (
                    tag("a", node.node_id, href=moment.link("/events", entity=node.node_id)),
                    badge(node.status),
                    sum(1 for each in world.fleet.replicas.values() if each.node_id == node.node_id),
                    f"{node.cpu_used / 1000:g} of {node.cpu_millicores / 1000:g}",
                    f"{node.memory_used / 2**30:.1f} of {node.memory_bytes / 2**30:.1f} GiB",
                    _position(moment, node.position),
                )
                for node in world.fleet.nodes.values()
            ],
            "no nodes yet",
        ),
    ])  # fmt: skip


def _deployment_row(world: World, moment: Moment, each: Deployment) -> tuple[object, ...]:
    serving = [
        place.name for place in world.environments.of(each.model_id).values() if place.current == each.deployment_id
    ]
    return (
        tag("a", _name(world, each), href=moment.link(f"/deployments/{quote(each.deployment_id, safe='')}")),
        badge(status(each)),
        f"{each.count('ready')} of {each.target}",
        ", ".join(serving),
        (each.reason, " ", _position(moment, each.reason_position)),
    )


def deployment(world: World, found: Deployment, rows: Sequence[AuditRow], moment: Moment, now: datetime) -> Markup:
    replicas = world.fleet.of(found.deployment_id)
    until = rows[-1].at if moment.fixed and rows else now
    return join([
        tag("h2", _name(world, found), " ", badge(status(found))),
        tag("p", found.reason, " ", _position(moment, found.reason_position), class_="reason"),
        chart(story(rows), until),
        fields({
            "id": found.deployment_id,
            "pushed": (found.created_at[:19].replace("T", " "), " ", _position(moment, found.position)),
            "ready": f"{found.count('ready')} of {found.target}",
            "replicas": f"{found.settings.min_replica} to {found.settings.max_replica}",
            "size": f"{found.cpu_millicores / 1000:g} CPU, {found.memory_bytes / 2**30:g} GiB",
            "at once": f"{found.predict_concurrency} a replica",
        }),
        tag("h2", "Replicas"),
        table(
            ("replica", "phase", "node", "since", "reason"),
            [
                (
                    tag("a", each.replica_id, href=moment.link("/events", entity=each.replica_id)),
                    badge("draining" if each.draining else each.phase),
                    each.node_id,
                    _position(moment, each.position),
                    each.reason,
                )
                for each in replicas
            ],
            "no replicas",
        ),
        tag("h2", "Events"),
        timeline(rows[::-1][:50], moment),
        tag("p", tag("a", "all of them", href=moment.link("/events", entity=found.deployment_id))),
    ])  # fmt: skip


def timeline(rows: Sequence[AuditRow], moment: Moment) -> Markup:
    """The newest first."""
    return table(
        ("position", "time (UTC)", "event", "of", "says", "by"),
        [
            (
                _position(moment, row.position),
                f"{row.at:%Y-%m-%d %H:%M:%S}",
                tag("a", row.type, href=moment.link("/events", types=row.type)),
                tag("a", f"{row.category} {row.entity}", href=moment.link("/events", entity=row.entity)),
                tag("span", _said(row.body), class_="said"),
                row.actor,
            )
            for row in rows
        ],
        "no such events",
    )


def events(rows: Sequence[AuditRow], filters: Mapping[str, str], limit: int, moment: Moment) -> Markup:
    inputs = [
        tag("label", name, tag("input", name=name, value=filters.get(name, ""), placeholder=hint, autocomplete="off"))
        for name, hint in (
            ("types", "Replica*,PromotionCompleted"),
            ("entity", "an id"),
            ("actor", "key:*"),
            ("correlation", "a request's id"),
        )
    ]
    at = tag("input", type="hidden", name="at", value=moment.position) if moment.fixed else None
    form = tag("form", inputs, at, tag("button", "Filter"), method="get", action="/dashboard/events", class_="filters")
    older: Markup | None = None
    if len(rows) == limit and rows[0].position > 1:
        query = urlencode({**filters, "at": rows[0].position - 1})
        older = tag("p", tag("a", "older", href=f"/dashboard/events?{query}", rel="next"))
    return join([tag("h2", "Events"), form, timeline(rows[::-1], moment), older])


def event(row: AuditRow, cause: AuditRow | None, effects: Sequence[AuditRow], moment: Moment) -> Markup:
    body = msgspec.json.format(msgspec.json.encode(row.body)).decode()
    neighbours = [
        tag("a", text, href=moment.link(f"/events/{position}"), rel=rel)
        for text, position, rel in (("previous", row.position - 1, "prev"), ("next", row.position + 1, "next"))
        if 1 <= position <= moment.head
    ]
    then = tag("a", "the plane then", href=f"/dashboard?at={row.position}")
    began = tag("p", "a person, or a signal", class_="empty")
    return join([
        tag("h2", f"{row.type} at position {row.position}"),
        tag("p", [(each, " ") for each in neighbours], then),
        fields({
            "time": f"{row.at:%Y-%m-%d %H:%M:%S.%f} UTC",
            "of": tag("a", f"{row.category} {row.entity}", href=moment.link("/events", entity=row.entity)),
            "by": f"{row.actor} ({row.actor_how})",
            "chain": tag("a", row.correlation_id, href=moment.link("/events", correlation=row.correlation_id)),
        }),
        tag("pre", body),
        tag("h2", "Follows from"),
        began if cause is None else timeline([cause], moment),
        tag("h2", "Led to"),
        timeline(effects, moment),
    ])  # fmt: skip


def _said(body: Mapping[str, object]) -> str:
    shown = ", ".join(
        f"{name} {_short(value)}"
        for name, value in body.items()
        if isinstance(value, str | int | float) and value not in ("", False) and name != "type" and name[-3:] != "_id"
    )
    return shown if len(shown) <= BODY_SHOWN else shown[:BODY_SHOWN] + "…"


def _short(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text[:DIGEST_SHOWN] + "…" if text.startswith("sha256:") else text


def _name(world: World, each: Deployment) -> str:
    model = world.catalogue.models.get(each.model_id)
    return f"{model.name if model else each.model_id}/{each.name}"


def _position(moment: Moment, position: int) -> Markup:
    return tag("a", f"#{position}", href=moment.link(f"/events/{position}"), class_="position")
